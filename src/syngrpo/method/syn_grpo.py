"""Syn-GRPO: the policy describes new surroundings for an image, and is rewarded when responses to
the image painted from them differ in accuracy.

Step by step, for each group of responses to one image:

1. The trainer submits up to K of the descriptions in the responses to the data server.
2. The data server paints them. A later step draws the new images and measures their diversity D.
3. A description gets the reward ρ = clip((D − b) / (s + ε), −c, c), where b and s are the moving
   mean and deviation of recent descriptions (``baseline.DiversityBaseline``). With
   ``method.credit: siblings`` b is the mean of D over the descriptions of the same group
   (``siblings.SiblingComparison``). An image that the gate rejected counts as D = 0.
   ``method.diversity_of`` says what D is computed from.
4. The response that wrote the description takes part in the update of that step. Only its scene
   tokens have an advantage, which is ρ times ``diversity_weight``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from syngrpo.method.base import Method, MethodOptions
from syngrpo.method.baseline import DiversityBaseline, Measured
from syngrpo.method.siblings import SiblingComparison


class SynGrpo(Method):
    """Syn-GRPO, the method of this project."""

    paints: ClassVar[bool] = True
    smoothing: ClassVar[bool] = True
    """Whether differences of D are divided by their moving deviation, and D is compared with the
    moving baseline."""

    def __init__(self, options: MethodOptions, steps: int) -> None:
        super().__init__(options, steps)
        decay, clip, smoothing = options.smoothing_decay, options.rho_clip, self.smoothing
        self.comparison: DiversityBaseline | SiblingComparison
        if options.credit == "siblings":
            self.comparison = SiblingComparison(decay=decay, clip=clip, smoothing=smoothing)
        else:
            self.comparison = DiversityBaseline(
                decay=decay,
                clip=clip,
                smoothing=smoothing,
                relative_to_parent=options.credit == "parent",
            )

    @property
    def written_descriptions(self) -> int:
        return self.options.descriptions_per_group

    def description_rewards(self, measured: Sequence[Measured]) -> list[float]:
        return self.comparison.rewards(measured)

    def baselines(self) -> dict[str, float]:
        return self.comparison.baselines()

    def state_dict(self) -> dict[str, Any]:
        return self.comparison.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.comparison.load_state_dict(state)
