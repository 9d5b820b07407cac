"""The options of the configuration section ``rollout``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from syngrpo.options import option
from syngrpo.serving.http_client import check_url

Importance = Literal["token-truncate", "token-mask", "response-truncate", "response-mask"]


@dataclass(frozen=True)
class RolloutOptions:
    """How responses are sampled."""

    group_size: int = option(8, "responses per sample (G)", ge=2)
    temperature: float = option(
        1.0,
        "the logits are divided by this, in sampling and in log-probabilities",
        ge=0.01,
    )
    top_p: float = option(
        1.0,
        "tokens are sampled from the most probable ones that together have this probability "
        "(nucleus sampling); 1: from all",
        gt=0,
        le=1,
    )
    max_new_tokens: int = option(256, "largest number of tokens of a response", ge=1)
    engine: str | None = option(
        None,
        "what samples the responses: native (the trained model itself), vllm (vLLM in the "
        "trainer's process, see docs/vllm.md), server (a syngrpo rollout-server, see "
        "rollout.server), openai (a server of yours with an OpenAI API: vLLM or SGLang, see "
        "docs/rollout.md), or package.module:name; null: server if rollout.server is set, "
        "otherwise native",
    )
    cuda_graphs: bool = option(
        True, "engine native on a GPU: record decoding steps as CUDA graphs, see docs/rollout.md"
    )
    vllm_cache_gib: float = option(
        4.0, "engine vllm: GiB of memory for keys and values, in each process", gt=0
    )
    vllm_max_length: int = option(
        8192, "engine vllm: largest number of tokens of a prompt and its response together", ge=2
    )
    server: str | None = option(
        None,
        "http://host:port of a syngrpo rollout-server, which samples with vLLM in a process and on "
        "a device of its own, or, with engine openai, of the server that you run; null: responses "
        "are sampled in the trainer's process",
    )
    server_token_file: Path | None = option(
        None, "file with the token that the server asks for (the --api-key of vLLM and SGLang)"
    )
    server_patience_s: float = option(
        600.0, "seconds that training waits for a server that does not answer", ge=0
    )
    server_model: str | None = option(
        None,
        "engine openai: the name of the model in requests; null: the only one that the server has, "
        "or the one that was loaded from model.path",
    )
    weights_folder: Path | None = option(
        None,
        "engine openai: a folder that trainer and server reach by the same path, for this run "
        "alone; the weights of each step are written there, and deleted after the next",
    )
    async_steps: int = option(
        0,
        "engines server and openai: number of steps by which sampling is ahead of training: while "
        "a step updates the weights, the server samples the batch of so many steps later; 0: each "
        "batch is sampled with the newest weights",
        ge=0,
        le=3,
    )
    tis_cap: float = option(
        2.0,
        "largest weight of a token whose probability was lower in sampling than in training "
        "(truncated importance sampling)",
        ge=1,
    )
    importance: Importance = option(
        "token-truncate",
        "how the update corrects for the difference between sampling and training: by the ratio of "
        "the probabilities of each token or of the whole response, cut to tis_cap (truncate), or "
        "without the tokens or responses whose ratio is above it (mask)",
    )

    def __post_init__(self) -> None:
        if self.server is not None:
            check_url(self.server)

    @property
    def engine_name(self) -> str:
        """The name of the engine to use, also if ``engine`` is None."""
        return self.engine or ("native" if self.server is None else "server")
