"""Defects of rows, and the lines that tell them. What has one cause is one line: equal defects,
many of one kind, and those that follow from something that is wrong with the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from syngrpo.sample import ImageError, InputError
from syngrpo.serving.wording import count
from syngrpo.tasks.labels import BoxError, shown

NAMED = 5
"""Largest number of different defects of one kind that have a line each, and number of rows that a
line names."""

About = Literal["image", "box", "row"]

FILE = re.compile(r".*?(?=:\d+$|\[\d+\]$|: |$)", re.DOTALL)
"""Matches the file at the beginning of a place."""
_PART = re.compile(r": (?P<noun>[a-z]+?)s?(?: |(?=\[))(?P<name>.*)", re.DOTALL)
"""Matches what follows the file: ": annotation 37", ": images[3]"."""

_IMAGE = re.compile(r"\bimage (\S+)")
_VALUES = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^]]*\]|\{[^}]*\}|\S*[/\\]\S*|\S*\d\S*""", re.DOTALL
)
"""Matches what differs between messages of one kind: texts, lists, paths, numbers."""
_EXIF = "exif: stored"


class ColumnsError(InputError):
    """A table lacks columns that are needed."""


class Defect(NamedTuple):
    """What is wrong with a row. ``place`` says where the row is: ``train.jsonl:12``,
    ``instances.json: annotation 37``. ``hint``: the end of the message that says how the row may be
    meant."""

    place: str
    message: str
    about: About = "row"
    hint: str = ""

    @classmethod
    def of(cls, place: str, defect: str | InputError) -> Defect:
        """Return the defect that an error or a text describes."""
        about: About = "row"
        if isinstance(defect, BoxError):
            about = "box"
        elif isinstance(defect, ImageError):
            about = "image"
        return cls(place, str(defect), about, getattr(defect, "hint", ""))

    @property
    def fits_stored_view(self) -> bool:
        """Whether the message says that the labels fit the image before it is turned."""
        return _EXIF in self.message

    def without_hint(self) -> Defect:
        """Return the defect without its hint, which something about the whole file contradicts."""
        return self._replace(message=self.message.removesuffix(self.hint), hint="")


class Cause(NamedTuple):
    """Something that is wrong with a whole file, and the defects of rows that follow from it.
    ``refuses``: whether the file cannot be used even where bad rows are skipped."""

    message: str
    rows: Sequence[Defect]
    refuses: bool

    def told(self) -> str:
        """Return one line."""
        if not self.rows:
            return self.message
        places = [row.place for row in self.rows]
        return f"{self.message}; so {_rows_at(places, named_file=False)} cannot be used"


def told(found: Sequence[Defect]) -> Iterator[str]:
    """Yield lines for defects, in their order. Equal messages are one line, and so are those of
    more than NAMED rows of one kind, which differ only in values, or behind the first semicolon."""
    kinds: dict[tuple[str, bool], list[Defect]] = {}
    for one in found:
        kinds.setdefault(_kind(one), []).append(one)
    for alike in kinds.values():
        by_message: dict[str, list[str]] = {}
        for one in alike:
            by_message.setdefault(one.message, []).append(one.place)
        if len(by_message) > 1 and len(alike) > NAMED:
            yield _summary(alike, list(by_message))
        else:
            for message, places in by_message.items():
                yield f"{_rows_at(list(dict.fromkeys(places)))}: {message}"


class TakenId(NamedTuple):
    """A row whose id is taken by the row at ``other``."""

    place: str
    name: str
    other: str

    def defect(self) -> Defect:
        """Return the defect of the row."""
        message = f"id {shown(self.name)} is taken by {self.other}; ids must be unique"
        return Defect(self.place, message)


def ids_taken(taken: Sequence[TakenId]) -> str | None:
    """Return the line for the ids of a file that one other file, or the same, has before; None if
    they are so few that each row has its own."""
    file, other = file_of(taken[0].place), file_of(taken[0].other)
    if file != taken[0].place and all(one.place == one.other for one in taken):
        return f"{file} is read twice; name it in one source only"
    if len(taken) <= NAMED:
        return None
    where = "earlier in the file" if file == other else f"in {other} (are they the same data?)"
    subject, first = _rows_at([one.place for one in taken]), taken[0].defect()
    return f"{subject} have ids that are taken {where}; the first: {first.place}: {first.message}"


def _kind(defect: Defect) -> tuple[str, bool]:
    return _VALUES.sub("#", defect.message.partition(";")[0]), defect.fits_stored_view


def _summary(alike: Sequence[Defect], messages: Sequence[str]) -> str:
    """Return one line for the rows with defects of one kind, which have these messages."""
    places = list(dict.fromkeys(defect.place for defect in alike))
    return f"{_rows_at(places, _images_in(messages))}; the first: {messages[0]}"


def _images_in(messages: Sequence[str]) -> list[str]:
    """Return the names of the images if each message is about another one, otherwise []."""
    found = [match[1] for message in messages if (match := _IMAGE.search(message))]
    names = list(dict.fromkeys(PurePath(name.strip("'\"")).name for name in found))
    return names if len(names) == len(messages) else []


def _rows_at(places: Sequence[str], images: Sequence[str] = (), named_file: bool = True) -> str:
    """Return the subject of a line about rows: the place of a single one, otherwise the file, the
    number of rows, and the first of them. ``images``: name these instead."""
    if len(places) == 1:
        return places[0] if named_file else row_at(places[0])
    parts = [_parts(place) for place in places]
    files = {file for file, _, _ in parts}
    nouns = {noun for _, noun, _ in parts}
    names, noun = [name for _, _, name in parts], nouns.pop() if len(nouns) == 1 else "place"
    if len(files) > 1 and noun == "file":  # a file for each image
        folders = {str(Path(place).parent) for place in places}
        names = [Path(place).name for place in places] if len(folders) == 1 else list(places)
        files = folders
    elif len(files) > 1 or noun == "place":
        names = list(places)
    start = f"{next(iter(files))}: " if len(files) == 1 and named_file else ""
    listed = f"images {_first(images)}" if images else _first(names)
    return f"{start}{count(len(places), noun)} ({listed})"


def _parts(place: str) -> tuple[str, str, str]:
    """Return the file of a place, what it names there (a row, an image, the file itself), and its
    name or number."""
    file = file_of(place)
    rest = place[len(file) :]
    if not rest:
        return file, "file" if Path(file).suffix else "place", file
    if rest.startswith("["):
        return file, "item", rest
    match = _PART.fullmatch(rest)
    return (file, match["noun"], match["name"]) if match else (file, "row", rest.strip(": "))


def row_at(place: str) -> str:
    """Return a place without its file: "row 12", "annotation 37"; the name of a file that holds one
    image; "" for no place."""
    file, noun, name = _parts(place)
    if noun in ("file", "place"):
        return Path(file).name
    return f"{noun} {name}"


def file_of(place: str) -> str:
    """Return the file of a place."""
    return FILE.match(place)[0]  # type: ignore[index]


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
