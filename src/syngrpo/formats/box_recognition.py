"""Recognises by statistics that the boxes of a file are written in another way than they are read.

Only what the numbers show is used: whether all are at most 1 or at most 1000, whether boxes end
before they begin, and whether they lie inside their images. Two ways of writing that fit equally
well, such as y first in square images, cannot be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from syngrpo.formats.box_layout import (
    ROUNDING_SHARE,
    BoxLayout,
    BoxOrder,
    BoxReader,
    Coordinates,
    SeenBox,
)
from syngrpo.picture_decoding import QUARTER_TURNS
from syngrpo.tasks.labels import ROUNDING_PIXELS

ORDERS: tuple[BoxOrder, ...] = get_args(BoxOrder)

MANY = 0.1
"""Share of the boxes that must not fit before another unit is considered."""
SOME = 0.02
"""Share of the boxes that must not fit before another order is considered."""
FEWEST = 3
"""Number of boxes that must not fit: one or two wrong ones say nothing about the others."""
ENOUGH = 10
"""Number of boxes whose mean centre says something."""
SURE = 0.25
"""Share of the boxes that must not fit before they are refused. With fewer, the others may be right
and these may be faults of the data."""
NEARLY_ALL = 0.995
"""Share of the boxes that must fit another order or unit."""
IMPROBABLE = math.log(20)
"""Boxes up to 1000 are doubted from this improbability on (natural logarithm)."""
FAR_ENDS = 1.5
"""The right and lower ends of boxes lie below a share s of the side with about the probability s to
this power."""
RARE_FAULT = math.log(5)
"""What a box that reaches out of its image adds to the improbability."""
ALIKE = 0.05
"""Readings whose boxes lie off the middle by shares of the side that differ by less are alike."""
FAR_FROM_1 = 2
"""A number beyond is no rounding error of a coordinate from 0 to 1."""
NAMED = 5
"""Number of boxes that a message names."""
REACHED = 750
"""Coordinates from 0 to 1000 reach this number in some box."""


@dataclass(frozen=True)
class BoxDoubt:
    """Boxes that are read in one way and look like another.

    ``sure``: whether the boxes as they are read cannot be meant. ``fitting``: share in [0, 1] of
    the boxes that fit as they are read. ``of``: if only the boxes in ``seen`` look like that, the
    number of all; otherwise 0.
    """

    path: str
    read: BoxLayout
    seen: Sequence[SeenBox]
    looks_like: BoxLayout
    sure: bool
    fitting: float
    of: int = 0

    @property
    def advice(self) -> str:
        """What to do: which keys to set, if they make all boxes right."""
        if self.of:
            return (
                "write all boxes of a file on one scale, or make a file of those in the range 0-1, "
                "with coordinates: 0-1"
            )
        keys = {}
        if self.looks_like.order != self.read.order:
            keys["boxes"] = str(self.looks_like.order)
        if self.looks_like.coordinates != self.read.coordinates:
            keys["coordinates"] = str(self.looks_like.coordinates)
        return f"set {keys_to_set(keys)}"

    def message(self) -> str:
        """Say what the boxes look like and which keys to set, on one line."""
        if self.of:
            return self._of_two_scales()
        misfits = round((1 - self.fitting) * len(self.seen))
        fit = f"{misfits} of {len(self.seen)} do not fit" if misfits else self._why()
        keep = "" if self.sure and misfits else f"; if they are right, set {self._as_read()}"
        if self.looks_like.coordinates != "pixels" and self.looks_like.order == "xyxy":
            keep += "; these numbers cannot show whether x or y comes first: look at the sheet"
        return (
            f"{self.path}: the boxes are read as {self.read.words()}, and {fit}; they look like "
            f"{self.looks_like.words()}; {self.advice}{keep}"
        )

    def _as_read(self) -> str:
        return f"boxes: {self.read.order}, coordinates: {self.read.coordinates}"

    def _why(self) -> str:
        if self.looks_like.coordinates == "0-1":
            return "no number is larger than 1"
        return "no number is larger than 1000, though images are"

    def _of_two_scales(self) -> str:
        of_pixels = self.looks_like.coordinates == "pixels"
        others = "the range 0-1" if of_pixels else "pixels or 0-1000"
        listed = list(dict.fromkeys(map(_shown, self.seen)))
        shown = ", ".join(listed[:NAMED]) + (", …" if len(listed) > NAMED else "")
        return (
            f"{self.path}: two scales are mixed: {len(self.seen)} of {self.of} boxes look like "
            f"{self.looks_like.words()}, the others like {others}; boxes are read as "
            f"{self.read.words()}; {self.advice}; these are {shown}"
        )


def keys_to_set(keys: Mapping[str, str]) -> str:
    """Return keys of a source as a configuration has them, and as options of the command line."""
    written = ", ".join(f"{key}: {value}" for key, value in keys.items())
    options = " ".join(f"--option {key}={value}" for key, value in keys.items())
    return f"{written} ({options})"


def _shown(box: SeenBox) -> str:
    numbers = ", ".join(f"{number:.4g}" for number in box.numbers)
    return f"[{numbers}]" + (f" on {box.image.path.name}" if box.image.path is not None else "")


def doubt_about(reader: BoxReader, path: str) -> BoxDoubt | None:
    """Return what speaks against the layout that the boxes of a file were read with; None when
    nothing does."""
    if not reader.seen:
        return None
    numbers = np.array([box.numbers for box in reader.seen], dtype=np.float64)
    sizes = np.array([(box.image.width, box.image.height) for box in reader.seen])
    read = reader.layout
    if mixed := _mixed_scales(reader, path, numbers, sizes):
        return mixed
    unit, sure = _unit(numbers, sizes, reader)
    order = _order(numbers, sizes, BoxLayout(read.order, unit))
    found = BoxLayout(order, unit)
    if found == read:
        return None
    fits = boxes_that_fit(read, numbers, sizes)
    if unit == read.coordinates and len(fits) - fits.sum() < FEWEST:
        return None
    if unit == read.coordinates and _are_turned(reader, numbers, fits):
        return None  # the rows say so
    fitting = float(fits.mean())
    sure = sure or fitting <= 1 - SURE
    return BoxDoubt(path, read, reader.seen, found, sure and not reader.given, fitting)


def _mixed_scales(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if there are boxes without a number larger than 1, and others far from 0 to 1;
    None when all are on one scale. In pixels a box of the first kind would be no larger than
    one."""
    read, is_large = reader.layout, np.abs(numbers).max(axis=1) > FAR_FROM_1
    if not reader.small or not is_large.any():
        return None
    fitting = float(boxes_that_fit(read, numbers, sizes).mean())
    if read.coordinates == "0-1":  # the large ones are defects of their rows
        odd = [box for box, large in zip(reader.seen, is_large, strict=True) if large]
        looks_like, many = BoxLayout(read.order, "pixels"), len(odd) >= FEWEST
    else:
        odd = reader.small
        looks_like = BoxLayout(_order_of(odd, BoxLayout(read.order, "0-1")), "0-1")
        many = len(odd) >= min(FEWEST, SOME * reader.count)
    return BoxDoubt(path, read, odd, looks_like, many and not reader.given, fitting, reader.count)


def _order_of(seen: Sequence[SeenBox], read: BoxLayout) -> BoxOrder:
    numbers = np.array([box.numbers for box in seen], dtype=np.float64)
    return _order(numbers, np.array([(box.image.width, box.image.height) for box in seen]), read)


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


def _are_turned(reader: BoxReader, numbers: np.ndarray, fits: np.ndarray) -> bool:
    """Return whether the boxes that do not fit are those of images that an EXIF orientation turns
    by a quarter, and fit them as they are stored."""
    turned = np.array([box.image.orientation in QUARTER_TURNS for box in reader.seen])
    stored = np.array([(box.image.height, box.image.width) for box in reader.seen])
    as_stored = turned & boxes_that_fit(reader.layout, numbers, stored)
    return bool(as_stored.any()) and float((fits | as_stored).mean()) >= NEARLY_ALL


def _best_share(unit: Coordinates, numbers: np.ndarray, sizes: np.ndarray) -> float:
    return max(float(boxes_that_fit(BoxLayout(o, unit), numbers, sizes).mean()) for o in ORDERS)


def _unit(numbers: np.ndarray, sizes: np.ndarray, reader: BoxReader) -> tuple[Coordinates, bool]:
    """Return the unit that the numbers look like, and whether the one in use is impossible."""
    used, largest = reader.layout.coordinates, float(numbers.max())
    believed = reader.given or used == "0-1"
    if believed and float(boxes_that_fit(reader.layout, numbers, sizes).mean()) > 1 - MANY:
        return used, False
    if largest <= 1:
        return "0-1", used == "pixels"
    if largest > 1000:
        return "pixels", False
    pixels = _best_share("pixels", numbers, sizes)
    misfits = round((1 - pixels) * len(numbers))
    if (
        misfits >= max(FEWEST, MANY * len(numbers))
        and _best_share("0-1000", numbers, sizes) >= NEARLY_ALL
    ):
        return "0-1000", misfits >= SURE * len(numbers)
    if used == "0-1000":
        return used, False
    whole = bool((numbers == np.floor(numbers)).all())
    seldom = misfits < SOME * len(numbers) or _best_share("0-1000", numbers, sizes) < 1
    found = _improbability(reader, numbers, sizes, 0 if seldom else misfits)
    return "0-1000" if whole and found > IMPROBABLE else "pixels", False


def _improbability(
    reader: BoxReader, numbers: np.ndarray, sizes: np.ndarray, misfits: int
) -> float:
    """Return the negative logarithm of the probability that no box of a larger image reaches beyond
    1000, and that ``misfits`` boxes reach out of theirs, in a file with boxes in pixels. 0 if the
    boxes do not come near to 1000 either."""
    order = _order(numbers, sizes, BoxLayout(reader.layout.order, "0-1000"))
    _, _, x2, y2 = BoxLayout(order).corners(numbers.T, *sizes.T)
    if max(x2.max(), y2.max()) < REACHED:
        return 0.0
    distinct = {id(box.image): (box.image.width, box.image.height) for box in reader.seen}
    beyond = np.log(np.maximum(list(distinct.values()), 1000) / 1000).sum()
    return FAR_ENDS * float(beyond) + RARE_FAULT * misfits


def _order(numbers: np.ndarray, sizes: np.ndarray, read: BoxLayout) -> BoxOrder:
    """Return the order of the numbers that fits best; among equals, the more usual one. The order
    in use is kept unless another fits clearly better."""
    shares = {
        order: float(boxes_that_fit(BoxLayout(order, read.coordinates), numbers, sizes).mean())
        for order in ORDERS
    }
    best = max(shares.values())
    if shares[read.order] > 1 - SOME or best < NEARLY_ALL:
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
