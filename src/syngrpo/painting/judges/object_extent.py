"""Makes masks for boxes, and measures whether a painted picture made an object larger.

Painting around a mask can make an object grow beyond it (arXiv 2404.10157); the label is then too
small. ``ExpansionJudge`` measures that with a segmenter. ``ContinuationJudge`` estimates it without
a model. The estimate is weak evidence (see docs/gate.md), so by default its score is recorded and
rejects nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syngrpo.boxes import area, box_mask, clip, encode_mask, iou, mask_box
from syngrpo.painting.judges.base import Candidate, Segmenter, Verdict, object_mask
from syngrpo.sample import Box, Sample

MIN_AGREEMENT = 0.7
"""A mask is taken for the object's if the box around it has at least this IoU with the label."""
PROMPT_MARGIN = 0.1
"""The segmenter gets the label's box enlarged by this share on each side, because it would outline
nothing beyond a tight box."""

SAME = 24
"""Grey levels in every channel by which two pixels of one surface may differ."""
SKIP = 1
"""Pixels next to the border that are not looked at, because edges are smoothed."""
REACH = 0.12
"""How far from the mask pixels are looked at, as a share of the image's shorter side."""
MOST_STEPS = 16
"""Largest number of pixels looked at along one ray; in larger pictures they lie further apart."""
MOST_RAYS = 128
"""Rays in one direction, at most."""
FEWEST_RAYS = 8
"""An object with fewer rays is not judged."""
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def with_masks(sample: Sample, image: np.ndarray, segmenter: Segmenter) -> Sample:
    """Return the sample with masks for objects that are labelled by a box alone.

    ``image`` is the sample's decoded image. Masks of the data stay. A new mask is cut to its box,
    because the label says that the object ends there. A mask that does not fill the box
    (``MIN_AGREEMENT``) shows something else; the object then gets none and keeps its whole box.
    """
    bare = [index for index, thing in enumerate(sample.objects) if thing.mask is None]
    if not bare:
        return sample
    objects = list(sample.objects)
    masks = segmenter.refine_masks(image, [objects[index].box for index in bare])
    for index, mask in zip(bare, masks, strict=True):
        box = objects[index].box
        inside = mask & box_mask(box, sample.image.width, sample.image.height)
        if inside.any() and iou(mask_box(inside), box) >= MIN_AGREEMENT:
            objects[index] = replace(objects[index], mask=encode_mask(inside))
    return replace(sample, objects=tuple(objects))


class ExpansionJudge:
    """Rejects a picture as ``object_expansion`` when an object gained more than ``max_expansion``
    of its area. Score: ``expansion``."""

    def __init__(self, segmenter: Segmenter, max_expansion: float) -> None:
        self._segmenter = segmenter
        self._max_expansion = max_expansion

    def judge(self, candidate: Candidate) -> Verdict:
        expansion = object_expansion(candidate, self._segmenter)
        reason = "object_expansion" if expansion > self._max_expansion else None
        return Verdict(reason, {"expansion": expansion})


class ContinuationJudge:
    """Rejects a picture as ``object_expansion`` when ``continuation`` is more than
    ``max_continuation``; None: records it alone. Score: ``continuation``."""

    def __init__(self, max_continuation: float | None = None) -> None:
        self._max_continuation = max_continuation

    def judge(self, candidate: Candidate) -> Verdict:
        score, limit = object_continuation(candidate), self._max_continuation
        reason = "object_expansion" if limit is not None and score > limit else None
        return Verdict(reason, {"continuation": score})


def object_expansion(candidate: Candidate, segmenter: Segmenter) -> float:
    """Return the largest gain of a kept object, in areas of the object; 0 without objects.

    The measure is the paper's: E = area(m_o ∪ m_i) − area(m_i) for each object, divided by the
    object's area, where m_o is the object's mask in the raw generation and m_i all kept pixels.
    What the segmenter adds to the same object in the parent's image counts as part of m_i, because
    there label and segmenter disagree without any painting.

    The original pixels are pasted into the raw generation first, without a feather, so that there
    is an object to outline also where a generator paints the surroundings alone. A generator that
    repaints the object faithfully is not affected.
    """
    objects = [thing for thing in candidate.objects if area(thing.box) > 0]
    if not objects:
        return 0.0
    height, width = candidate.keep.shape
    kept = candidate.keep[..., None]
    painted = np.where(kept, candidate.original, candidate.painted_to_size())
    masks = [object_mask(thing, width, height) for thing in objects]
    prompts = [clip(_grown(thing.box), width, height) for thing in objects]
    before = segmenter.refine_masks(candidate.original, prompts)
    after = segmenter.refine_masks(painted, prompts)
    gains = [
        (new & ~candidate.keep & ~old).sum() / max(1, mask.sum())
        for mask, old, new in zip(masks, before, after, strict=True)
    ]
    return float(max(gains))


def _grown(box: Box) -> Box:
    x1, y1, x2, y2 = box
    dx, dy = PROMPT_MARGIN * (x2 - x1), PROMPT_MARGIN * (y2 - y1)
    return (x1 - dx, y1 - dy, x2 + dx, y2 + dy)


def object_continuation(candidate: Candidate) -> float:
    """Return ``continuation`` for a candidate's raw generation and its kept objects."""
    height, width = candidate.keep.shape
    owner = np.zeros((height, width), dtype=np.uint8)
    for number, thing in enumerate(candidate.objects[:255], start=1):
        owner[object_mask(thing, width, height) & candidate.keep] = number
    return continuation(candidate.original, candidate.painted_to_size(), owner)


def continuation(original: np.ndarray, painted: np.ndarray, owner: np.ndarray) -> float:
    """Return the share of an object's border where the object seems to go on in the painted
    picture, the largest over all objects; 0 without objects.

    ``owner`` is uint8 (H, W), the number of the object that a pixel belongs to, 0 for none. A ray
    goes straight out from each border pixel, along its row or column. The object seems to go on
    where the pixels of the ray first have the object's colour and then, within reach, another one.
    A ray that never changes its colour shows a background of the object's colour, which is no
    fault. Rays that leave the image or meet kept pixels are not counted.
    """
    height, width = owner.shape
    reach = max(4, round(REACH * min(height, width)))
    out = np.unique(np.linspace(1, reach, min(reach, MOST_STEPS)).round().astype(int))
    y, x, dy, dx = _rays(owner, reach)
    rows, columns = y[:, None] + dy[:, None] * out, x[:, None] + dx[:, None] * out
    # The object's colour is read one pixel inside the border, because the outermost pixels are
    # mixed with the old background. At the edge of the image there may be no such pixel.
    inner_y, inner_x = (y - dy).clip(0, height - 1), (x - dx).clip(0, width - 1)
    inside = owner[inner_y, inner_x] > 0
    colour = original[np.where(inside, inner_y, y), np.where(inside, inner_x, x)]
    colour = colour.astype(np.int16)[:, None]
    alike = (np.abs(painted[rows, columns] - colour) <= SAME).all(axis=2) | (out <= SKIP)
    length = alike.cumprod(axis=1).sum(axis=1)
    stops = (length > (out <= SKIP + 1).sum()) & (length < len(out))
    free = ~owner[rows, columns].any(axis=1)
    counted = np.bincount(owner[y, x], free, minlength=256)
    grown = np.bincount(owner[y, x], free & stops, minlength=256)
    judged = counted >= FEWEST_RAYS
    return float((grown[judged] / counted[judged]).max(initial=0.0))


def _rays(owner: np.ndarray, reach: int) -> np.ndarray:
    """Return int (4, rays): y and x of the border pixel, and the step outwards along y and x. Rays
    that would leave the image are left out."""
    height, width = owner.shape
    padded = np.pad(owner, 1)
    rays = []
    for dy, dx in DIRECTIONS:
        beyond = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        border = np.flatnonzero((owner > 0) & (beyond == 0))
        y, x = np.divmod(border[:: 1 + len(border) // MOST_RAYS], width)
        end_y, end_x = y + dy * reach, x + dx * reach
        room = (end_y >= 0) & (end_y < height) & (end_x >= 0) & (end_x < width)
        y, x = y[room], x[room]
        rays.append(np.stack([y, x, np.full_like(y, dy), np.full_like(x, dx)]))
    return np.concatenate(rays, axis=1)
