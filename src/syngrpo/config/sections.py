"""The sections of a config file, one model each, with the meaning of every key."""

from __future__ import annotations

from importlib.util import find_spec
from math import ceil
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from syngrpo.config.method import MethodConfig
from syngrpo.config.rollout import RolloutConfig
from syngrpo.config.section import Section
from syngrpo.config.source import Source
from syngrpo.config.synthesis import ServerConfig, SynthesisConfig
from syngrpo.pool.sampling import SamplingPolicy

STARTER = "starter"
WAITING_STEPS = 4
"""For which unvisited synthetic samples may wait, unless the configuration says how many may."""


class LoraConfig(Section):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(default=64, ge=1, description="rank of the adapters")
    alpha: int = Field(default=128, ge=1, description="scale of the adapters, times 1/rank")


class ModelConfig(Section):
    """The policy."""

    path: str = Field(
        default=STARTER,
        description='directory or hub name in Hugging Face format; "starter": the bundled model',
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of weights and compute"
    )
    device: str = Field(default="auto", description='"auto", "cpu", "cuda", "cuda:1"')
    lora: LoraConfig | None = Field(default=None, description="null: all weights are trained")
    freeze_vision: bool = Field(default=False, description="no gradients into the vision tower")
    gradient_checkpointing: bool | None = Field(
        default=None,
        description="slower, and a tenth of the memory for activations; null: with models of a "
        "billion weights and more",
    )
    max_pixels: int | None = Field(
        default=None, ge=1, description="larger images are shrunk to this area; null: the model's"
    )


class DataConfig(Section):
    """What is trained on."""

    train: list[Source] = Field(
        default=[Source(rooms="train", count=200)],
        min_length=1,
        description="the seed samples; several sources are mixed, see docs/mixing.md",
    )
    prompt_style: Literal["full", "brief"] = Field(
        default="full",
        description='"full" teaches the response format, "brief" is the question alone, for a '
        "model that knows the format: the default with the starter",
    )
    on_bad_row: Literal["error", "skip"] = Field(
        default="error", description="skip leaves bad rows out, and says how many"
    )
    check_images: bool = Field(
        default=True, description="decode every image once before training starts"
    )


class TrainerConfig(Section):
    """The optimisation."""

    steps: int = Field(default=300, ge=1, description="optimisation steps")
    seed: int = Field(default=0, ge=0, description="of everything random")
    learning_rate: float = Field(
        default=1e-6,
        gt=0,
        description="1e-6 suits models of 3B and more, 1e-5 LoRA, 1e-4 the starter",
    )
    warmup_steps: int = Field(default=0, ge=0, description="of linear warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="of the learning rate after warm-up"
    )
    groups_per_step: int = Field(
        default=8, ge=1, description="samples drawn per step, all processes (B)"
    )
    token_budget: int = Field(
        default=16384,
        ge=1,
        description="tokens per forward pass, a whole group at least; less: less memory",
    )
    logits_bytes: int = Field(
        default=2**28, ge=1, description="of float32 logits held at once; less: less memory"
    )
    master_weights: bool = Field(
        default=True, description="bfloat16 weights are updated through float32 copies"
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="full: each of several processes keeps a part of weights, gradients and "
        "optimizer state instead of a copy, see docs/sharding.md; means nothing to one process",
    )
    updates_per_rollout: int = Field(default=1, ge=1, description="updates made from one rollout")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="gradients are clipped to this norm"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    checkpoint_every: int = Field(default=50, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(default=2, ge=1, description="older ones are deleted")


class PoolConfig(Section):
    """What is drawn from the evolving training set. The keys are those of ``SamplingPolicy``."""

    synthetic_ratio: float = Field(
        default=SamplingPolicy.synthetic_ratio, ge=0, le=1, description="share of synthetic samples"
    )
    seed_coverage: float = Field(
        default=SamplingPolicy.seed_coverage,
        ge=0,
        le=1,
        description="share of the seeds that is drawn by least visits",
    )
    diversity_floor: float = Field(
        default=SamplingPolicy.diversity_floor,
        ge=1e-6,
        le=1,
        description="weight of samples without any diversity",
    )
    max_depth: int = Field(
        default=SamplingPolicy.max_depth,
        ge=0,
        description="generations; 1: only seeds have children",
    )
    max_children: int = Field(
        default=SamplingPolicy.max_children, ge=0, description="active descendants of one seed"
    )
    max_visits: int = Field(
        default=SamplingPolicy.max_visits,
        ge=1,
        description="visits after which a synthetic sample retires",
    )
    max_unmeasured: int | None = Field(
        default=None,
        ge=1,
        description="unvisited synthetic samples; with more, jobs are dropped; null: as many as "
        "are drawn in four steps",
    )
    retire_below: float = Field(
        default=SamplingPolicy.retire_below,
        ge=0,
        le=1,
        description="mean diversity below which one retires",
    )
    retire_after: int = Field(
        default=SamplingPolicy.retire_after,
        ge=1,
        description="visits before it can retire for that",
    )


class EvaluationConfig(Section):
    """Accuracy on held-out samples."""

    sets: dict[str, Source] = Field(
        default={"test": Source(rooms="test", count=200), "ood": Source(rooms="ood", count=200)},
        description="name → source",
    )
    every: int = Field(
        default=0, ge=0, description="steps between evaluations; 0: only before and after"
    )
    samples_per_prompt: int = Field(
        default=4, ge=0, description="responses for the sampled accuracy; 0: greedy only"
    )
    batch_size: int = Field(default=32, ge=1, description="samples at a time")


class LoggingConfig(Section):
    """Where curves go, besides metrics.jsonl."""

    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default=["tensorboard"], description="[] for none"
    )

    @field_validator("trackers")
    @classmethod
    def _installed(cls, value: list[str]) -> list[str]:
        missing = [name for name in value if find_spec(name) is None]
        if missing:
            raise ValueError(f"{missing[0]} is not installed; run: pip install {missing[0]}")
        return value


class Config(BaseModel):
    """A whole run. Every key has a default: ``Config()`` trains the starter on rooms."""

    model_config = ConfigDict(extra="forbid")

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    method: MethodConfig = MethodConfig()
    rollout: RolloutConfig = RolloutConfig()
    trainer: TrainerConfig = TrainerConfig()
    pool: PoolConfig = PoolConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    server: ServerConfig = ServerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="before")
    @classmethod
    def _prompt_follows_model(cls, values: Any) -> Any:
        """The starter knows the response format: its prompt is brief unless the user says more."""
        if not isinstance(values, dict):
            return values
        model, data = values.get("model", {}), values.get("data", {})
        if not isinstance(model, dict) or not isinstance(data, dict):
            return values
        style = "brief" if model.get("path", STARTER) == STARTER else "full"
        return {**values, "data": {"prompt_style": style, **data}}

    @model_validator(mode="after")
    def _rewards_come_soon(self) -> Config:
        if self.pool.max_unmeasured is None:
            drawn = self.pool.synthetic_ratio * self.trainer.groups_per_step
            waiting = max(1, ceil(WAITING_STEPS * drawn))
            self.pool = self.pool.model_copy(update={"max_unmeasured": waiting})
        return self

    @model_validator(mode="after")
    def _a_server_works_beside(self) -> Config:
        if self.server.url is not None and self.synthesis.mode == "inline":
            raise ValueError(
                "server.url does not go with synthesis.mode 'inline'; set synthesis.mode to async"
            )
        return self

    @model_validator(mode="after")
    def _synthesis_follows_method(self) -> Config:
        if not self.method.synthesises:
            self.synthesis = self.synthesis.model_copy(update={"mode": "off"})
        elif self.synthesis.mode == "off":
            raise ValueError(
                f"synthesis.mode 'off' contradicts method.name {self.method.name!r}; "
                "set method.name to grpo"
            )
        return self
