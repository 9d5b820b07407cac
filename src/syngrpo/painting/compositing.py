"""Finds the pixels of a picture that are kept, and pastes them into the painted one.

Arrays are in pixels of the original image: images uint8 (H, W, 3) RGB, masks bool (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.boxes import box_mask, decode_mask
from syngrpo.sample import InputError, Sample

ERASED = 127
"""Grey level of an erased background. A constant, because any statistic of the old background
would tell the generator about it."""


def keep_mask(
    sample: Sample, keep: Sequence[int] | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Return bool (H, W), true on the pixels of the objects: the union of their masks, and of the
    boxes of those without a mask.

    ``keep`` are indices into ``sample.objects``; None for all of them. ``size`` is the (width,
    height) of the canvas on which they lie; None for the image's. Raises InputError when a mask has
    another size.
    """
    width, height = size or (sample.image.width, sample.image.height)
    union = np.zeros((height, width), dtype=bool)
    for index in range(len(sample.objects)) if keep is None else keep:
        thing = sample.objects[index]
        if thing.mask is None:
            union |= box_mask(thing.box, width, height)
            continue
        mask = decode_mask(thing.mask)
        if mask.shape != union.shape:
            raise InputError(
                f"sample {sample.id}: the mask of '{thing.label}' is {mask.shape[1]}x"
                f"{mask.shape[0]}, the image {width}x{height}; correct the mask"
            )
        union |= mask
    return union


def erase_background(image: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Set every pixel outside ``keep`` to one grey."""
    return np.where(keep[..., None], image, np.uint8(ERASED))


def default_feather(width: int, height: int) -> int:
    """Return the feather in pixels for an image of that size: 1 for 128 px, 5 for 640 x 480."""
    return max(1, round(min(width, height) / 96))


def composite(
    original: np.ndarray,
    generated: np.ndarray,
    keep: np.ndarray,
    feather: int,
    returned: np.ndarray | None = None,
    share: float = 1.0,
) -> np.ndarray:
    """Paste the original's pixels under ``keep`` into the generated picture: uint8 (H, W, 3).

    ``generated`` may have any size; it is resized to the original's. Outside the mask, up to
    ``feather`` pixels away from it (in rows and columns), the original fades into the generated
    picture linearly; 0 pastes hard edges.

    ``returned``, of any size, is the original after it went through the generator's autoencoder
    (see ``Generator.round_trip``). The pasted pixels are moved towards it by ``share`` in [0, 1] of
    the difference, so that their statistics resemble those of the painted ones and no seam shows
    where they end. They then differ from the original: the gate needs a ``max_kept_difference``.
    """
    generated = resized_to(generated, keep)
    if returned is not None:
        returned = resized_to(returned, keep).astype(np.float32)
        original = np.rint(original + (returned - original) * share).astype(np.uint8)
    blend = generated
    if feather > 0:
        # A box blur of a straight edge is 1/2 on the edge and 0 one radius outside it; doubled,
        # it falls from 1 to 0 over the feather.
        blurred = Image.fromarray(keep.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(feather))
        weight = np.minimum(np.asarray(blurred, dtype=np.float32) * (2 / 255), 1)[..., None]
        blend = np.rint(generated + (original.astype(np.float32) - generated) * weight)
    return np.where(keep[..., None], original, blend.astype(np.uint8))


def resized_to(image: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Resize uint8 (H, W, 3) to the size of ``keep``."""
    if image.shape[:2] == keep.shape:
        return image
    height, width = keep.shape
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
