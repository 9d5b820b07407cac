"""The describer ``two-colours``: random descriptions that the generator ``gradients`` can paint."""

from __future__ import annotations

import numpy as np

from syngrpo.sample import Sample
from syngrpo_pointing.gradient_generator import COLOURS


class GradientDescriber:
    """Writes the description of new surroundings for the methods that paint random ones."""

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Name two different colours. The same state of ``rng`` must give the same text."""
        above, below = rng.choice(list(COLOURS), size=2, replace=False)
        return f"a wall that goes from {above} to {below}"
