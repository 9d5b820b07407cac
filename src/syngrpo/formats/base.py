"""The base classes of data formats, and ``Problems``, to which they report defects of the data.

A format that reads is a subclass of ``Format``; one that also writes, of ``WritableFormat``. A
defect of a row is reported to ``Problems``, which collects the defects of all files of a run, so
that the user sees them in one report.
"""

from __future__ import annotations

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from syngrpo.formats.box_doubt import BoxDoubt
from syngrpo.formats.box_layout import BoxOrder, BoxReader, Coordinates
from syngrpo.formats.defects import Cause, Defect, TakenId, file_of, ids_taken, told
from syngrpo.formats.image_files import ImageFolder
from syngrpo.formats.missing_images import MissingImage, MissingImages
from syngrpo.formats.turned_labels import TurnedLabels
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import count
from syngrpo.tasks import Task, tasks_that_ask
from syngrpo.tasks.base import AsksFor

SHOWN_PROBLEMS = 20
"""Largest number of defects that a message lists."""

OnBadRow = Literal["error", "skip"]

Stage = Literal["file", "columns", "images", "end"]
"""The place of a refusal among the lines: what is wrong with files comes first, then columns, then
images; "end": what follows from the defects of rows."""

logger = logging.getLogger(__name__)


class Problems:
    """Collects every defect that is found while reading, notes about data that was left out on
    purpose, and the sample ids that are in use.

    A place says where a user finds the row: ``train.jsonl:12``, ``instances.json: annotation 37``.
    """

    def __init__(self) -> None:
        self.found: list[Defect] = []
        self.causes: list[Cause] = []
        self.notes: list[str] = []
        self.doubts: list[BoxDoubt] = []
        self.turned: list[TurnedLabels] = []
        self.missing = MissingImages()
        self.rotated: set[Hashable] = set()
        """The images that their EXIF orientation turns, also those of bad rows."""
        self._refused: dict[Stage, list[str]] = {"file": [], "columns": [], "images": [], "end": []}
        self._places: dict[str, str] = {}
        self._prefixes: dict[str, Path] = {}
        self._twice: dict[tuple[str, str], list[TakenId]] = {}

    def add(self, place: str, defect: str | InputError) -> None:
        """Report a defect of a row. The row is not used. Missing images become one line."""
        if isinstance(defect, MissingImage):
            self.missing.add(defect, place)
        else:
            self.found.append(Defect.of(place, defect))

    def bad_rows(self) -> int:
        """Return the number of defects of rows that were reported."""
        twice = sum(map(len, self._twice.values()))
        of_causes = sum(len(cause.rows) for cause in self.causes)
        return len(self.found) + of_causes + self.missing.rows + twice

    def refuse(self, message: str, stage: Stage = "file") -> None:
        """Report a file or data set that cannot be used at all. This is an error even where bad
        rows are skipped."""
        self._refused[stage].append(message)

    @property
    def refused(self) -> bool:
        """Whether a file or data set cannot be used at all."""
        return any(self._refused.values()) or any(cause.refuses for cause in self.causes)

    def note(self, message: str) -> None:
        """Report something that is not a defect, such as crowd annotations that were left out."""
        self.notes.append(message)

    def doubt(self, doubt: BoxDoubt, since: int) -> None:
        """Report boxes that look as if they were written in another way than they are read. That
        is an error if they cannot be meant as they are read, otherwise a note.

        ``since``: the number of defects in ``found`` before the file was read. Those of its boxes
        follow from the error, and hints in them would contradict it.
        """
        self.doubts.append(doubt)
        own = self.found[since:]
        if doubt.sure:
            rows = [defect for defect in own if defect.about == "box"]
            self.causes.append(Cause(doubt.message(), rows, refuses=True))
            self.found[since:] = [defect for defect in own if defect.about != "box"]
        else:
            self.note(doubt.message())
            self.found[since:] = [defect.without_hint() for defect in own]

    def turn(self, labels: TurnedLabels, since: int) -> None:
        """Report boxes that may be for images as they are stored. The defects that follow from it,
        among those of the file (``since`` as in ``doubt``), become one error."""
        self.turned.append(labels)
        if not labels.only_stored:
            return
        own = self.found[since:]
        rows = [defect for defect in own if defect.fits_stored_view]
        if rows:
            self.causes.append(Cause(labels.message(), rows, refuses=False))
            self.found[since:] = [defect for defect in own if not defect.fits_stored_view]
        else:
            self.note(labels.message())

    def claim(self, identifier: str, place: str) -> bool:
        """Register a sample's id. If it is already taken, report a defect and return False."""
        taken = self._places.setdefault(identifier, place)
        if taken is place:
            return True
        files = (file_of(place), file_of(taken))
        self._twice.setdefault(files, []).append(TakenId(place, identifier, taken))
        return False

    def prefix(self, path: Path, folder: str = "") -> str:
        """Return the beginning of the ids of a file's samples, for a format that makes ids up: the
        file's name without ending, after ``folder`` if that is given, and after the name of its
        folder if another file has the same name."""
        path = path.resolve()
        short = "-".join(filter(None, [folder, path.stem]))
        names = [short, f"{path.parent.name}-{short}"]
        more = (f"{names[1]}-{number}" for number in itertools.count(2))
        for name in itertools.chain(names, more):
            if self._prefixes.setdefault(name, path) == path:
                return name
        raise AssertionError

    def place_of(self, identifier: str) -> str:
        """Return the place of the sample that claimed this id."""
        return self._places[identifier]

    def forget_ids(self) -> None:
        """Forget the registered ids, so that a further data set may use them again."""
        self._places = {}
        self._prefixes = {}

    def lines(self) -> list[str]:
        """Return all problems, one line for each cause: files and columns, then images, boxes of
        whole files, ids, and rows. Line breaks in a name of the data become spaces."""
        images = [defect for defect in self.found if defect.about == "image"]
        rows = [defect for defect in self.found if defect.about != "image"]
        many, few = [], []
        for taken in self._twice.values():
            if line := ids_taken(taken):
                many.append(line)
            else:
                few += [one.defect() for one in taken]
        lines = [
            *(*self._refused["file"], *self._refused["columns"]),
            *(*self.missing.lines(), *self._refused["images"], *told(images)),
            *(cause.told() for cause in self.causes),
            *(*many, *told([*few, *rows]), *self._refused["end"]),
        ]
        return list(dict.fromkeys(" ".join(text.splitlines()) for text in lines))

    def settle(self, on_bad_row: OnBadRow) -> None:
        """Log the notes. If there are defects, raise InputError with the first 20 and their number
        in one line; with "skip", unless a file was refused, log that line as a warning instead."""
        for message in dict.fromkeys(self.notes):
            logger.warning("%s", message)
        lines = self.lines()
        if not lines:
            return
        if on_bad_row == "error" or self.refused:
            raise InputError(first_of(lines))
        logger.warning("skipped %s: %s", count(self.bad_rows(), "bad row"), first_of(lines))


def in_usual_order(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the parts of a data set: those for training, validation and test first,
    as far as the names say it."""
    usual = ("train", "val", "dev", "test")
    begun = {part: [part.lower().startswith(name) for name in usual] for part in parts}
    return tuple(sorted(begun, key=lambda part: (begun[part] + [True]).index(True)))


def first_of(lines: Sequence[str]) -> str:
    """Return one line with the first 20 lines, numbered if there are several, and the number of the
    others."""
    if len(lines) == 1:
        return lines[0]
    more = len(lines) - SHOWN_PROBLEMS
    rest = f"; and {more} more, see syngrpo data check" if more > 0 else ""
    shown = (f"({number}) {line}" for number, line in enumerate(lines[:SHOWN_PROBLEMS], start=1))
    return f"the data have {count(len(lines), 'error')}: {'; '.join(shown)}{rest}"


@dataclass(frozen=True)
class NoOptions:
    """The options of a format that has no keys of its own."""


@dataclass(frozen=True)
class ReadRequest:
    """How one file or folder is read.

    ``images``: folders in which images are looked up; empty for the format's usual ones.
    ``task``: the task that the user named; None if the format or its rows name it.
    ``limit``: largest number of samples to read; None for all.
    ``options``: an instance of the format's ``options``.
    ``boxes``: converts a box of the data to corners in pixels, by the keys ``boxes`` and
    ``coordinates`` of the source. A format calls ``boxes.corners`` for every box that it reads.
    ``as_stored``: images are used without being turned by their EXIF orientation, as
    ``ImageFolder`` and ``EncodedImage`` do when they are told so.
    ``folders``: what ``image_folder`` has returned.
    """

    images: tuple[Path, ...] = ()
    task: Task | None = None
    limit: int | None = None
    options: Any = NoOptions()
    boxes: BoxReader = field(default_factory=BoxReader)
    as_stored: bool = False
    folders: list[ImageFolder] = field(default_factory=list)

    def image_folder(self, *usual: Path) -> ImageFolder:
        """Return what opens the images: in the folders that the user named, otherwise in the usual
        ones of the format."""
        folder = ImageFolder(*(self.images or usual), as_stored=self.as_stored)
        self.folders.append(folder)
        return folder


class Format(ABC):
    """Reads data sets of one format.

    ``name``: the short name, as in ``format: coco``.
    ``options``: a frozen dataclass of the keys that a data source of this format may have in
    addition to the common ones (path, images, task, …), declared with ``syngrpo.options.option``.
    ``reads_files``: False if the format generates its samples; then a source has no path.
    ``takes_hub_names``: whether a path that does not exist may be the name of a data set on a hub.
    ``default_task``: the task of all samples if the user names none; None if each row has its own.
    ``box_order``, ``box_coordinates``: the order of the numbers of a box, and what they count, if
    the user says nothing about it.
    """

    name: str
    options: type = NoOptions
    reads_files: bool = True
    takes_hub_names: bool = False
    default_task: str | None = None
    box_order: BoxOrder = "xyxy"
    box_coordinates: Coordinates = "pixels"

    def recognises(self, path: Path) -> bool:
        """Return whether an existing file or folder has this format, judged by its name and first
        bytes."""
        return False

    def parts(self, path: Path, problems: Problems) -> tuple[str, ...]:
        """Return the names of the parts of an existing data set that can only be read one by one,
        each as ``split``; () if it can be read as a whole. Parts that are named and do not exist
        are noted."""
        return ()

    @abstractmethod
    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        """Read one file or folder (None when ``reads_files`` is False).

        Report a row with a defect to ``problems.add`` and leave it out; register every id with
        ``problems.claim``. Raise InputError only when nothing can be read at all.
        """

    def task_for(self, task: Task, asked: Sequence[AsksFor], where: str, reason: str) -> Task:
        """Return the task if the format can ask its kind of question (``asked`` lists the kinds).
        Otherwise raise InputError with ``where``, ``reason`` and the tasks that can be read."""
        if task.asks_for in asked:
            return task
        known = " or ".join(tasks_that_ask(asked))
        raise InputError(
            f"{where}: {reason}, so it cannot be read as task {task.name!r}; use task {known}"
        )


class WritableFormat(Format):
    """Reads and writes data sets of one format."""

    @abstractmethod
    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write samples into an empty directory.

        Returns sample id → path of its image relative to the directory; empty if the images are
        inside the data files. Raises InputError for a sample that the format cannot represent.
        """
