"""What is judged, and what the models that judge it can do.

Images are uint8 (H, W, 3) RGB, masks bool (H, W), boxes xyxy in the image's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from syngrpo.boxes import box_mask, decode_mask
from syngrpo.painting.compositing import resized_to
from syngrpo.sample import Box, LabelledObject, Sample
from syngrpo.tasks import Constraints

Scores = dict[str, float]
Verdict = tuple[str | None, Scores]
"""The reason of a rejection, or None, and every score that was computed."""


@dataclass(frozen=True)
class Detection:
    """One found instance. ``label`` is the class name as it was asked for, ``score`` in [0, 1]."""

    label: str
    box: Box
    score: float


class Detector(Protocol):
    """Finds every instance of named classes."""

    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        """Also the doubtful ones: thresholds belong to who asks."""
        ...


class Segmenter(Protocol):
    """Outlines the thing in a box."""

    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """One image-sized mask a box, in order; it may reach out of its box."""
        ...


class Similarity(Protocol):
    """Says how well a text describes a picture."""

    def similarity(self, image: np.ndarray, text: str) -> float:
        """Cosine of their embeddings in [-1, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class Candidate:
    """A painted picture and all that is known of how it came about.

    ``sample`` is the parent and ``original`` its decoded image; ``painted`` is what the generator
    returned, of any size; ``child`` the composite, as decoded from what will be stored; ``keep``
    the pixels that were kept. ``siblings`` are perceptual hashes of the parent's other children.
    """

    sample: Sample
    constraints: Constraints
    original: np.ndarray
    painted: np.ndarray
    child: np.ndarray
    keep: np.ndarray
    description: str
    siblings: Sequence[bytes] = ()

    @property
    def objects(self) -> tuple[LabelledObject, ...]:
        """The labelled objects that were kept."""
        return tuple(self.sample.objects[index] for index in self.constraints.keep)

    def painted_to_size(self) -> np.ndarray:
        """``painted`` in the size of the original."""
        return resized_to(self.painted, self.keep)


def object_mask(thing: LabelledObject, width: int, height: int) -> np.ndarray:
    """The object's pixels: its mask, or without one its box."""
    return box_mask(thing.box, width, height) if thing.mask is None else decode_mask(thing.mask)
