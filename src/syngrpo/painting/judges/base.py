"""What a judge is given, what it returns, and what the models of the built-in judges must offer.

Images are uint8 (H, W, 3) RGB, masks bool (H, W), boxes xyxy in the image's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from syngrpo.boxes import box_mask, decode_mask
from syngrpo.painting.compositing import resized_to
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.sample import Box, LabelledObject, Sample
from syngrpo.tasks import Constraints

Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A painted picture and what it was made from.

    ``sample`` is the source with its labels where the picture's objects are, and ``original`` the
    source's decoded image on the same canvas. ``painted`` is what the generator returned, of any
    size; ``even`` the composite before light and camera; ``child`` the finished picture, as decoded
    from what will be stored; ``keep`` is true on the kept pixels. ``frame`` says where the source
    lies in the picture. ``siblings`` are perceptual hashes of the parent's other children.
    ``light`` fell on ``even`` with this ``seed`` (see ``light.lit``).
    """

    sample: Sample
    constraints: Constraints
    original: np.ndarray
    painted: np.ndarray
    even: np.ndarray
    child: np.ndarray
    keep: np.ndarray
    description: str
    frame: Frame
    siblings: Sequence[bytes] = ()
    light: Light = field(default_factory=Light)
    seed: int = 0

    @property
    def objects(self) -> tuple[LabelledObject, ...]:
        """The labelled objects that were kept."""
        return tuple(self.sample.objects[index] for index in self.constraints.keep)

    def painted_to_size(self) -> np.ndarray:
        """Return ``painted`` in the size of the original."""
        return resized_to(self.painted, self.keep)


class Verdict(NamedTuple):
    """What a judge decided. ``reason`` is a short name of why the picture is rejected, None when it
    is not; ``scores`` are all scores that were computed, finite numbers by name."""

    reason: str | None
    scores: Scores


@runtime_checkable
class Judge(Protocol):
    """Looks at a painted picture and may reject it.

    To add one, write a class with this method; its constructor takes the options that
    ``synthesis.judges.more`` gives as keyword arguments. A worker makes the judge once and calls it
    for each picture that no judge before it rejected. An exception fails the job.
    """

    def judge(self, candidate: Candidate) -> Verdict:
        """Decide on one picture. Its scores are stored with the sample, or with the rejection."""
        ...


@dataclass(frozen=True)
class Detection:
    """One instance that a detector found. ``label`` is the class name that was asked for, ``score``
    in [0, 1]."""

    label: str
    box: Box
    score: float


class Detector(Protocol):
    """Finds every instance of named classes."""

    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        """Return all detections, those with low scores too: the caller applies the thresholds."""
        ...


class Segmenter(Protocol):
    """Outlines the object in a box."""

    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """Return one image-sized mask per box, in order. A mask may reach out of its box."""
        ...


class Similarity(Protocol):
    """Measures how well a text describes a picture."""

    def similarity(self, image: np.ndarray, text: str) -> float:
        """Return the cosine of their embeddings, in [-1, 1]."""
        ...


def object_mask(thing: LabelledObject, width: int, height: int) -> np.ndarray:
    """Return bool (H, W), true on the object's pixels: its mask, or its box if it has none."""
    return box_mask(thing.box, width, height) if thing.mask is None else decode_mask(thing.mask)
