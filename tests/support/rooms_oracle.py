"""Judges for the rooms world that are never wrong, because they know what may be in a picture.

They still *look*: a thing is found where its pixels are, and not where they are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from syngrpo.boxes import box_mask, decode_mask, iou, mask_box
from syngrpo.painting.compositing import composite, default_feather, erase_background, keep_mask
from syngrpo.painting.frame import unmoved
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.judges.base import Candidate, Detection
from syngrpo.sample import Box, Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.descriptions import parse_description
from syngrpo_rooms.scenes import LABELS


@dataclass(frozen=True, eq=False)
class Known:
    """A thing that may be seen: class name, mask (H, W), and the picture whose pixels it has."""

    label: str
    mask: np.ndarray
    picture: np.ndarray

    def shown(self, image: np.ndarray) -> float:
        """Share of its pixels that are in the image."""
        here, there = image[self.mask].astype(int), self.picture[self.mask]
        return float((np.abs(here - there) <= 12).all(axis=1).mean())


@dataclass
class Oracle:
    """Detector and segmenter."""

    things: list[Known] = field(default_factory=list)

    @classmethod
    def of(cls, sample: Sample, *more: Known) -> Oracle:
        """Knows the labelled objects, and ``more``."""
        picture = sample.image.decode()
        own = [
            Known(thing.label, decode_mask(thing.mask), picture)
            for thing in sample.objects
            if thing.mask is not None
        ]
        return cls([*own, *more])

    def detect(self, image: np.ndarray, names: Sequence[str]) -> list[Detection]:
        found = [(thing, thing.shown(image)) for thing in self.things if thing.label in names]
        return [
            Detection(thing.label, mask_box(thing.mask), shown)
            for thing, shown in found
            if shown >= 0.5
        ]

    def refine_masks(self, image: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
        """The largest known thing that is seen in about that box; the box without one."""
        height, width = image.shape[:2]
        masks = []
        for box in boxes:
            here = [
                thing.mask
                for thing in self.things
                if iou(mask_box(thing.mask), box) > 0.4 and thing.shown(image) > 0.9
            ]
            masks.append(max(here, key=np.sum, default=box_mask(box, width, height)))
        return masks


def raw_generation(sample: Sample, description: str, seed: int) -> np.ndarray:
    """What the rooms generator paints for the sample, without further things."""
    keep = keep_mask(sample)
    erased = erase_background(sample.image.decode(), keep)
    size = (sample.image.width, sample.image.height)
    request = GenerationRequest(erased, keep, description, seed, size, forbidden=LABELS)
    return make_generator("rooms").generate([request])[0]


def candidate(
    sample: Sample, painted: np.ndarray, description: str = "", siblings: Sequence[bytes] = ()
) -> Candidate:
    """What a worker has in hand when the generator has returned ``painted``."""
    constraints = get_task(sample.task).constraints(sample)
    original, keep = sample.image.decode(), keep_mask(sample, constraints.keep)
    feather = default_feather(sample.image.width, sample.image.height)
    child = composite(original, painted, keep, feather)
    return Candidate(
        sample=sample,
        constraints=constraints,
        original=original,
        painted=painted,
        even=child,
        child=child,
        keep=keep,
        description=description,
        frame=unmoved(sample.image.width, sample.image.height),
        siblings=siblings,
    )


def room(description: str) -> tuple[str | None, ...]:
    """What makes a described room another room than the next."""
    said = parse_description(description)
    walls = (said.wall_colour, said.wall_pattern or "plain")
    return (*walls, said.floor_colour, said.floor_material)


def shifted(mask: np.ndarray, picture: np.ndarray, dy: int, dx: int) -> tuple[np.ndarray, ...]:
    """A thing and its picture, moved; what leaves the picture is lost."""
    moved = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    inside = (rows + dy >= 0) & (rows + dy < mask.shape[0])
    inside &= (columns + dx >= 0) & (columns + dx < mask.shape[1])
    moved[rows[inside] + dy, columns[inside] + dx] = True
    return moved, np.roll(picture, (dy, dx), axis=(0, 1))


def grown(mask: np.ndarray, picture: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """A thing whose silhouette is that many pixels wider on every side, in its border's colours."""
    mask, picture = mask.copy(), picture.copy()
    for _ in range(pixels):
        for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near = np.pad(mask, 1)[1 - step[0] :, 1 - step[1] :][: mask.shape[0], : mask.shape[1]]
            new = near & ~mask
            picture[new] = np.roll(picture, step, axis=(0, 1))[new]
            mask |= new
    return mask, picture


def place(painted: np.ndarray, mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """``painted`` with a thing in it."""
    return np.where(mask[..., None], picture, painted)
