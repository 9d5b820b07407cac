"""All labelled objects of a picture, moved sideways together.

New surroundings alone leave every object where it was: a policy that has seen the seed picture a
few times remembers the answer and need not look. Moved objects have to be found again. They move
with their own pixels, by whole ones, and keep their order and distances. Up and down they stay:
what stood on the floor would float.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syngrpo.boxes import decode_mask, encode_mask, moved
from syngrpo.sample import LabelledObject, Sample
from syngrpo.tasks import get_task

_STREAM = 11
"""Keeps this random stream apart from the painter's, which has the same seed."""


def displacement(sample: Sample, seed: int, share: float) -> int:
    """By how many pixels to the right, at most ``share`` of the width either way, 0 without room.

    The same for the same seed. Nothing that is kept leaves the picture, and what touches its left
    or right edge, and may be cut off there, stays.
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
    """The sample with objects and answer ``right`` pixels further right; its image is the same."""
    if right == 0:
        return sample
    objects = tuple(_moved(thing, right) for thing in sample.objects)
    answer = get_task(sample.task).moved(sample.answer, right)
    return replace(sample, objects=objects, answer=answer)


def moved_pixels(pixels: np.ndarray, right: int) -> np.ndarray:
    """(H, W, 3) with every row ``right`` pixels further right. What comes in is the column at the
    edge, repeated: a feather that reaches there blends in more of the old wall, not black."""
    columns = np.arange(pixels.shape[1]) - right
    return pixels[:, columns.clip(0, pixels.shape[1] - 1)]


def _moved(thing: LabelledObject, right: int) -> LabelledObject:
    mask = thing.mask
    if mask is not None:
        mask = encode_mask(_moved_mask(decode_mask(mask), right))
    return replace(thing, box=moved(thing.box, right), mask=mask)


def _moved_mask(mask: np.ndarray, right: int) -> np.ndarray:
    """Nothing comes in, also where a mask is wider than its box."""
    rolled = np.roll(mask, right, axis=1)
    rolled[:, slice(0, right) if right >= 0 else slice(right, None)] = False
    return rolled
