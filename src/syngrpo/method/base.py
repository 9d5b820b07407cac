"""The base class of all methods: the decisions that the trainer asks for in each of its six steps.

The trainer (``workflow/trainer.py``) draws samples, rolls out responses, scores them, submits
descriptions, settles those whose image was measured, and updates the policy. It never looks at a
method's name. It asks the method object:

1. draw:     nothing; the section ``pool`` says which samples are drawn;
2. roll out: ``transform``      whether a sample is changed before it is rolled out,
             ``distortion``     whether a part of each group answers a distorted image;
3. score:    ``rewarded_diversity``   what a description is rewarded with; accuracy, and the D that
             the pool and the metrics record, are the same for all methods;
4. submit:   ``paints``, ``written_descriptions``, ``random_descriptions``,
             ``replaced_descriptions``   what is painted;
             ``parents``, ``bundle_size``   for which groups, and what is drawn together;
5. settle:   ``description_rewards``                                         ρ of each description;
6. update:   ``answer_advantages``, ``description_weight``, ``loss`` and the clipping options.

A method of your own is a subclass of ``Method`` or of any method here. ``method.name`` names it, as
``package.module:Class`` or by its entry point (group ``syngrpo.methods``). If it has options of its
own, declare them in a subclass of ``MethodOptions`` and set the class attribute ``Options`` to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from syngrpo.method.advantages import ADVANTAGES, Floats
from syngrpo.method.baseline import Measured
from syngrpo.method.diversity import REWARDED, Scale
from syngrpo.method.language import WordingLimits
from syngrpo.method.siblings import choose_parents
from syngrpo.options import option
from syngrpo.sample import Sample

SCENE_BETA = 0.04
"""The default of ``method.scene_beta`` where ``method.beta`` is smaller."""

Sampling = TypeVar("Sampling", bound=Any)
"""The sampling policy of the pool, which stands above this folder."""
T = TypeVar("T")


@dataclass(frozen=True)
class MethodOptions:
    """The section ``method``: the algorithm and its constants. The defaults fit all methods, so
    that ``name`` is enough to switch between them."""

    name: str = option(
        "syn-grpo",
        "which method: syn-grpo; grpo (no synthesis); grpo-clip-higher; noisy-rollout (no "
        "synthesis, half of a group answers a distorted image); executable-transforms (no "
        "synthesis, images are cropped, rotated and recoloured); random-scene (synthesis from "
        "random descriptions, no diversity reward); syn-grpo-no-smoothing (diversity reward "
        "without its moving baseline); one of an installed package; or package.module:Class",
    )
    loss: Literal["grpo", "dr_grpo", "dapo"] = option(
        "grpo", "how the loss of all tokens becomes one number, see docs/method.md"
    )
    advantage: Literal["group", "centred"] | None = option(
        None,
        "how rewards become advantages; group: the reward minus the group's mean, divided by "
        "max(std, advantage_floor); centred: without the division; null: centred if loss is "
        "dr_grpo, else group",
    )
    credit: Literal["baseline", "parent", "siblings"] = option(
        "baseline",
        "what D of a description's image is compared with to reward the description; baseline: the "
        "moving mean of D; parent: D of the parent image, then the moving mean of these "
        "differences; siblings: the mean over the descriptions of the same group, whose images "
        "are drawn together (random-scene then draws its images in the same way)",
    )
    diversity_of: Literal["accuracy", "hits", "signal", "above_chance"] = option(
        "accuracy",
        "what D of a description's reward is computed from; accuracy: the accuracies of the "
        "responses to its image; hits: whether each is a hit (rec: IoU >= 0.5, ovd: >= 0.5, isr: "
        "right; Task.hit), so that near misses do not count; signal: min(1, std / "
        "advantage_floor), which is what the accuracy advantages keep of a group; above_chance: "
        "the accuracies, corrected for guessing (Task.chance), so that images of closed questions "
        "that nobody can see get no reward; the D of the pool and of diversity/response is always "
        "that of the accuracies",
    )
    clip_low: float = option(0.2, "the importance ratio is clipped below 1 - clip_low", gt=0, lt=1)
    clip_high: float = option(
        0.2,
        "the importance ratio is clipped above 1 + clip_high; default of grpo-clip-higher: 0.28; "
        "has no effect with trainer.updates_per_rollout 1, where all ratios are 1",
        gt=0,
    )
    beta: float = option(0.04, "weight of the KL to the frozen reference; 0: none", ge=0)
    scene_beta: float | None = option(
        None,
        "weight of the KL for the tokens of the description; 0: none; null: the larger of beta and "
        "0.04 for a method that paints what the policy describes, else beta; without any KL "
        "descriptions degenerate over a few hundred steps",
        ge=0,
    )
    advantage_floor: float = option(
        0.15, "accuracy advantages are divided by max(std, advantage_floor)", gt=0
    )
    format_weight: float = option(0.1, "weight of the format advantage", ge=0)
    diversity_weight: float = option(0.5, "weight of the diversity reward", ge=0)
    scene_gradient: float | None = option(
        None,
        "largest norm of the gradient that the diversity reward has, as a share of the norm of the "
        "gradient of the answers, such as 0.3; needs a second pass over the prompts of settled "
        "descriptions and a second copy of the gradients; null: no bound",
        gt=0,
    )
    smoothing_decay: float = option(
        0.95,
        "decay, for each description, of the moving mean and deviation that D is compared with",
        ge=0,
        lt=1,
    )
    rho_clip: float = option(
        2.0, "the diversity reward is clipped to the range from -rho_clip to rho_clip", gt=0
    )
    max_staleness: int = option(
        64, "policy versions after which a description without a reward is dropped", ge=1
    )
    max_ratio: float = option(
        2.0, "the importance ratio of settled descriptions is limited to this", ge=1
    )
    descriptions_per_group: int = option(
        2,
        "largest number of descriptions submitted for synthesis from each group; with credit "
        "siblings (at least 2) only from as many groups as can be drawn again",
        ge=1,
    )
    describing: Literal["submitted", "all"] = option(
        "submitted",
        "which responses describe new surroundings; submitted: as many of each group as are "
        "submitted for synthesis, and none where no image is painted from the group's (pool."
        "max_depth, no labelled objects), the others end after the answer; all: every response, as "
        "in the paper, at the cost of the words that nobody paints",
    )
    random_share: float = option(
        0.0,
        "share of the descriptions submitted from each group, on average, that are random ones of "
        "synthesis.describer instead of the policy's; they get no reward, and keep covering what "
        "the policy no longer describes",
        ge=0,
        le=1,
    )
    max_description_words: int | None = option(
        60,
        "words of a description; a longer one is not well formed: it is not painted, and its "
        "response gets the format reward 0; null: no limit",
        ge=1,
    )
    max_repetition: float | None = option(
        0.3,
        "largest share of a description's words that may repeat: that end three words in a row "
        "which occurred earlier in it; beyond it is not well formed; null: no limit",
        ge=0,
        le=1,
    )
    max_garbled: float | None = option(
        0.02,
        "largest share of a description's characters that may be no letters, digits, punctuation "
        "or spaces, such as stray bytes, control characters and emoji; beyond it is not well "
        "formed; null: no limit",
        ge=0,
        le=1,
    )
    noise: float = option(
        0.5,
        "noisy-rollout: strength of the noise at the start; it falls to almost 0 over the run",
        ge=0,
        lt=1,
    )
    refill_zero_variance: bool = option(
        False, "draw another sample for each group whose responses all score the same (DAPO)"
    )

    @property
    def wording_limits(self) -> WordingLimits:
        """The limits beyond which a description is no language."""
        return WordingLimits(self.max_description_words, self.max_repetition, self.max_garbled)

    @property
    def kl_on_scene(self) -> float:
        """The weight of the KL for the tokens of the description. A configuration has filled in
        ``scene_beta``; without one it is the same as ``beta``."""
        return self.beta if self.scene_beta is None else self.scene_beta

    @property
    def has_kl(self) -> bool:
        """Whether a frozen reference model is needed."""
        return self.beta > 0 or self.kl_on_scene > 0


@dataclass(frozen=True)
class Distortion:
    """A distortion of images. A ``share`` of each group, rounded down, answers the image mixed with
    noise of ``strength``. Both are in [0, 1]."""

    share: float
    strength: float


class Method:
    """The decisions of a method, as plain GRPO makes them. Every method is a subclass.

    ``options`` is the section ``method`` of the configuration, ``steps`` the length of the run.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    """The dataclass of this method's options: MethodOptions, or a subclass of it."""
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Defaults of options that are different for this method."""
    paints: ClassVar[bool] = False
    """Whether new images are painted. If not, the run needs no generator and no data server."""

    def __init__(self, options: MethodOptions, steps: int) -> None:
        self.options = options
        self.steps = steps

    def sampling(self, options: Sampling) -> Sampling:
        """Return the rules by which the pool draws batches, from the section ``pool``.

        ``options`` is the ``pool.sampling.SamplingPolicy`` of the configuration. A method that
        paints nothing draws no synthetic samples.
        """
        return options if self.paints else replace(options, synthetic_ratio=0.0)

    def transform(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample that is rolled out in the place of a drawn one: with the same id, and
        with another picture and labels that fit it. Every random choice must come from ``rng``."""
        return sample

    def distortion(self, steps_done: int) -> Distortion | None:
        """Return how images are distorted in the next step, None if they are not."""
        return None

    @property
    def written_descriptions(self) -> int:
        """The largest number of descriptions that become jobs from the responses of a group."""
        return 0

    def describing_responses(self, group_size: int, is_parent: bool) -> int:
        """Return how many responses of a group describe new surroundings, the first ones. The
        others end after the answer. ``is_parent``: images may be painted from the group's one."""
        if self.options.describing == "all":
            return group_size
        return min(self.written_descriptions, group_size) if is_parent else 0

    @property
    def random_descriptions(self) -> int:
        """The number of random descriptions that the describer writes for each group."""
        return 0

    def rewarded_diversity(self, accuracies: Sequence[float], hit: float, chance: float) -> float:
        """Return D of a group as a description is rewarded with it, in [0, 1].

        ``accuracies`` are those of the group; ``hit`` is the accuracy from which the task counts an
        answer as a hit, ``chance`` the expected accuracy of a guess.
        """
        scale = Scale(hit, chance, self.options.advantage_floor)
        return REWARDED[self.options.diversity_of](accuracies, scale)

    def replaced_descriptions(self, rng: np.random.Generator) -> int:
        """Return how many of a group's written descriptions are replaced by random ones, for
        ``method.random_share``: each with this probability."""
        return int(rng.binomial(self.written_descriptions, self.options.random_share))

    @property
    def needs_describer(self) -> bool:
        """Whether random descriptions are written at all."""
        replaces = self.written_descriptions > 0 and self.options.random_share > 0
        return replaces or self.random_descriptions > 0

    @property
    def bundle_size(self) -> int | None:
        """The number of descriptions of a group whose images are drawn together, as siblings. None:
        each image is drawn for itself."""
        if self.options.credit != "siblings":
            return None
        return self.written_descriptions + self.random_descriptions

    def parents(self, groups: Sequence[T], places: float, rng: np.random.Generator) -> Sequence[T]:
        """Return the groups of a step of which descriptions are submitted, in their order.

        ``groups`` are those around whose objects something can be painted; ``places`` is the
        average number of synthetic samples in a batch. Without bundles these are all groups: the
        queue drops what cannot be drawn. With bundles they are as many as can be drawn.
        """
        if self.bundle_size is None:
            return groups
        return choose_parents(groups, places / self.bundle_size, rng)

    def description_rewards(self, measured: Sequence[Measured]) -> list[float]:
        """Return ρ of the descriptions that this step settles, in the order of the global batch.

        The main process calls this once a step. Only a method that rewards descriptions settles
        any.
        """
        return [0.0 for _ in measured]

    def baselines(self) -> dict[str, float]:
        """Return the baselines that descriptions are compared with, by task, for the metrics."""
        return {}

    def answer_advantages(self, rewards: Sequence[float]) -> Floats:
        """Return the advantages (G,) of the responses of one group from one kind of reward.

        This is called once for accuracy, once for format and once for each custom reward; the
        results are added with their weights. Normalising the sum of the rewards instead would
        suppress those that vary little within the group.
        """
        kind = self.options.advantage
        if kind is None:
            kind = "centred" if self.options.loss == "dr_grpo" else "group"
        return ADVANTAGES[kind](rewards, self.options.advantage_floor)

    @property
    def description_weight(self) -> float:
        """The weight of ρ on the scene tokens of a settled description."""
        return self.options.diversity_weight

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state as plain values, for a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
