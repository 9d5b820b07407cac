"""What a method is: the decisions that the trainer asks for at each of its six steps.

The trainer (``workflow/trainer.py``) draws samples, rolls out responses, scores them, submits
descriptions, settles those whose image was measured, and updates the policy. It never looks at a
method's name. It asks the method object:

1. draw:     ``sampling``       which samples the pool gives;
2. roll out: ``distortion``     whether a part of each group answers a distorted image;
3. score:    nothing; accuracy and D are the same for all methods;
4. submit:   ``paints``, ``written_descriptions``, ``random_descriptions``   what is painted;
5. settle:   ``description_rewards``                                         ρ of each description;
6. update:   ``answer_advantages``, ``description_weight``, ``loss`` and the clipping options.

A method of one's own is a subclass of one of ours, found by its entry point (group
``syngrpo.methods``) or by ``package.module:Class`` in ``method.name``. Options of its own go into a
subclass of ``MethodOptions``, named by the class attribute ``Options``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from syngrpo.method.advantages import ADVANTAGES, Floats
from syngrpo.method.baseline import Measured
from syngrpo.options import option


@dataclass(frozen=True)
class MethodOptions:
    """Which algorithm, with which constants. The name alone switches between those compared."""

    name: str = option(
        "syn-grpo",
        "which method: syn-grpo; grpo (no synthesis); grpo-clip-higher; noisy-rollout (no "
        "synthesis, half of a group answers a distorted image); random-scene (synthesis from "
        "random descriptions, no diversity reward); syn-grpo-no-smoothing (diversity reward "
        "without its moving baseline); one of an installed package; or package.module:Class",
    )
    loss: Literal["grpo", "dr_grpo", "dapo"] = option(
        "grpo", "how the loss of all tokens becomes one number, see docs/method.md"
    )
    advantage: Literal["group", "centred"] | None = option(
        None,
        "group: rewards minus their mean, divided by max(std, advantage_floor); centred: not "
        "divided; null: centred with loss dr_grpo, else group",
    )
    credit: Literal["baseline", "parent"] = option(
        "baseline",
        "what D of a description's image is compared with: the moving baseline alone, or D of the "
        "parent image's group first",
    )
    clip_low: float = option(0.2, "the importance ratio is clipped below 1 - clip_low", gt=0, lt=1)
    clip_high: float = option(
        0.2,
        "and above 1 + clip_high; grpo-clip-higher: 0.28 unless given. Ratios differ from 1 from "
        "the second of trainer.updates_per_rollout on",
        gt=0,
    )
    beta: float = option(0.04, "weight of the KL to the frozen reference; 0: none", ge=0)
    scene_beta: float | None = option(
        None,
        "the same for the tokens of the description; null: as beta. Without any KL descriptions "
        "wear out over some hundred steps",
        ge=0,
    )
    advantage_floor: float = option(
        0.15, "accuracy advantages are divided by max(std, advantage_floor)", gt=0
    )
    format_weight: float = option(0.1, "weight of the format advantage", ge=0)
    diversity_weight: float = option(0.5, "weight of the diversity reward", ge=0)
    smoothing_decay: float = option(
        0.95,
        "decay, for each description, of the moving mean and deviation that D is compared with",
        ge=0,
        lt=1,
    )
    rho_clip: float = option(2.0, "the diversity reward is clipped to ± this", gt=0)
    max_staleness: int = option(
        64, "policy versions after which an unsettled description is dropped", ge=1
    )
    max_ratio: float = option(
        2.0, "the importance ratio of settled descriptions is truncated here", ge=1
    )
    descriptions_per_group: int = option(
        2, "descriptions submitted for synthesis, at most, for each group", ge=1
    )
    noise: float = option(
        0.5,
        "noisy-rollout: strength of the noise at first, a share of 1; it wanes over the run",
        ge=0,
        lt=1,
    )
    refill_zero_variance: bool = option(
        False, "draw once more for groups whose responses all score the same (DAPO)"
    )

    @property
    def kl_on_scene(self) -> float:
        """Weight of the KL for the tokens of the description."""
        return self.beta if self.scene_beta is None else self.scene_beta

    @property
    def has_kl(self) -> bool:
        """Whether a frozen reference model is needed."""
        return self.beta > 0 or self.kl_on_scene > 0


@dataclass(frozen=True)
class Distortion:
    """``share`` of each group, rounded down, answers its image mixed with noise of ``strength``,
    both in [0, 1]."""

    share: float
    strength: float


class Method:
    """Plain GRPO's decisions; see the head of this module. Every method is a subclass.

    ``options`` is the section ``method`` of the configuration, ``steps`` the length of the run.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    """The options of this method; a subclass of MethodOptions for those of its own."""
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Values that the configuration gets where the user sets none, for this method alone."""
    paints: ClassVar[bool] = False
    """Whether new images are painted. False: the run needs no generator and no data server."""

    def __init__(self, options: MethodOptions, steps: int) -> None:
        self.options = options
        self.steps = steps

    def distortion(self, steps_done: int) -> Distortion | None:
        """Return how the images of a part of each group are distorted in the next step."""
        return None

    @property
    def written_descriptions(self) -> int:
        """How many of the descriptions of a group's responses become jobs, at most."""
        return 0

    @property
    def random_descriptions(self) -> int:
        """How many descriptions for each group the describer draws at random."""
        return 0

    def description_rewards(self, measured: Sequence[Measured]) -> list[float]:
        """Return ρ of the descriptions that this step settles, in the order of the global batch.

        The main process calls this once a step. Only a method that rewards descriptions settles
        any.
        """
        return [0.0 for _ in measured]

    def baselines(self) -> dict[str, float]:
        """Return the baseline that descriptions are compared with, by task, for the metrics."""
        return {}

    def answer_advantages(self, rewards: Sequence[float]) -> Floats:
        """Return the advantages (G,) of the responses of one group from one kind of reward.

        Accuracy, format and each custom reward are normalised apart, by one call each, and then
        added with their weights: normalising their sum would let whichever varies more in a group
        swallow the others.
        """
        kind = self.options.advantage
        if kind is None:
            kind = "centred" if self.options.loss == "dr_grpo" else "group"
        return ADVANTAGES[kind](rewards, self.options.advantage_floor)

    @property
    def description_weight(self) -> float:
        """Weight of ρ on the scene tokens of a settled description."""
        return self.options.diversity_weight

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
