"""The section ``method``: which algorithm, with which constants."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from syngrpo.config.section import Section

Method = Literal[
    "syn-grpo",
    "syn-grpo-no-smoothing",
    "random-scene",
    "grpo",
    "grpo-clip-higher",
    "noisy-rollout",
]


class MethodConfig(Section):
    """What is optimised. The name alone switches between the methods that are compared."""

    name: Method = Field(
        default="syn-grpo",
        description="grpo: no synthesis; random-scene: synthesis from random descriptions, no "
        "diversity reward; syn-grpo-no-smoothing: diversity reward without its moving baseline; "
        "noisy-rollout: no synthesis, half of a group answers a distorted image",
    )
    loss: Literal["grpo", "dr_grpo", "dapo"] = Field(
        default="grpo", description="variant of the loss"
    )
    clip_low: float = Field(
        default=0.2, gt=0, lt=1, description="ratio is clipped below 1 - clip_low"
    )
    clip_high: float = Field(
        default=0.2,
        gt=0,
        description="and above 1 + clip_high; grpo-clip-higher: 0.28 unless given. Ratios differ "
        "from 1 from the second of trainer.updates_per_rollout on",
    )
    beta: float = Field(
        default=0.04, ge=0, description="weight of the KL to the frozen reference; 0: none"
    )
    scene_beta: float | None = Field(
        default=None,
        ge=0,
        description="the same for the tokens of the description; null: as beta. Without any KL "
        "descriptions wear out over some hundred steps",
    )
    advantage_floor: float = Field(
        default=0.15,
        gt=0,
        description="accuracy advantages are divided by max(std, advantage_floor)",
    )
    format_weight: float = Field(default=0.1, ge=0, description="weight of the format advantage")
    diversity_weight: float = Field(default=0.5, ge=0, description="weight of the diversity reward")
    relative_to_parent: bool = Field(
        default=False, description="diversity reward relative to that of the parent image"
    )
    smoothing_decay: float = Field(
        default=0.95,
        ge=0,
        lt=1,
        description="of the moving mean and deviation of what descriptions bring, per description",
    )
    rho_clip: float = Field(default=2.0, gt=0, description="bound of the diversity reward")
    max_staleness: int = Field(
        default=64,
        ge=1,
        description="policy versions after which an unsettled description is dropped",
    )
    max_ratio: float = Field(
        default=2.0, ge=1, description="importance ratio of settled descriptions is truncated here"
    )
    descriptions_per_group: int = Field(
        default=2, ge=1, description="descriptions submitted for synthesis, at most, per group"
    )
    noise: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="noisy-rollout: strength of the noise at first; it wanes over the run",
    )
    refill_zero_variance: bool = Field(
        default=False, description="draw once more for groups whose responses all score the same"
    )

    @model_validator(mode="before")
    @classmethod
    def _clip_higher(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("name") == "grpo-clip-higher":
            return {"clip_high": 0.28, **data}
        return data

    @model_validator(mode="after")
    def _clip_is_higher(self) -> MethodConfig:
        if self.name == "grpo-clip-higher" and self.clip_high <= self.clip_low:
            raise ValueError("grpo-clip-higher needs clip_high > clip_low; remove clip_high")
        return self

    @property
    def kl_on_scene(self) -> float:
        """Weight of the KL for the tokens of the description."""
        return self.beta if self.scene_beta is None else self.scene_beta

    @property
    def has_kl(self) -> bool:
        """Whether a reference is needed at all."""
        return self.beta > 0 or self.kl_on_scene > 0

    @property
    def synthesises(self) -> bool:
        """Whether new images are painted at all."""
        return self.random_descriptions or self.rewards_diversity

    @property
    def random_descriptions(self) -> bool:
        """Whether descriptions are drawn at random, not written by the policy."""
        return self.name == "random-scene"

    @property
    def rewards_diversity(self) -> bool:
        """Whether descriptions are rewarded for the diversity they cause."""
        return self.name.startswith("syn-grpo")

    @property
    def smoothing(self) -> bool:
        """Whether the diversity reward is measured against its moving baseline."""
        return self.name != "syn-grpo-no-smoothing"
