"""Object expansion without a model: does the painting go on where the object's pixels end?

Weak evidence, see docs/gate.md: recorded with every child, and refusing none by default.
"""

from __future__ import annotations

import numpy as np

from syngrpo.painting.judges.judge import Candidate, object_mask

SAME = 24
"""Grey levels in every channel by which two pixels may differ and be of one surface."""
SKIP = 1
"""Pixels next to the border that say nothing: edges are smoothed."""
REACH = 0.12
"""How far outside the mask it is looked, as a share of the image's shorter side."""
MOST_STEPS = 16
"""Pixels looked at along one ray: the more pixels a picture has, the coarser it is read."""
MOST_RAYS = 128
"""Rays a direction: more of the border would say the same."""
FEWEST_RAYS = 8
"""An object with fewer rays is not judged."""

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def object_continuation(candidate: Candidate) -> float:
    """``continuation`` of a candidate's raw generation and its kept objects."""
    height, width = candidate.keep.shape
    owner = np.zeros((height, width), dtype=np.uint8)
    for number, thing in enumerate(candidate.objects[:255], start=1):
        owner[object_mask(thing, width, height) & candidate.keep] = number
    return continuation(candidate.original, candidate.painted_to_size(), owner)


def continuation(original: np.ndarray, painted: np.ndarray, owner: np.ndarray) -> float:
    """The largest share, over objects, of an object's border at which the painted pixels first go
    on in the object's colour and then, within reach, stop doing so: the look of one that has grown.

    ``owner`` is uint8 (H, W), the number of the object a pixel belongs to, 0 for none. From border
    pixels a ray goes straight out, along its row or column. A ray that never stops is a background
    of the object's colour, which is no fault. Rays that leave the image or meet something kept are
    not counted. 0 without objects.
    """
    height, width = owner.shape
    reach = max(4, round(REACH * min(height, width)))
    out = np.unique(np.linspace(1, reach, min(reach, MOST_STEPS)).round().astype(int))
    y, x, dy, dx = _rays(owner, reach)
    rows, columns = y[:, None] + dy[:, None] * out, x[:, None] + dx[:, None] * out
    # One pixel inside the border: the outermost ones are mixed with the old background.
    inside = (owner[y - dy, x - dx] > 0).astype(int)
    colour = original[y - dy * inside, x - dx * inside].astype(np.int16)[:, None]
    alike = (np.abs(painted[rows, columns] - colour) <= SAME).all(axis=2) | (out <= SKIP)
    length = alike.cumprod(axis=1).sum(axis=1)
    stops = (length > (out <= SKIP + 1).sum()) & (length < len(out))
    free = ~owner[rows, columns].any(axis=1)
    counted = np.bincount(owner[y, x], free, minlength=256)
    grown = np.bincount(owner[y, x], free & stops, minlength=256)
    judged = counted >= FEWEST_RAYS
    return float((grown[judged] / counted[judged]).max(initial=0.0))


def _rays(owner: np.ndarray, reach: int) -> np.ndarray:
    """int (4, rays): y and x of border pixels, and the steps out; all within the image."""
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
