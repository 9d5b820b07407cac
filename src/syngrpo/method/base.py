"""The base class of all methods: the decisions that the trainer asks for in each of its six steps.

The trainer (``workflow/trainer.py``) draws samples, rolls out responses, scores them, submits
descriptions, settles those whose image was measured, and updates the policy. It never looks at a
method's name. It asks the method object:

1. draw:     nothing; the section ``pool`` says which samples are drawn;
2. roll out: ``transform``      whether a sample is changed before it is rolled out,
             ``distortion``     whether a part of each group answers a distorted image;
3. score:    ``rewarded_diversity``   what a description is rewarded with; accuracy, and the D that
             the pool and the metrics record, are the same for all methods;
4. submit:   ``paints``, ``written_descriptions``, ``random_descriptions``   what is painted;
             ``parents``, ``bundle_size``   for which groups, and what is drawn together;
5. settle:   ``description_rewards``                                         ρ of each description;
6. update:   ``answer_advantages``, ``description_weight``, and the options of the loss.

A method of your own is a subclass of ``Method`` or of any method here. ``method.name`` names it, as
``package.module:Class`` or by its entry point (group ``syngrpo.methods``). If it has options of its
own, declare them in a subclass of ``MethodOptions`` and set the class attribute ``Options`` to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np

from syngrpo.method.advantages import ADVANTAGES, Floats
from syngrpo.method.baseline import Measured
from syngrpo.method.diversity import REWARDED, Scale
from syngrpo.method.loss_options import check_loss
from syngrpo.method.method_options import MethodOptions
from syngrpo.method.siblings import choose_parents
from syngrpo.sample import Sample

Sampling = TypeVar("Sampling", bound=Any)
"""The sampling policy of the pool, which stands above this folder."""
T = TypeVar("T")


@dataclass(frozen=True)
class Distortion:
    """A distortion of images. A ``share`` of each group, rounded down, answers the image mixed with
    noise of ``strength``. Both are in [0, 1]."""

    share: float
    strength: float


class Method:
    """The decisions of a method, as plain GRPO makes them. Every method is a subclass.

    ``options`` is the section ``method`` of the configuration, ``steps`` the length of the run.
    Raises ValueError for options that contradict each other.
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
        describes = options.describing == "all" or self.written_descriptions > 0
        check_loss(options, describes, self.defaults)
        # Without a value, scene_beta is above 0 where descriptions are painted.
        has_kl = options.has_kl or (options.scene_beta is None and self.written_descriptions > 0)
        if not has_kl and options.kl_estimator != MethodOptions.kl_estimator:
            raise ValueError(
                f"kl_estimator {options.kl_estimator} has no effect with beta 0 and scene_beta 0; "
                "remove kl_estimator"
            )

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
        suppress those that vary little beside the others. With the advantage ``group`` the scale of
        a reward matters only where its std in the group is below ``advantage_floor``; with
        ``centred`` and ``rloo`` always.
        """
        return ADVANTAGES[self.options.advantage_kind](rewards, self.options.advantage_floor)

    @property
    def description_weight(self) -> float:
        """The weight of ρ on the scene tokens of a settled description."""
        return self.options.diversity_weight

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state as plain values, for a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
