"""NoisyRollout (arXiv 2504.13055), for comparison: half of each group answers a distorted image.

The update uses the original image as the prompt of all responses. So the policy learns for the
original image from responses that it would rarely give to it. The noise gets weaker over the run.
"""

from __future__ import annotations

import math

from syngrpo.method.base import Distortion
from syngrpo.method.grpo import Grpo

STEEPNESS = 30.0
"""Steepness of the sigmoid along which the noise falls over the run, from 0 to 1."""
MIDDLE = 2 / 3
"""Share of the run after which the noise has half of its first strength."""


class NoisyRollout(Grpo):
    """GRPO in which half of each group answers a noisy image. It has no synthesis."""

    def distortion(self, steps_done: int) -> Distortion | None:
        """Return the distortion. Its strength falls along a sigmoid, from ``options.noise`` to
        almost 0."""
        wane = 1 + math.exp(STEEPNESS * (steps_done / self.steps - MIDDLE))
        return Distortion(share=0.5, strength=self.options.noise / wane)
