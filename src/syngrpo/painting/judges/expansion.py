"""Object expansion: painting around a mask makes objects grow beyond it (arXiv 2404.10157)."""

from __future__ import annotations

import numpy as np

from syngrpo.boxes import area, clip
from syngrpo.painting.judges.judge import Candidate, Segmenter, object_mask
from syngrpo.sample import Box

PROMPT_MARGIN = 0.1
"""A prompt box is larger than the label's by this share on each side: a tight one would cut what
has grown."""


def object_expansion(candidate: Candidate, segmenter: Segmenter) -> float:
    """The largest gain of a kept object, in areas of the object.

    For each object E = area(m_o ∪ m_i) − area(m_i), the paper's measure, where m_o is the outline
    of the object in the raw generation and m_i all that is kept, divided by the object's area. What
    the segmenter adds to the same object in the parent's image counts as m_i too: it is the
    difference between label and segmenter, not the painter's doing.

    The original pixels are pasted into the raw generation first, without a feather: a generator
    that repaints the object faithfully is not changed by that, and one that paints surroundings
    alone shows no object to outline.
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
