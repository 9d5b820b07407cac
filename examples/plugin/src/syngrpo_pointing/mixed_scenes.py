"""The method ``mixed-scenes``: Syn-GRPO that also paints descriptions drawn at random.

It shows what a method of one's own is: a subclass of the nearest one, with the decisions that
differ, and with options of its own in the section ``method``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from syngrpo.method.base import MethodOptions
from syngrpo.method.syn_grpo import SynGrpo
from syngrpo.options import option


@dataclass(frozen=True)
class MixedScenesOptions(MethodOptions):
    """The options of Syn-GRPO, and one more."""

    random_scenes: int = option(
        1, "descriptions for each group that the describer draws at random", ge=0
    )


class MixedScenes(SynGrpo):
    """Some of the descriptions come from the policy and are rewarded, the others from the describer
    (``synthesis.describer``). A policy that describes the same room again and again would otherwise
    decide alone how its images look."""

    Options: ClassVar[type[MethodOptions]] = MixedScenesOptions

    @property
    def random_descriptions(self) -> int:
        assert isinstance(self.options, MixedScenesOptions)
        return self.options.random_scenes
