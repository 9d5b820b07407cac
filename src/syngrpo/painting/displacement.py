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
"""Separates this random stream from the painter's, which has the same seed."""


def displacement(sample: Sample, seed: int, share: float) -> int:
    """Return by how many pixels the objects move to the right, drawn from ``seed``.

    At most ``share`` of the width to either side, and never so far that something kept leaves the
    picture. 0 when something kept touches the left or right edge, where it may be cut off.
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
    """Move (H, W, 3) by ``right`` pixels. The column at the edge is repeated, so that a feather
    that reaches there blends in the old background, not black."""
    columns = np.arange(pixels.shape[1]) - right
    return pixels[:, columns.clip(0, pixels.shape[1] - 1)]


def _moved(thing: LabelledObject, right: int) -> LabelledObject:
    mask = thing.mask
    if mask is not None:
        mask = encode_mask(_moved_mask(decode_mask(mask), right))
    return replace(thing, box=moved(thing.box, right), mask=mask)


def _moved_mask(mask: np.ndarray, right: int) -> np.ndarray:
    """Move a mask; the pixels that come in are False."""
    rolled = np.roll(mask, right, axis=1)
    rolled[:, slice(0, right) if right >= 0 else slice(right, None)] = False
    return rolled
