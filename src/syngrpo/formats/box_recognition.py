"""Recognises by statistics that the boxes of a file are written in another way than they are read.

Only what the numbers show is used: whether all are at most 1 or come near 1000, whether boxes end
before they begin, and whether they lie inside their images. Two ways of writing that fit equally
well, such as y first in square images, cannot be told apart. Nearly any small number fits the range
0-1000, so it is recognised only if some boxes come near 1000. ``doubt_about`` is the entry point.
"""

from __future__ import annotations

import math

import numpy as np

from syngrpo.formats.box_doubt import (
    BoxDoubt,
    of_another_layout,
    of_far_below_1000,
    of_larger_images,
)
from syngrpo.formats.box_fit import (
    ENOUGH,
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
from syngrpo.formats.box_layout import BoxLayout, BoxReader, Coordinates
from syngrpo.formats.box_mixtures import (
    FAR_FROM_1,
    images_in_pixels,
    mixed_orders,
    mixed_with_0_to_1,
    mixed_with_1000,
)

SURE = 0.25
"""Share of the boxes that must not fit before they are refused. With fewer, the others may be right
and these may be faults of the data."""
IMPROBABLE = math.log(20)
"""Boxes up to 1000 are doubted from this improbability on (natural logarithm)."""
FAR_ENDS = 1.5
"""The right and lower ends of boxes lie below a share s of the side with about the probability s to
this power."""
RARE_FAULT = math.log(5)
"""What a box that reaches out of its image adds to the improbability."""
ENLARGED = 1.05
"""Boxes of larger images reach out of these by at least this factor."""
SMALLER_FRAME = 0.2
"""Boxes look like those of larger images, and not like 0-1000, if the larger images have fewer
pixels than 1000 x 1000 by this difference of logarithms."""


def doubt_about(reader: BoxReader, path: str) -> BoxDoubt | None:
    """Return what speaks against the layout that the boxes of a file were read with; None when
    nothing does."""
    if not reader.seen:
        return None
    numbers, sizes = arrays_of(reader.seen)
    read = reader.layout
    mixed = mixed_with_0_to_1(reader, path, numbers, sizes)
    if mixed := mixed or mixed_with_1000(reader, path, numbers, sizes):
        return mixed
    unit, sure = _unit(numbers, sizes, reader)
    found = BoxLayout(best_order(numbers, sizes, BoxLayout(read.order, unit)), unit)
    if found == read:
        doubt = mixed_orders(reader, path, numbers, sizes)
        doubt = doubt or _of_larger_images(reader, path, numbers, sizes)
        return doubt or _far_below_1000(reader, path, numbers, sizes)
    fits = boxes_that_fit(read, numbers, sizes)
    if unit == read.coordinates and len(fits) - fits.sum() < FEWEST:
        return None
    if unit == read.coordinates and _are_turned(reader, numbers, fits):
        return None  # the rows say so
    sure = (sure or float(fits.mean()) <= 1 - SURE) and not reader.given
    misfits = len(fits) - int(fits.sum())
    in_pixels = images_in_pixels(reader, numbers, sizes) if unit == "0-1000" else 0
    said = of_another_layout(read, found, misfits, reader.looked_at(), sure, in_pixels)
    return BoxDoubt(path, read, reader.seen, found, sure, *said)


def _are_turned(reader: BoxReader, numbers: np.ndarray, fits: np.ndarray) -> bool:
    """Return whether the boxes that do not fit are those of images that an EXIF orientation turns
    by a quarter, and fit them as they are stored."""
    as_stored = fit_as_stored(reader.layout, reader.seen, numbers)
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
    if used == "0-1" and largest <= FAR_FROM_1:  # faults of their rows
        return used, False
    if largest > 1000:
        return "pixels", False
    pixels = _best_share("pixels", numbers, sizes)
    misfits = round((1 - pixels) * len(numbers))
    fit_1000 = _best_share("0-1000", numbers, sizes)
    if misfits >= max(FEWEST, MANY * len(numbers)) and fit_1000 >= NEARLY_ALL:
        order = best_order(numbers, sizes, BoxLayout(reader.layout.order, "0-1000"))
        if _comes_near_1000(BoxLayout(order, "0-1000"), numbers, sizes):
            return "0-1000", misfits >= SURE * len(numbers)
        return ("pixels" if used == "0-1" else used), False
    if used == "0-1000":
        return used, False
    whole = bool((numbers == np.floor(numbers)).all())
    seldom = misfits < SOME * len(numbers) or fit_1000 < 1
    found = _improbability(reader, numbers, sizes, 0 if seldom else misfits)
    return "0-1000" if whole and found > IMPROBABLE else "pixels", False


def _comes_near_1000(layout: BoxLayout, numbers: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether boxes that fit the range 0-1000 come near 1000, and are not those of images
    that were all larger by one factor."""
    far = ends(layout.order, numbers)
    factor = float((far / sizes).max())
    frames = np.log(1e6 / (factor**2 * sizes.prod(axis=1))).mean()
    return bool(far.max() >= REACHED and frames <= SMALLER_FRAME)


def _improbability(
    reader: BoxReader, numbers: np.ndarray, sizes: np.ndarray, misfits: int
) -> float:
    """Return the negative logarithm of the probability that no box of a larger image reaches beyond
    1000, and that ``misfits`` boxes reach out of theirs, in a file with boxes in pixels. 0 if the
    boxes do not come near to 1000 either, or if there are hardly any larger images: then the
    boxes that reach out of theirs are faults of their rows."""
    order = best_order(numbers, sizes, BoxLayout(reader.layout.order, "0-1000"))
    if ends(order, numbers).max() < REACHED:
        return 0.0
    distinct = {id(box.image): (box.image.width, box.image.height) for box in reader.seen}
    beyond = np.log(np.maximum(list(distinct.values()), 1000) / 1000).sum()
    large = FAR_ENDS * float(beyond)
    return large + RARE_FAULT * misfits if large > IMPROBABLE / 2 else 0.0


def _of_larger_images(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if many boxes in pixels reach out of their images to the right or below, but
    have an area and begin inside: the images may have been made smaller after labelling."""
    read = reader.layout
    if read.coordinates != "pixels":
        return None
    fits = boxes_that_fit(read, numbers, sizes) | fit_as_stored(read, reader.seen, numbers)
    misfits, far = int((~fits).sum()), ends(read.order, numbers)
    factor = float((far / sizes).max())
    if misfits < max(FEWEST, SURE * len(fits)) or factor < ENLARGED:
        return None
    if boxes_that_fit(read, numbers, np.ceil(sizes * factor)).mean() < 1 - MANY:
        return None
    reach, largest = (" x ".join(f"{n:g}" for n in of.max(axis=0)) for of in (far, sizes))
    of_1000 = bool(numbers.max() <= 1000)
    words = reader.looked_at()
    said = of_larger_images(read, misfits, words, reach, largest, factor, of_1000)
    return BoxDoubt(path, read, reader.seen, read, not reader.given, *said, factor=factor)


def _far_below_1000(
    reader: BoxReader, path: str, numbers: np.ndarray, sizes: np.ndarray
) -> BoxDoubt | None:
    """Return a doubt if boxes that the user says to be in the range 0-1000 do not come near 1000,
    although there are enough of them."""
    read = reader.layout
    reach = float(ends(read.order, numbers).max())
    if read.coordinates != "0-1000" or len(numbers) < ENOUGH or not 1 < reach < REACHED:
        return None
    pixels = BoxLayout(read.order)
    fitting = int(boxes_that_fit(pixels, numbers, sizes).sum())
    said = of_far_below_1000(read, reach, fitting, reader.looked_at())
    return BoxDoubt(path, read, reader.seen, pixels, False, *said)
