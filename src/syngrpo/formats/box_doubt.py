"""``BoxDoubt``: boxes that are read in one way and look to be meant in another, and the words for
it. ``box_recognition`` and ``box_mixtures`` find them, ``label_sheet`` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syngrpo.formats.box_layout import BoxLayout, SeenBox
from syngrpo.formats.defects import row_at
from syngrpo.serving.wording import count

NAMED = 5
"""Number of boxes that a message names."""


@dataclass(frozen=True)
class BoxDoubt:
    """Boxes that are read in one way and look like another.

    ``seen``: the boxes that look like ``looks_like``; ``others``: if these are not all, boxes that
    look as they are read; ``of``: then the number of all, otherwise 0. ``sure``: whether the boxes
    as they are read cannot be meant. ``says``: what was found and what to do, on one line;
    ``advice``: what to do. ``factor``: the boxes look like those of images larger by this factor.
    """

    path: str
    read: BoxLayout
    seen: Sequence[SeenBox]
    looks_like: BoxLayout
    sure: bool
    says: str
    advice: str
    of: int = 0
    others: Sequence[SeenBox] = ()
    factor: float = 1.0

    def message(self) -> str:
        """Say what the boxes look like and what to do, on one line."""
        return f"{self.path}: {self.says}"

    def meant(self) -> str:
        """Return in words how the boxes look to be meant."""
        if self.factor != 1:
            return f"{self.looks_like.words()} of images {self.factor:.2g} times as large"
        return self.looks_like.words()


def of_another_layout(
    read: BoxLayout, looks_like: BoxLayout, misfits: int, boxes: str, sure: bool, in_pixels: int = 0
) -> tuple[str, str]:
    """Return the words and the advice for a file whose boxes all look like another layout, of which
    ``misfits`` do not fit as they are read. ``boxes``: all boxes in words, such as "60 boxes";
    ``in_pixels``: the number of images whose boxes may be in pixels all the same."""
    keys = {}
    if looks_like.order != read.order:
        keys["boxes"] = str(looks_like.order)
    if looks_like.coordinates != read.coordinates:
        keys["coordinates"] = str(looks_like.coordinates)
    advice = f"set {keys_to_set(keys)}"
    why = "no number is larger than 1000, though images are"
    if looks_like.coordinates == "0-1":
        why = "no number is larger than 1"
    fit = f"{misfits} of {boxes} {_do_not(misfits)} fit" if misfits else why
    as_read = f"boxes: {read.order}, coordinates: {read.coordinates}"
    keep = "" if sure and misfits else f"; if they are right, set {as_read}"
    if looks_like.coordinates != "pixels" and looks_like.order == "xyxy":
        keep += (
            "; these numbers cannot show whether x or y comes first: look at the sheet of data "
            "check"
        )
    if in_pixels:
        keep += (
            f"; but the boxes of {count(in_pixels, 'image')} may be in pixels, so that two scales "
            "are mixed: look at the sheet of data check first"
        )
    says = (
        f"the boxes are read as {read.words()}, and {fit}; they look like {looks_like.words()}; "
        f"{advice}{keep}"
    )
    return says, advice


def of_two_scales(
    read: BoxLayout,
    odd: Sequence[SeenBox],
    boxes: str,
    looks_like: BoxLayout,
    others: str,
    no_chance: bool = True,
) -> tuple[str, str]:
    """Return the words and the advice for a file of which some boxes look to be on another scale
    than ``others``. ``boxes``: all boxes in words; ``no_chance``: False if it may only look so."""
    scale = looks_like.coordinates
    apart = "0-1" if scale == "pixels" else scale
    advice = (
        f"write all boxes of a file on one scale, or make a file of those in the range {apart}, "
        f"with coordinates: {apart}"
    )
    are = "are" if no_chance else "may be"
    says = (
        f"two scales {are} mixed: {len(odd)} of {boxes} look like {looks_like.words()}, the others "
        f"like {others}; boxes are read as {read.words()}; {advice}; these are {names_of(odd)}"
    )
    return says, advice


def of_two_orders(
    read: BoxLayout, odd: Sequence[SeenBox], boxes: str, looks_like: BoxLayout, only_read: int
) -> tuple[str, str]:
    """Return the words and the advice for a file with boxes that fit only as they are read, and
    others that fit only in another order. ``boxes``: all boxes in words."""
    advice = (
        "write all boxes of a file in one way, or make a file of each kind, with boxes: "
        f"{looks_like.order} for one of them"
    )
    says = (
        f"boxes of two kinds are mixed: {len(odd)} of {boxes} fit only as {looks_like.words()}, "
        f"{only_read} only as {read.words()}, as boxes are read; the numbers of the others fit "
        f"both and cannot show which is meant; {advice}; the first kind are {names_of(odd)}"
    )
    return says, advice


def of_larger_images(
    read: BoxLayout, misfits: int, boxes: str, reach: str, images: str, factor: float, of_1000: bool
) -> tuple[str, str]:
    """Return the words and the advice for boxes that reach ``reach`` on images of the size
    ``images``; ``of_1000``: whether they may also be numbers from 0 to 1000; ``boxes``: all boxes
    in words."""
    advice = (
        "name the folder of the images that were labelled (--images), or divide the boxes by the "
        "factor"
    )
    other = (
        f"; or like the range 0-1000, though they do not come near 1000 as such boxes do: set "
        f"{keys_to_set({'coordinates': '0-1000'})} only if you know that they are"
        if of_1000
        else ""
    )
    says = (
        f"the boxes are read as {read.words()}, and {misfits} of {boxes} do not fit: numbers reach "
        f"{reach}, images {images}; they look like boxes of images {factor:.2g} times as large, "
        f"which were made smaller: {advice}{other}"
    )
    return says, advice


def of_far_below_1000(read: BoxLayout, reach: float, fitting: int, boxes: str) -> tuple[str, str]:
    """Return the words and the advice for boxes that are read in the range 0-1000 and do not come
    near 1000. ``fitting`` of them fit as pixels; ``boxes``: all boxes in words."""
    advice = "make sure that the boxes are in the range 0-1000 (look at the sheet of data check)"
    says = (
        f"the boxes are read as {read.words()}, but none of {boxes} reaches beyond {reach:g}, and "
        f"boxes in that range come near 1000; {fitting} of them fit as pixels; {advice}; if they "
        "are in pixels, leave coordinates out"
    )
    return says, advice


def keys_to_set(keys: Mapping[str, str]) -> str:
    """Return keys of a source as a configuration has them, and as options of the command line."""
    written = ", ".join(f"{key}: {value}" for key, value in keys.items())
    options = " ".join(f"--option {key}={value}" for key, value in keys.items())
    return f"{written} ({options})"


def names_of(seen: Sequence[SeenBox]) -> str:
    """Return the first boxes with their rows and images."""
    listed = list(dict.fromkeys(map(_shown, seen)))
    return ", ".join(listed[:NAMED]) + (", …" if len(listed) > NAMED else "")


def _shown(box: SeenBox) -> str:
    numbers = ", ".join(f"{number:.4g}" for number in box.numbers)
    image = box.image.path.name if box.image.path is not None else ""
    where = ", ".join(filter(None, [row_at(box.place), image]))
    return f"[{numbers}]" + (f" ({where})" if where else "")


def _do_not(number: int) -> str:
    return "does not" if number == 1 else "do not"
