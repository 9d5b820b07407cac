"""Chooses a size that a model can paint in, and brings a request's image and mask to it.

Sizes are (width, height) in pixels; images are uint8 (H, W, 3) RGB, masks bool (H, W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class SizeRule:
    """The sizes that a model can paint: both sides are multiples of ``multiple``, and the area lies
    between ``min_pixels`` and ``max_pixels``.

    A model paints badly in an area much smaller than those it was trained on, and its latents do
    not show small objects, so a small picture is painted larger and shrunk afterwards.
    """

    multiple: int = 1
    min_pixels: int = 512 * 512
    max_pixels: int = 1024 * 1024


def working_size(
    wanted: tuple[int, int], rule: SizeRule, longest: int | None = None
) -> tuple[int, int]:
    """Return the size nearest to ``wanted``, in its aspect ratio, that the rule allows.

    ``longest`` limits the longer side as well, in pixels; it takes precedence over ``min_pixels``.
    ``max_pixels`` is never exceeded, unless it is less than one multiple squared.
    """
    step, area = rule.multiple, wanted[0] * wanted[1]
    scale = max(1.0, math.sqrt(rule.min_pixels / area))
    scale = min(scale, math.sqrt(rule.max_pixels / area))
    if longest is not None:
        scale = min(scale, longest / max(wanted))
    sides = [max(step, round(side * scale / step) * step) for side in wanted]
    if longest is not None:
        sides = [min(side, max(step, longest // step * step)) for side in sides]
    while sides[0] * sides[1] > rule.max_pixels and max(sides) > step:
        sides[sides.index(max(sides))] -= step
    return sides[0], sides[1]


def fitted_image(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Resize the image: bicubic to a larger size, by the mean of the covered pixels to a smaller
    one."""
    picture = Image.fromarray(image)
    if picture.size == size:
        return picture
    larger = size[0] >= picture.width and size[1] >= picture.height
    return picture.resize(size, Image.Resampling.BICUBIC if larger else Image.Resampling.BOX)


def shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrink uint8 (H, W) or (H, W, 3), by the mean of the covered pixels, if a side is longer than
    ``longest`` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(width, height)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def repaint_mask(keep: np.ndarray, size: tuple[int, int], cell: int) -> Image.Image:
    """Return an 8-bit mask of ``size``: 255 where the model is to paint, 0 where it is to keep.

    The mask is constant on squares of ``cell`` pixels, the smallest region that a model can keep or
    paint, because pipelines read it at different points of a cell. A cell is kept only if all its
    pixels are: otherwise a rim of erased background would stay around the object, and the exact
    pixels that are pasted afterwards would not cover it.
    """
    shrunk = Image.fromarray(keep.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    whole = np.asarray(shrunk) == 255
    width, height = size
    cells = whole.reshape(height // cell, cell, width // cell, cell).all(axis=(1, 3))
    repaint = np.where(cells, np.uint8(0), np.uint8(255))
    return Image.fromarray(repaint.repeat(cell, axis=0).repeat(cell, axis=1))


def padded_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Repeat the last row and column until both sides are multiples of ``multiple``."""
    height, width = image.shape[:2]
    down, right = -height % multiple, -width % multiple
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")
