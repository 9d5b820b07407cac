"""What is wrong with the data, gathered over all files and told in one report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from syngrpo.sample import InputError
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import shown

SHOWN_PROBLEMS = 20

OnBadRow = Literal["error", "skip"]

logger = logging.getLogger(__name__)


class Problems:
    """Every defect found while reading, with its place; what was left out on purpose; and who uses
    which sample id.

    A place is what a person looks up: ``train.jsonl:12``, ``instances.json: annotation 37``.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.notes: list[str] = []
        self._places: dict[str, str] = {}

    def add(self, place: str, message: str) -> None:
        """A defect: this row is not used."""
        self.found.append((place, message))

    def refuse(self, message: str) -> None:
        """A file or data set that is of no use at all: never skipped."""
        self.refused.append(message)

    def note(self, message: str) -> None:
        """Something to know that is no defect, such as crowd annotations left out."""
        self.notes.append(message)

    def claim(self, identifier: str, place: str) -> bool:
        """Registers a sample's id; when it is taken already, that is a defect, and False."""
        taken = self._places.setdefault(identifier, place)
        if taken is not place:
            self.add(place, f"id {shown(identifier)} is taken by {taken}; ids must be unique")
        return taken is place

    def place_of(self, identifier: str) -> str:
        """Where the sample with this id, once claimed, comes from."""
        return self._places[identifier]

    def forget_ids(self) -> None:
        """What is read from now on may use the ids again: another, unrelated set of samples."""
        self._places = {}

    def lines(self) -> list[str]:
        """Everything that is wrong: refused files, then ``place: message`` of every bad row."""
        return [*self.refused, *(f"{place}: {message}" for place, message in self.found)]

    def settle(self, on_bad_row: OnBadRow) -> None:
        """Tells what was found: the notes, and the first 20 defects and their number in one line.

        Raises InputError, or, with ``"skip"`` and unless a file was refused, logs a warning.
        """
        for message in self.notes:
            logger.warning("%s", message)
        lines = self.lines()
        if not lines:
            return
        if on_bad_row == "error" or self.refused:
            raise InputError(first_of(lines))
        logger.warning("skipped %s: %s", count(len(lines), "bad row"), first_of(lines))


def first_of(lines: Sequence[str]) -> str:
    """The first 20 lines joined to one, and how many more there are."""
    more = len(lines) - SHOWN_PROBLEMS
    rest = f"; and {count(more, 'more bad row')}" if more > 0 else ""
    return "; ".join(lines[:SHOWN_PROBLEMS]) + rest
