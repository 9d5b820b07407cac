"""Moves all labelled objects of a picture sideways together.

New surroundings alone leave every object where it was, so that a policy that has seen the seed
picture a few times can answer from memory. Moved objects have to be found again. They move with
their own pixels, by whole pixels, and keep their order and distances. They do not move up or down,
because what stands on the floor would float.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syngrpo.boxes import decode_mask, encode_mask, moved
from syngrpo.sample import LabelledObject, Sample
from syngrpo.tasks import get_task

_STREAM = 11
"""Makes these random numbers independent of the generator's, which start from the same seed."""


def displacement(sample: Sample, seed: int, share: float) -> int:
    """Return by how many pixels the objects move to the right (to the left where it is negative).

    The number is drawn from ``seed``. It is at most ``share`` of the width, and never so much that
    a kept object leaves the picture. It is 0 when a kept object touches the left or right edge,
    because part of it may lie outside the picture.
    """
    keep = get_task(sample.task).constraints(sample).keep
    if share == 0 or not keep:
        return 0
    width = sample.image.width
    left = int(min(sample.objects[index].box[0] for index in keep))
    right = int(width - max(sample.objects[index].box[2] for index in keep))
    if left < 1 or right < 1:
        return 0
    most = int(share * width)
    rng = np.random.default_rng([_STREAM, seed])
    return int(rng.integers(-min(left - 1, most), min(right - 1, most), endpoint=True))


def with_labels_moved(sample: Sample, right: int) -> Sample:
    """Move the objects and the answer by ``right`` pixels; the sample's image stays the same."""
    if right == 0:
        return sample
    objects = tuple(_moved(thing, right) for thing in sample.objects)
    answer = get_task(sample.task).moved(sample.answer, right)
    return replace(sample, objects=objects, answer=answer)


def moved_pixels(pixels: np.ndarray, right: int) -> np.ndarray:
    """Move (H, W, 3) by ``right`` pixels. The freed columns repeat the column at the edge, so that
    a feather that reaches them blends with the old background instead of black."""
    columns = np.arange(pixels.shape[1]) - right
    return pixels[:, columns.clip(0, pixels.shape[1] - 1)]


def _moved(thing: LabelledObject, right: int) -> LabelledObject:
    mask = thing.mask
    if mask is not None:
        mask = encode_mask(_moved_mask(decode_mask(mask), right))
    return replace(thing, box=moved(thing.box, right), mask=mask)


def _moved_mask(mask: np.ndarray, right: int) -> np.ndarray:
    """Move bool (H, W) by ``right`` pixels. The freed columns are False."""
    rolled = np.roll(mask, right, axis=1)
    rolled[:, slice(0, right) if right >= 0 else slice(right, None)] = False
    return rolled
