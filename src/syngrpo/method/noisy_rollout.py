"""NoisyRollout (arXiv 2504.13055): half of each group answers a distorted image.

The update sees the original image with all responses: what was found in spite of the noise, or
because of it, is learned for the image as it is. The noise wanes over the run.
"""

from __future__ import annotations

import math

from syngrpo.method.base import Distortion
from syngrpo.method.grpo import Grpo

STEEPNESS = 30.0
MIDDLE = 2 / 3
"""Share of the run after which half of the noise is gone."""


class NoisyRollout(Grpo):
    """GRPO whose groups see the image twice, clean and distorted. No synthesis."""

    def distortion(self, steps_done: int) -> Distortion | None:
        """The strength falls along a sigmoid from ``options.noise`` to almost 0."""
        wane = 1 + math.exp(STEEPNESS * (steps_done / self.steps - MIDDLE))
        return Distortion(share=0.5, strength=self.options.noise / wane)
