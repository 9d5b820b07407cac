"""What is judged, what a judge is, and what the models of our judges can do.

Images are uint8 (H, W, 3) RGB, masks bool (H, W), boxes xyxy in the image's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from syngrpo.boxes import box_mask, decode_mask
from syngrpo.painting.compositing import resized_to
from syngrpo.sample import Box, LabelledObject, Sample
from syngrpo.tasks import Constraints

Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A painted picture and all that is known of how it was made.

    ``sample`` is the parent, with its labels moved as the picture's objects were, and ``original``
    its decoded image, moved likewise. ``painted`` is what the generator returned, of any size;
    ``child`` the composite, as decoded from what will be stored; ``keep`` the pixels that were
    kept. ``siblings`` are perceptual hashes of the parent's other children.
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
        """Return ``painted`` in the size of the original."""
        return resized_to(self.painted, self.keep)


class Verdict(NamedTuple):
    """``reason`` is a short name of why the picture is rejected, None when it is not; ``scores`` is
    every score that was computed, finite numbers by name."""

    reason: str | None
    scores: Scores


class Judge(Protocol):
    """Looks at a painted picture and may reject it.

    Write one of your own as a class with this method; its constructor takes the options that
    ``synthesis.judges.more`` gives as keyword arguments. A worker makes it once and asks it for
    each picture that all judges before it let pass. An exception fails the job.
    """

    def judge(self, candidate: Candidate) -> Verdict:
        """Decide on one picture. Its scores are stored with the sample, or with the rejection."""
        ...


@dataclass(frozen=True)
class Detection:
    """One instance that was found. ``label`` is the class name that was asked for, ``score`` in
    [0, 1]."""

    label: str
    box: Box
    score: float


class Detector(Protocol):
    """Finds every instance of named classes."""

    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        """Return also the doubtful ones: the caller applies the thresholds."""
        ...


class Segmenter(Protocol):
    """Outlines the thing in a box."""

    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """Return one image-sized mask per box, in order. A mask may reach out of its box."""
        ...


class Similarity(Protocol):
    """Says how well a text describes a picture."""

    def similarity(self, image: np.ndarray, text: str) -> float:
        """Return the cosine of their embeddings, in [-1, 1]."""
        ...


def object_mask(thing: LabelledObject, width: int, height: int) -> np.ndarray:
    """Return the object's pixels: its mask, or without one its box."""
    return box_mask(thing.box, width, height) if thing.mask is None else decode_mask(thing.mask)
