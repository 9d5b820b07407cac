"""The section about sampling responses."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from syngrpo.config.section import Section, ServerUrl
from syngrpo.serving.bearer_token import read_token
from syngrpo.serving.http_client import ServerAddress


class RolloutConfig(Section):
    """How responses are sampled."""

    group_size: int = Field(default=8, ge=2, description="responses per sample (G)")
    temperature: float = Field(
        default=1.0, gt=0, description="of sampling, and of log-probabilities"
    )
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus sampling; 1: off")
    max_new_tokens: int = Field(default=256, ge=1, description="length limit of a response")
    engine: Literal["native", "vllm"] = Field(
        default="native", description="what samples: our own rollout, or vLLM, see docs/vllm.md"
    )
    cuda_graphs: bool = Field(
        default=True, description="our own rollout on a GPU replays its steps, see docs/rollout.md"
    )
    vllm_cache_gib: float = Field(
        default=4.0, gt=0, description="memory of a process for vLLM's keys and values"
    )
    vllm_max_length: int = Field(
        default=8192, ge=2, description="tokens of a prompt and its response in vLLM, at most"
    )
    server: ServerUrl | None = Field(
        default=None,
        description="http://host:port of a syngrpo rollout-server that samples by vLLM in its own "
        "process and on its own device; null: here",
    )
    server_token_file: Path | None = Field(
        default=None, description="file with the token that it asks for"
    )
    server_patience_s: float = Field(
        default=600.0, ge=0, description="seconds for which training waits for one that is away"
    )
    tis_cap: float = Field(
        default=2.0,
        ge=1,
        description="weight of tokens whose log-probability sampling put too low, at most",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_server_samples_by_vllm(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("server") is not None:
            return {"engine": "vllm", **values}
        return values

    @model_validator(mode="after")
    def _something_can_sample(self) -> RolloutConfig:
        if self.server is not None and self.engine == "native":
            raise ValueError("engine 'native' samples here, server elsewhere; leave one out")
        if self.server is None and self.engine == "vllm" and find_spec("vllm") is None:
            raise ValueError("vLLM is not installed; run: pip install 'syngrpo[vllm]'")
        return self

    def server_address(self) -> ServerAddress | None:
        """Of the server that samples, if there is one. Raises InputError for a token file that
        cannot be read."""
        if self.server is None:
            return None
        return ServerAddress(self.server, read_token(self.server_token_file))
