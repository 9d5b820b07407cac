"""Which boxes fit their images in a layout, how far they reach, and which order fits best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from syngrpo.formats.box_layout import ROUNDING_SHARE, BoxLayout, BoxOrder, SeenBox
from syngrpo.picture_decoding import QUARTER_TURNS
from syngrpo.tasks.labels import ROUNDING_PIXELS

ORDERS: tuple[BoxOrder, ...] = get_args(BoxOrder)

MANY = 0.1
"""Share of the boxes that must not fit before another unit is considered. With fewer, the others
are faults of their rows."""
SOME = 0.02
"""Share of the boxes that must not fit before another order is considered."""
FEWEST = 3
"""Number of boxes that must not fit: one or two wrong ones say nothing about the others."""
ENOUGH = 10
"""Number of boxes whose mean centre and largest number say something."""
NEARLY_ALL = 0.995
"""Share of the boxes that must fit another order or unit."""
ALIKE = 0.05
"""Readings whose boxes lie off the middle by shares of the side that differ by less are alike."""
REACHED = 750
"""Coordinates from 0 to 1000 reach this number in some box."""


def arrays_of(seen: Sequence[SeenBox]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of boxes, float (N, 4), and width and height of their images, (N, 2)."""
    numbers = np.array([box.numbers for box in seen], dtype=np.float64)
    return numbers, np.array([(box.image.width, box.image.height) for box in seen])


def boxes_that_fit(layout: BoxLayout, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes have an area and lie inside their image, bool (N,).

    ``numbers`` is float (N, 4), ``sizes`` is (N, 2) with width and height in pixels.
    """
    width, height = sizes.T
    x1, y1, x2, y2 = layout.corners(numbers.T, width, height)
    share = 0.0 if layout.coordinates == "pixels" else ROUNDING_SHARE
    across, down = np.maximum(ROUNDING_PIXELS, share * sizes.T)
    inside = (x2 <= width + across) & (y2 <= height + down) & (x1 >= -across) & (y1 >= -down)
    return np.asarray((x1 < x2) & (y1 < y2) & inside)


def fit_as_stored(layout: BoxLayout, seen: Sequence[SeenBox], numbers: np.ndarray) -> np.ndarray:
    """Return which boxes are on images that an EXIF orientation turns by a quarter, and fit them as
    they are stored, bool (N,)."""
    turned = np.array([box.image.orientation in QUARTER_TURNS for box in seen])
    stored = np.array([(box.image.height, box.image.width) for box in seen])
    return np.asarray(turned & boxes_that_fit(layout, numbers, stored))


def ends(order: BoxOrder, numbers: np.ndarray) -> np.ndarray:
    """Return the right and the lower end of boxes as they are written, float (N, 2)."""
    _, _, x2, y2 = BoxLayout(order).corners(numbers.T, 1, 1)
    return np.stack([x2, y2], axis=1)


def best_order(numbers: np.ndarray, sizes: np.ndarray, read: BoxLayout) -> BoxOrder:
    """Return the order of the numbers that fits best; among equals, the more usual one. The order
    in use is kept unless another fits clearly better."""
    shares = {
        order: float(boxes_that_fit(BoxLayout(order, read.coordinates), numbers, sizes).mean())
        for order in ORDERS
    }
    best = max(shares.values())
    one = 1 / len(numbers) if len(numbers) >= ENOUGH else 0.0  # a box may be a fault of its row
    if shares[read.order] > 1 - SOME or best < min(NEARLY_ALL, 1 - one):
        return read.order
    good = [order for order in ORDERS if shares[order] == best]
    if len(numbers) < ENOUGH:
        return good[0]
    off_centre = {
        order: _off_centre(BoxLayout(order, read.coordinates), numbers, sizes) for order in good
    }
    close = min(off_centre.values()) + ALIKE
    return next(order for order in good if off_centre[order] <= close)


def _off_centre(layout: BoxLayout, numbers: np.ndarray, sizes: np.ndarray) -> float:
    """Return how far the mean centre of the boxes lies from that of the images, as a share of the
    side. Objects of a data set usually lie around the middle on average."""
    width, height = sizes.T
    x1, y1, x2, y2 = layout.corners(numbers.T, width, height)
    across, down = ((x1 + x2) / 2 / width).mean(), ((y1 + y2) / 2 / height).mean()
    return float(abs(across - 0.5) + abs(down - 0.5))
