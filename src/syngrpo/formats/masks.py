"""Checking COCO run-length codes before pycocotools decodes them: it trusts their lengths."""

from __future__ import annotations

from typing import Any

from syngrpo.boxes import decode_mask, intersection, mask_box
from syngrpo.sample import Box, EncodedImage, InputError, RunLength
from syngrpo.tasks.labels import shown


def checked_mask(value: Any, box: Box, image: EncodedImage, name: str) -> RunLength:
    """A JSON value → the mask of an object. ``name`` is what the message calls it.

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
    if lengths is None or min(lengths, default=0) < 0 or sum(lengths) != image.height * image.width:
        raise InputError(f"{name}.counts is not a run-length code of the whole image")
    pixels = decode_mask(value)
    if not pixels.any() or intersection(mask_box(pixels), box) == 0:
        raise InputError(f"{name} covers no pixel of the object's box")
    return value


def run_lengths(counts: str) -> list[int] | None:
    """The lengths of the runs in a compressed ``counts``; None when it is cut off or has foreign
    characters.

    The code is that of the COCO API (``rleFrString`` in maskApi.c): numbers in groups of five
    bits, low ones first, bit 6 of a character says that more follow, the last group carries the
    sign; from the fourth number on each is relative to the one two before.
    """
    lengths: list[int] = []
    number, shift = 0, 0
    for character in counts:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            return None
        number |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            number -= 1 << shift
        lengths.append(number + lengths[-2] if len(lengths) > 2 else number)
        number, shift = 0, 0
    return lengths if shift == 0 else None
