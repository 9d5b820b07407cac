"""Checks and converts COCO's masks. pycocotools does not check its input."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from syngrpo.boxes import intersection
from syngrpo.sample import Box, EncodedImage, InputError, RunLength
from syngrpo.tasks.labels import shown


def checked_mask(value: Any, box: Box, image: EncodedImage, name: str) -> RunLength:
    """Check that a JSON value is the mask of an object and return it. ``name`` is the name of the
    value in the message.

    Raises InputError when it is not a run-length code of the image's size that touches the box.
    """
    keys_fit = isinstance(value, dict) and set(value) == {"size", "counts"}
    if not keys_fit or not isinstance(value["counts"], str):
        raise InputError(f'{name} is not a COCO run-length code {{"size": [h, w], "counts": "…"}}')
    if value["size"] != [image.height, image.width]:
        raise InputError(
            f"{name}.size is {shown(value['size'])}, but the image is "
            f"[{image.height}, {image.width}] (height, width)"
        )
    lengths = run_lengths(value["counts"])
    whole = image.height * image.width
    if lengths is None or (lengths < 0).any() or lengths.sum() != whole:
        raise InputError(f"{name}.counts is not a run-length code of the whole image")
    if not lengths[1::2].any() or not _touches(value, box):
        raise InputError(f"{name} covers no pixel of the object's box")
    return value


def run_lengths(counts: str) -> np.ndarray | None:
    """Return the lengths of the runs in a compressed ``counts``, int64 (N,); None when the text is
    cut off or holds a character that the code does not use.

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


_MOST_GROUPS = 8
"""Largest number of groups of a number: 8 groups of 5 bits exceed the size of any image."""


def _touches(code: RunLength, box: Box) -> bool:
    """Return whether the tight box around a mask, which must not be empty, overlaps the box."""
    raw = {"size": code["size"], "counts": code["counts"].encode("ascii")}
    x, y, width, height = (float(number) for number in coco_mask.toBbox(raw))
    return intersection((x, y, x + width, y + height), box) > 0


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
        codes = coco_mask.frPyObjects(
            [_polygon(part, image, f"{name}[{i}]") for i, part in enumerate(value)],
            image.height,
            image.width,
        )
    else:
        raise InputError(f"{name} is {shown(value)}, neither polygons nor a run-length code")
    code = coco_mask.merge(codes)
    if coco_mask.area(code) == 0:
        return None
    mask = {"size": [image.height, image.width], "counts": code["counts"].decode("ascii")}
    if not _touches(mask, box):
        raise InputError(f"{name} covers no pixel of the object's box")
    return mask


def _polygon(value: Any, image: EncodedImage, name: str) -> list[float]:
    """Return flat x, y pairs of at least three corners, clipped to the image. pycocotools would
    read four numbers as a box, and takes long for a line that leads far out of the image."""
    corners = _numbers(value)
    if corners is None or len(corners) < 6 or len(corners) % 2:
        raise InputError(f"{name} is {shown(value)}, not a polygon [x1, y1, x2, y2, x3, y3, …]")
    corners[0::2] = corners[0::2].clip(0, image.width)
    corners[1::2] = corners[1::2].clip(0, image.height)
    return corners.tolist()


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
