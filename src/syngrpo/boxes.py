"""Geometry of boxes and masks: IoU, transforms, coordinate frames, run-length codes.

Boxes are (x1, y1, x2, y2) in pixels with continuous coordinates: a box around the first pixel is
(0, 0, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from syngrpo.sample import Box, RunLength


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


def clip(box: Box, width: float, height: float) -> Box:
    """Return the part of the box inside an image of this size in pixels."""
    x1, y1, x2, y2 = box
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

    def to_model(self, box: Box) -> Box:
        """Convert from original pixels to model units, without rounding."""
        sx, sy = self.width / self.original_width, self.height / self.original_height
        return (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)


def encode_mask(mask: np.ndarray) -> RunLength:
    """Encode a mask bool (H, W) as a COCO run-length code whose ``counts`` is text."""
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_mask(code: RunLength) -> np.ndarray:
    """Decode a COCO run-length code to a mask bool (H, W)."""
    raw = {"size": code["size"], "counts": code["counts"].encode("ascii")}
    return coco_mask.decode(raw).astype(bool)


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
