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
    the turned images, or some are not. ``only_stored``: how many fit only the stored image."""

    path: str
    read: BoxLayout
    seen: Sequence[SeenBox]
    only_stored: int

    @property
    def advice(self) -> str:
        """Which key to set."""
        return f"set {keys_to_set(STORED)}"

    def message(self) -> str:
        """Say what was found and which key to set, on one line."""
        return (
            f"{self.path}: {self.only_stored} of {count(len(self.seen), 'box')} on images with an "
            "EXIF orientation fit only the images as they are stored, before it turns them; "
            f"{self.advice}"
        )


def turned_labels(reader: BoxReader, path: str) -> TurnedLabels | None:
    """Return the boxes on turned images; None when there are none, or when some fit only the turned
    images and all others fit both views."""
    seen = [box for box in reader.seen if box.image.orientation != 1]
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
    only_stored = int((as_stored & ~as_turned).sum())
    if not only_stored and (as_turned & ~as_stored).any():
        return None
    return TurnedLabels(path, reader.layout, seen, only_stored)
