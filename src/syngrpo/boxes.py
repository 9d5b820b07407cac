"""Geometry of boxes and masks: IoU, transforms, coordinate frames, run-length codes.

Boxes are (x1, y1, x2, y2) in pixels with continuous coordinates: a box around the first pixel is
(0, 0, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.sample import Box, InputError, RunLength


def area(box: Box) -> float:
    """Return the area in square pixels, 0 for an empty or inverted box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    """Return the area of the overlap of two boxes in square pixels."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    """Return intersection over union in [0, 1]; 0 if either box is empty."""
    overlap = intersection(a, b)
    union = area(a) + area(b) - overlap
    return overlap / union if overlap > 0 else 0.0


def ious(box: Box, others: np.ndarray) -> np.ndarray:
    """Return the IoU of a box with each of ``others`` (N, 4), float64 (N,), as ``iou`` does."""
    x1, y1, x2, y2 = np.asarray(others, dtype=np.float64).reshape(-1, 4).T
    wide = np.maximum(0.0, np.minimum(box[2], x2) - np.maximum(box[0], x1))
    overlap = wide * np.maximum(0.0, np.minimum(box[3], y2) - np.maximum(box[1], y1))
    areas = np.maximum(0.0, x2 - x1) * np.maximum(0.0, y2 - y1)
    union = area(box) + areas - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def clip(box: Box, width: float, height: float) -> Box:
    """Return the part of the box inside an image of this size in pixels."""
    x1, y1, x2, y2 = box
    if 0 <= x1 <= width and 0 <= y1 <= height and 0 <= x2 <= width and 0 <= y2 <= height:
        return (x1, y1, x2, y2)  # nearly every box
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


@dataclass(frozen=True)
class Similarity:
    """Scales and then moves a picture: (x, y) → (scale·x + right, scale·y + down), in pixels."""

    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def box(self, box: Box) -> Box:
        """Return where a box of the picture comes to lie."""
        x1, y1, x2, y2 = (self.scale * value for value in box)
        return (x1 + self.right, y1 + self.down, x2 + self.right, y2 + self.down)

    def inverse(self) -> Similarity:
        """Return the transform that undoes this one."""
        return Similarity(1 / self.scale, -self.right / self.scale, -self.down / self.scale)

    def enlarged(self, factor: float) -> Similarity:
        """Return the same transform, followed by one that scales by ``factor``."""
        return Similarity(self.scale * factor, self.right * factor, self.down * factor)


@dataclass(frozen=True)
class CoordinateFrame:
    """The units in which a model writes coordinates of one image.

    In the model's answers the image is ``width`` x ``height`` units large, for example the pixels
    of the resized image, or 1000 x 1000. ``original_width`` and ``original_height`` are the size in
    original pixels, in which rewards are computed.
    """

    width: float
    height: float
    original_width: float
    original_height: float

    def to_original(self, box: Box) -> Box:
        """Convert from model units to original pixels, without clipping."""
        sx, sy = self.original_width / self.width, self.original_height / self.height
        return (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)

    def to_original_clipped(self, box: Box) -> Box:
        """Convert from model units to original pixels, and return the part inside the image."""
        width, height = self.original_width, self.original_height
        sx, sy = width / self.width, height / self.height
        return clip((box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy), width, height)

    def to_model(self, box: Box) -> Box:
        """Convert from original pixels to model units, without rounding."""
        sx, sy = self.width / self.original_width, self.height / self.original_height
        return (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)


def encode_mask(mask: np.ndarray) -> RunLength:
    """Encode a mask bool (H, W) as a COCO run-length code whose ``counts`` is text."""
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_mask(code: RunLength) -> np.ndarray:
    """Decode a COCO run-length code to a mask bool (H, W). Raises InputError as ``mask_runs``."""
    runs = mask_runs(code)
    height, width = code["size"]
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def decode_mask_part(code: RunLength, part: tuple[int, int, int, int]) -> np.ndarray:
    """Decode the part (x1, y1, x2, y2) of a mask, whole pixels inside it, to bool (H, W). The time
    depends on the width of the part. Raises InputError as ``mask_runs``."""
    x1, y1, x2, y2 = part
    height = code["size"][0]
    ends = mask_runs(code).cumsum().clip(x1 * height, x2 * height)
    lengths = np.diff(ends, prepend=x1 * height)
    columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(x2 - x1, height)
    return columns[:, y1:y2].T


def encode_mask_part(part: np.ndarray, left: int, top: int, size: tuple[int, int]) -> RunLength:
    """Encode a mask of this ``size`` (width, height) that is set where ``part``, bool (H, W), says
    so, which lies at ``left`` and ``top``; the rest is not set. The time depends on the part."""
    width, height = size
    edges = np.diff(np.pad(part, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    starts, ends = (_places(edges == kind, left, top, height) for kind in (1, -1))
    apart = starts[1:] != ends[:-1]  # not the foot of a column and the head of the next
    starts = np.concatenate([starts[:1], starts[1:][apart]])
    ends = np.concatenate([ends[:-1][apart], ends[-1:]])
    bounds = np.stack([starts, ends], axis=1).ravel()
    runs = np.diff(bounds, prepend=0, append=width * height)
    if len(runs) > 1 and runs[-1] == 0:
        runs = runs[:-1]
    code = coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def _places(edges: np.ndarray, left: int, top: int, height: int) -> np.ndarray:
    """Return the numbers of the pixels, down the columns of the whole mask, at these edges (W, H)
    of a part."""
    columns, rows = np.nonzero(edges)
    return (left + columns) * height + top + rows


def mask_runs(code: RunLength, name: str = "the mask") -> np.ndarray:
    """Return the lengths of a mask's runs, int64 (N,). They go down the columns from the left; the
    first counts pixels that are not set, the next those that are set, and so on.

    A code may come from anywhere, so it is checked here and never passed to pycocotools, which
    writes beyond its memory when a code is damaged. Raises InputError when it is not the code of a
    whole mask, or when the mask is larger than images may be. ``name`` is the name of the code in
    the message.
    """
    keys_fit = isinstance(code, dict) and set(code) == {"size", "counts"}
    if not keys_fit or not isinstance(code["counts"], str):
        raise InputError(f'{name} is not a COCO run-length code {{"size": [h, w], "counts": "…"}}')
    size = code["size"]
    sides = list(size) if isinstance(size, list | tuple) and len(size) == 2 else []
    if [type(side) for side in sides] != [int, int] or min(sides) < 1:
        raise InputError(f"{name}.size is not [height, width] in pixels")
    whole = sides[0] * sides[1]
    if whole > MAX_PIXELS:
        raise InputError(f"{name}.size has {whole} pixels, more than {MAX_PIXELS}; shrink it")
    # A mask has at most one run a pixel and one before it, each of at most seven characters.
    short = len(code["counts"]) <= 7 * (whole + 1)
    runs = _numbers_of(code["counts"]) if short else None
    fits = runs is not None and not (runs < 0).any() and not (runs > whole).any()
    if runs is None or not fits or runs.sum() != whole:
        raise InputError(f"{name}.counts is not a run-length code of the whole image")
    return runs


def runs_box(runs: np.ndarray, height: int) -> Box | None:
    """Return the tight box around the set pixels of a mask that is ``height`` pixels high, from its
    runs as ``mask_runs`` returns them. Returns None when no pixel is set."""
    ends = runs.cumsum()
    stops = ends[1::2]
    starts = ends[0::2][: len(stops)]
    starts, lasts = starts[starts < stops], stops[starts < stops] - 1
    if not len(starts):
        return None
    left, right = starts[0] // height, lasts[-1] // height
    top, bottom = (starts % height).min(), (lasts % height).max()
    if (starts // height < lasts // height).any():  # such a run covers the foot of a column and
        top, bottom = 0, height - 1  # the head of the next
    return (float(left), float(top), float(right + 1), float(bottom + 1))


def _numbers_of(counts: str) -> np.ndarray | None:
    """Return the numbers in a compressed ``counts``, int64 (N,); None when the text is cut off or
    holds a character that the code does not use.

    The code is that of the COCO API (``rleFrString`` in maskApi.c). Each number is written in
    groups of five bits, the low ones first; bit 6 of a character says that another group follows,
    and the last group holds the sign. From the fourth number on, each is relative to the number two
    before it.
    """
    if not counts.isascii():
        return None
    characters = np.frombuffer(counts.encode("ascii"), dtype=np.uint8)
    if not len(characters):
        return characters.astype(np.int64)
    if characters.min() < 48 or characters.max() >= 48 + 64:
        return None
    groups = characters.astype(np.int64) - 48
    ends = np.flatnonzero(groups < 0x20)
    if not len(ends):
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if ends[-1] != len(groups) - 1 or sizes.max() > _MOST_GROUPS:
        return None
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, sizes))
    numbers = np.add.reduceat((groups & 0x1F) << shifts, starts)
    numbers -= ((groups[ends] & 0x10) != 0).astype(np.int64) << 5 * sizes
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


_MOST_GROUPS = 6
"""Largest number of groups of a number: 6 groups of 5 bits exceed the size of any image, and the
sums of such numbers stay far below the limit of int64."""


def mask_box(mask: np.ndarray) -> Box:
    """Return the tight box around the true pixels of a mask bool (H, W). It must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def box_mask(box: Box, width: int, height: int) -> np.ndarray:
    """Return a mask bool (H, W) that is true on every pixel that the box touches."""
    x1, y1, x2, y2 = clip(box, width, height)
    mask = np.zeros((height, width), dtype=bool)
    mask[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = True
    return mask
