"""Checks and converts COCO's masks. pycocotools does not check its input, so that it gets only what
was checked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from syngrpo.boxes import intersection, mask_runs, runs_box
from syngrpo.sample import Box, EncodedImage, InputError, RunLength
from syngrpo.tasks.labels import BoxError, shown

LONGEST_OUTLINE = 1_000_000
"""Longest outline of all polygons of a mask in pixels. That of an object in a photograph has some
thousands."""


def checked_mask(value: Any, box: Box, image: EncodedImage, name: str) -> RunLength:
    """Check that a JSON value is the mask of an object and return it. ``name`` is the name of the
    value in the message.

    Raises InputError when it is not a run-length code of the image's size that touches the box.
    """
    runs = mask_runs(value, name)
    height, width = value["size"]
    if (height, width) != (image.height, image.width):
        swapped = (height, width) == (image.width, image.height)
        hint = image.stored_view_hint(width, height) if swapped else ""
        raise InputError(
            f"{name}.size is {shown(value['size'])}, but the image is "
            f"[{image.height}, {image.width}] (height, width){hint}"
        )
    _refuse_elsewhere(runs_box(runs, height), box, name)
    return value


def _refuse_elsewhere(extent: Box | None, box: Box, name: str) -> None:
    """Raise BoxError unless the tight box around a mask overlaps the object's box."""
    if extent is None or intersection(extent, box) <= 0:
        raise BoxError(f"{name} covers no pixel of the object's box")


def segmentation_mask(value: Any, box: Box, image: EncodedImage, name: str) -> RunLength | None:
    """Convert a COCO ``segmentation`` (polygons, or a run-length code of either kind) to a mask.

    Returns None when there is none, or when it covers no pixel, as the polygon of a tiny object
    may. Raises InputError when it is not valid or does not touch the box; ``name`` is the name of
    the value in the message.
    """
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        if isinstance(value.get("counts"), str):
            return checked_mask(value, box, image, name)
        codes = [_uncompressed(value, image, name)]
    elif isinstance(value, list):
        polygons = [_polygon(part, image, f"{name}[{i}]") for i, part in enumerate(value)]
        _refuse_long(polygons, name)
        codes = coco_mask.frPyObjects(
            [polygon.tolist() for polygon in polygons], image.height, image.width
        )
    else:
        raise InputError(f"{name} is {shown(value)}, neither polygons nor a run-length code")
    code = coco_mask.merge(codes)
    if coco_mask.area(code) == 0:
        return None
    mask = {"size": [image.height, image.width], "counts": code["counts"].decode("ascii")}
    _refuse_elsewhere(runs_box(mask_runs(mask, name), image.height), box, name)
    return mask


def _polygon(value: Any, image: EncodedImage, name: str) -> np.ndarray:
    """Return flat x, y pairs of at least three corners, clipped to the image. pycocotools would
    read four numbers as a box."""
    corners = _numbers(value)
    if corners is None or len(corners) < 6 or len(corners) % 2:
        raise InputError(f"{name} is {shown(value)}, not a polygon [x1, y1, x2, y2, x3, y3, …]")
    corners[0::2] = corners[0::2].clip(0, image.width)
    corners[1::2] = corners[1::2].clip(0, image.height)
    return corners


def _refuse_long(polygons: Sequence[np.ndarray], name: str) -> None:
    """Raise InputError for polygons with a long outline, in pixels across plus down: pycocotools
    needs time and memory for every pixel of it."""
    corners = [polygon.reshape(-1, 2) for polygon in polygons]
    outline = sum(float(np.abs(np.diff(one, axis=0)).sum()) for one in corners)
    if outline > LONGEST_OUTLINE:
        raise InputError(
            f"{name} has an outline of {outline:.0f} pixels, more than {LONGEST_OUTLINE}; give the "
            "mask as a run-length code"
        )


def _uncompressed(value: dict[str, Any], image: EncodedImage, name: str) -> RunLength:
    lengths = _numbers(value.get("counts"))
    size = [image.height, image.width]
    if lengths is None or value.get("size") != size:
        raise InputError(f"{name} is {shown(value)}, not a run-length code of size {size}")
    whole = (lengths >= 0).all() and (lengths == np.floor(lengths)).all()
    if not whole or lengths.sum() != image.height * image.width:
        raise InputError(f"{name}.counts is not a run-length code of the whole image")
    counts = [int(length) for length in lengths]
    return coco_mask.frPyObjects({"size": size, "counts": counts}, *size)


def _numbers(value: Any) -> np.ndarray | None:
    """Return a list of finite numbers as float64 (N,); None for anything else."""
    if not isinstance(value, list):
        return None
    try:
        numbers = np.array(value)
    except ValueError:  # lists of unequal lengths
        return None
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        return None
    return numbers.astype(np.float64)
