"""The options of a training run: all sections of a configuration file.

Each section is declared by the folder that uses it. The sections ``trainer``, ``evaluation`` and
``logging`` are declared here.
``syngrpo.config`` turns a file into ``RunOptions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo.formats.source import DataOptions, Source, keys_from_source
from syngrpo.method.base import MethodOptions
from syngrpo.options import REQUIRED, option
from syngrpo.policy import ModelOptions
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.responses.response_options import ResponseOptions
from syngrpo.rollout import RolloutOptions

_FILLED_IN = """\
# Every key is written out. Before you make another configuration of this file, remove the keys that
# follow from others: data.prompt_style, method.scene_beta, clip_low and clip_high,
# pool.max_unmeasured and, for a method that paints nothing, synthesis.mode.
"""


def config_text(values: Mapping[str, Any]) -> str:
    """Return the plain values of a configuration as YAML, below a comment about its keys."""
    return _FILLED_IN + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class TrainerOptions:
    """The section ``trainer``: how the policy is optimised."""

    steps: int = option(300, "optimisation steps", ge=1)
    seed: int = option(0, "seed of all random numbers", ge=0)
    learning_rate: float = option(
        1e-6,
        "learning rate: 1e-6 suits models of 3B and more, 1e-5 LoRA, 1e-4 the starter",
        gt=0,
        le=1,
    )
    warmup_steps: int = option(
        0, "steps of linear warm-up; the very first update has the learning rate 0", ge=0
    )
    schedule: Literal["constant", "linear", "cosine"] = option(
        "constant", "how the learning rate changes after warm-up"
    )
    groups_per_step: int = option(
        8, "samples drawn in each step, by all processes together (B)", ge=1
    )
    token_budget: int = option(
        16384,
        "largest number of tokens in one forward pass; must hold one whole group; a smaller budget "
        "needs less memory",
        ge=1,
    )
    keep_prompts: bool | None = option(
        None,
        "keep the native rollout's forward pass over the prompts for the update, which then does "
        "not compute them again, but needs memory for the activations of all of them; null: if "
        "they fit into half of token_budget and activations are stored (see "
        "model.gradient_checkpointing); a device that runs out of memory goes on without",
    )
    logits_bytes: int = option(
        2**28, "largest number of bytes of float32 logits in memory at a time", ge=1
    )
    master_weights: bool = option(True, "keep float32 copies of bfloat16 weights, and update these")
    sharding: Literal["none", "full"] = option(
        "none",
        "full: each of several processes keeps a part of weights, gradients and optimizer state "
        "instead of a copy, see docs/sharding.md; no effect with one process",
    )
    updates_per_rollout: int = option(
        1, "optimizer updates made from the responses of one rollout", ge=1
    )
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", gt=0)
    weight_decay: float = option(0.0, "weight decay of AdamW", ge=0)
    checkpoint_every: int = option(50, "steps between checkpoints", ge=1)
    keep_checkpoints: int = option(2, "number of newest checkpoints that are kept", ge=1)


@dataclass(frozen=True)
class LoggingOptions:
    """The section ``logging``: where metrics are sent, besides ``metrics.jsonl``, and which
    responses are kept."""

    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = option(
        ("tensorboard",), "programs that metrics and some pictures are sent to; [] for none"
    )
    responses: ResponseOptions = option(ResponseOptions, "which responses are kept on the disk")

    def __post_init__(self) -> None:
        for name in self.trackers:
            if find_spec(name) is None:
                raise ValueError(f"{name} is not installed; run: pip install {name}")


@dataclass(frozen=True)
class EvaluationOptions:
    """The section ``evaluation``: how a run measures its accuracy on held-out samples.

    It does so after the last step, before the first one if ``at_start`` says so, and in between as
    ``every`` says.
    """

    every: int = option(
        0, "steps between evaluations; 0: only before and after training, see at_start", ge=0
    )
    at_start: bool = option(True, "whether to evaluate before the first step, too")
    samples_per_prompt: int = option(
        4, "responses sampled for each prompt, for the sampled accuracy; 0: greedy only", ge=0
    )
    batch_size: int = option(32, "samples answered at a time", ge=1)
    sets: dict[str, Source] = option(dict, "held-out sets: name → source; {} for none")


@dataclass(frozen=True)
class RunOptions:
    """All options of a run, one field for each section of a configuration file.

    ``model.path`` and ``data.train`` must be set; all other keys have a default.
    """

    model: ModelOptions = option(REQUIRED, "the model that is trained")
    data: DataOptions = option(REQUIRED, "the data that it is trained on")
    method: MethodOptions = option(MethodOptions, "the algorithm and its constants")
    rollout: RolloutOptions = option(RolloutOptions, "how responses are sampled")
    trainer: TrainerOptions = option(TrainerOptions, "how the policy is optimised")
    pool: SamplingPolicy = option(SamplingPolicy, "which samples are drawn from the training set")
    synthesis: SynthesisOptions = option(SynthesisOptions, "how new images are painted")
    server: ServerOptions = option(ServerOptions, "a data server started by syngrpo serve")
    evaluation: EvaluationOptions = option(EvaluationOptions, "accuracy on held-out samples")
    logging: LoggingOptions = option(
        LoggingOptions, "where metrics are sent, and which responses are kept"
    )

    def __post_init__(self) -> None:
        if self.server.url is not None and self.synthesis.mode == "inline":
            raise ValueError(
                "server.url does not go with synthesis.mode 'inline'; set synthesis.mode to async"
            )

    def as_values(self) -> dict[str, Any]:
        """Return the options as plain values, the form of a configuration file."""
        values: dict[str, Any] = plain(self)
        return values


def plain(value: Any) -> Any:
    """Return options, or a value of an option, as plain values."""
    if isinstance(value, Source):
        return plain(keys_from_source(value))
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
