"""What a describer is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from syngrpo.sample import Sample


@runtime_checkable
class Describer(Protocol):
    """Writes descriptions of surroundings that an image generator can paint."""

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Describe random surroundings for the labelled objects of this sample, in a few words.

        Every random choice must come from ``rng``: the same state gives the same text. What may
        not appear anew, such as the class of a labelled object, is removed from the text later.
        """
        ...
