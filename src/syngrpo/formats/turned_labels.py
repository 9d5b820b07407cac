"""Tells which boxes are for images as they are stored, before their EXIF orientation turns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syngrpo.formats.box_doubt import keys_to_set
from syngrpo.formats.box_fit import boxes_that_fit
from syngrpo.formats.box_layout import BoxLayout, BoxReader, SeenBox
from syngrpo.picture_decoding import QUARTER_TURNS
from syngrpo.serving.wording import count

STORED = {"exif": "stored"}


@dataclass(frozen=True)
class TurnedLabels:
    """Boxes on images that their EXIF orientation turns, of which nothing shows that they are for
    the turned images, or some are not. ``only_stored`` fit only the stored image; ``others``: boxes
    on images that are not turned; ``only_turned``: how many fit only the turned image."""

    path: str
    read: BoxLayout
    seen: Sequence[SeenBox]
    only_stored: Sequence[SeenBox]
    others: Sequence[SeenBox]
    only_turned: int

    @property
    def advice(self) -> str:
        """What to do."""
        if self.only_turned:
            return (
                "write all labels for images as viewers show them, or make two files, and set "
                f"{keys_to_set(STORED)} for that with labels of stored images"
            )
        return f"set {keys_to_set(STORED)}"

    def message(self) -> str:
        """Say what was found and what to do, on one line."""
        stored = len(self.only_stored)
        also = f", and {self.only_turned} only the images as turned" if self.only_turned else ""
        return (
            f"{self.path}: {stored} of {count(len(self.seen), 'box')} on images with an EXIF "
            f"orientation {'fits' if stored == 1 else 'fit'} only the images as they are stored, "
            f"before it turns them{also}; {self.advice}"
        )


def turned_labels(reader: BoxReader, path: str) -> TurnedLabels | None:
    """Return the boxes on turned images; None when there are none, or when some fit only the turned
    images and all others fit both views."""
    every = reader.seen
    seen = [box for box in every if box.image.orientation != 1]
    if not seen:
        return None
    numbers = np.array([box.numbers for box in seen], dtype=np.float64)
    sizes = np.array([(box.image.width, box.image.height) for box in seen])
    quarter = np.array([box.image.orientation in QUARTER_TURNS for box in seen])
    stored = np.where(quarter[:, None], sizes[:, ::-1], sizes)
    as_turned, as_stored = (
        boxes_that_fit(reader.layout, numbers, sizes),
        boxes_that_fit(reader.layout, numbers, stored),
    )
    only_turned = int((as_turned & ~as_stored).sum())
    only_stored = [box for box, one in zip(seen, as_stored & ~as_turned, strict=True) if one]
    if not only_stored and only_turned:
        return None
    others = [box for box in every if box.image.orientation == 1]
    return TurnedLabels(path, reader.layout, seen, only_stored, others, only_turned)
