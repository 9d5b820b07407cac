"""Recognises files whose boxes are written in two ways: on two scales, or in two orders."""

from __future__ import annotations

import math

import numpy as np

from syngrpo.formats.box_doubt import BoxDoubt, of_two_orders, of_two_scales
from syngrpo.formats.box_fit import (
    FEWEST,
    MANY,
    NEARLY_ALL,
    ORDERS,
    REACHED,
    SOME,
    arrays_of,
    best_order,
    boxes_that_fit,
    ends,
    fit_as_stored,
)
from syngrpo.formats.box_layout import BoxLayout, BoxReader
from syngrpo.serving.wording import count

FAR_FROM_1 = 2
"""A number beyond is no rounding error of a coordinate from 0 to 1."""
MOST = 0.9
"""Share of the boxes that do not fit one order and must fit the other."""
MOST_SHARE = 0.5
"""An image that covers more of 1000 x 1000 pixels tells little: its corners overlap."""
CHANCE = math.log(20)
"""A surplus of images is no chance from this improbability on (natural logarithm)."""


def mixed_with_0_to_1(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if there are boxes without a number larger than 1, and others far from 0 to 1;
    None when all are on one scale. In pixels a box of the first kind would be no larger than
    one."""
    read, is_large = reader.layout, np.abs(numbers).max(axis=1) > FAR_FROM_1
    if not reader.small or not is_large.any():
        return None
    large = [box for box, one in zip(reader.seen, is_large, strict=True) if one]
    if read.coordinates == "0-1":  # the large ones are defects of their rows
        odd, others, words = large, reader.small, "the range 0-1"
        looks_like, many = BoxLayout(read.order, "pixels"), len(odd) >= FEWEST
    else:
        odd, others, words = reader.small, large, "pixels or 0-1000"
        order = best_order(*arrays_of(odd), BoxLayout(read.order, "0-1"))
        looks_like = BoxLayout(order, "0-1")
        many = len(odd) >= min(FEWEST, SOME * reader.number)
    said = of_two_scales(read, odd, count(reader.number, "box"), looks_like, words)
    sure = many and not reader.given
    return BoxDoubt(path, read, odd, looks_like, sure, *said, reader.number, others)


def mixed_with_1000(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if the boxes of some images fit as pixels, and those of the others only in
    the range 0-1000; None otherwise.

    In that range, boxes lie in the corner that an image has in pixels about as often as in the
    other three corners of this size. If far more images have all boxes in that one corner, those
    are in pixels. Where that may be chance, there is a doubt only about boxes that the user says to
    be in that range.
    """
    read = reader.layout
    if read.coordinates == "0-1":
        return None
    of_1000 = BoxLayout(read.order, "0-1000")
    _, group = np.unique([id(box.image) for box in reader.seen], return_inverse=True)
    in_pixels = ~_any(group, ~boxes_that_fit(BoxLayout(read.order), numbers, sizes))
    rest = ~in_pixels[group]
    if (~in_pixels).sum() < max(FEWEST, MANY * len(in_pixels)):
        return None
    if boxes_that_fit(of_1000, numbers[rest], sizes[rest]).mean() < NEARLY_ALL:
        return None
    if ends(read.order, numbers[rest]).max() < REACHED:
        return None
    corner, mirrored = _in_corners(read, numbers, sizes, group)
    believed = reader.given and read.coordinates == "0-1000"
    no_chance = _improbability(corner, mirrored) >= CHANCE
    if not _are_many(corner, mirrored) or not (no_chance or believed):
        return None
    odd = [box for box, one in zip(reader.seen, rest, strict=True) if one]
    others = [box for box, one in zip(reader.seen, rest, strict=True) if not one]
    words = "pixels: they fit their images so"
    said = of_two_scales(read, odd, reader.looked_at(), of_1000, words, no_chance)
    return BoxDoubt(path, read, odd, of_1000, not reader.given, *said, len(reader.seen), others)


def images_in_pixels(reader: BoxReader, numbers: np.ndarray, sizes: np.ndarray) -> int:
    """Return how many images have boxes that look like pixels among others from 0 to 1000, if they
    are more than chance lets expect; otherwise 0."""
    _, group = np.unique([id(box.image) for box in reader.seen], return_inverse=True)
    corner, mirrored = _in_corners(reader.layout, numbers, sizes, group)
    return corner if _are_many(corner, mirrored) else 0


def _are_many(corner: int, mirrored: int) -> bool:
    return corner >= max(FEWEST, 2 * mirrored)


def _any(group: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return for each group whether a flag of it is set, bool (G,)."""
    return np.bincount(group, flags) > 0


def _in_corners(
    read: BoxLayout, numbers: np.ndarray, sizes: np.ndarray, group: np.ndarray
) -> tuple[int, int]:
    """Return the number of images smaller than 1000 pixels whose boxes all lie in the upper left
    corner of 1000 x 1000 that is as large as the image, and the largest such number of the other
    corners."""
    x1, y1, x2, y2 = BoxLayout(read.order).corners(numbers.T, 1, 1)
    width, height = sizes.T
    left, right = x2 <= width, x1 >= 1000 - width
    upper, lower = y2 <= height, y1 >= 1000 - height
    smaller = ~_any(group, width * height > MOST_SHARE * 1000 * 1000)
    corners = (left & upper, right & upper, left & lower, right & lower)
    counts = [int((smaller & ~_any(group, ~inside)).sum()) for inside in corners]
    return counts[0], max(counts[1:])


def _improbability(more: int, fewer: int) -> float:
    """Return a lower bound of the negative logarithm of the probability that of two equally
    probable results one occurs so much more often (Chernoff)."""
    both = more + fewer
    shares = [number / both for number in (more, fewer) if number]
    return both * (math.log(2) + sum(share * math.log(share) for share in shares))


def mixed_orders(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if several boxes fit only as they are read, and several only in one other
    order; None otherwise."""
    read, few = reader.layout, max(FEWEST, SOME * len(numbers))
    fits = boxes_that_fit(read, numbers, sizes) | fit_as_stored(read, reader.seen, numbers)
    if (~fits).sum() < few:
        return None
    fit = {
        order: boxes_that_fit(BoxLayout(order, read.coordinates), numbers, sizes)
        for order in ORDERS
        if order != read.order
    }
    order = max(fit, key=lambda order: fit[order][~fits].mean())
    only_read = int((fits & ~fit[order]).sum())
    if fit[order][~fits].mean() < MOST or only_read < few:
        return None
    only_other = fit[order] & ~fits
    odd = [box for box, one in zip(reader.seen, only_other, strict=True) if one]
    surely_read = fits & ~fit[order]
    others = [box for box, one in zip(reader.seen, surely_read, strict=True) if one]
    looks_like = BoxLayout(order, read.coordinates)
    said = of_two_orders(read, odd, reader.looked_at(), looks_like, only_read)
    sure = not reader.given and len(odd) >= MANY * len(numbers)
    return BoxDoubt(path, read, odd, looks_like, sure, *said, len(numbers), others)
