"""The format ``phrases-csv``: a table with the columns image, phrase, x1, y1, x2, y2.

Each row is a phrase and the box of the one object that it fits, in pixels of the image. An image is
a path relative to the table.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from syngrpo.formats import Problems, ReadRequest, WritableFormat
from syngrpo.formats.image_files import ImageFolder, ImageWriter
from syngrpo.options import option
from syngrpo.sample import InputError, LabelledObject, Sample
from syngrpo.tasks import Task, get_task

CORNERS = ("x1", "y1", "x2", "y2")
HEAD = ("image", "phrase", *CORNERS)


@dataclass(frozen=True)
class PhrasesCsvOptions:
    """The keys that a source of this format has beside the common ones."""

    delimiter: str = option(",", "the character between two columns")


class PhrasesCsv(WritableFormat):
    """Read for any task that asks for an object: ``pointing``, ``rec``, …"""

    name = "phrases-csv"
    options = PhrasesCsvOptions
    default_task = "pointing"

    def recognises(self, path: Path) -> bool:
        """A file that begins with the names of the columns is of this format."""
        return path.suffix == ".csv" and path.read_bytes().startswith(",".join(HEAD).encode())

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        """Read the rows; report those that cannot be used, each with its place."""
        assert path is not None  # this format reads files
        task = request.task or get_task(self.default_task)
        self.task_for(task, ["object"], str(path), "a row is a phrase and a box")
        images = request.image_folder(path.parent)
        samples: list[Sample] = []
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, delimiter=request.options.delimiter)
            for number, row in enumerate(rows, start=2):
                place = f"{path}:{number}"
                try:
                    sample = _sample(f"{path.stem}-{number}", row, task, images)
                except InputError as error:
                    problems.add(place, str(error))
                    continue
                if problems.claim(sample.id, place):
                    samples.append(sample)
        return samples

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write ``phrases.csv`` and ``images/``; return sample id → path of its image."""
        images = ImageWriter(directory)
        with (directory / "phrases.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(HEAD)
            for sample in samples:
                if get_task(sample.task).asks_for != "object":
                    raise InputError(f"sample {sample.id} is no phrase with a box; use jsonl")
                table.writerow([images.add(sample), sample.question, *sample.answer])
        return images.names


def _sample(identifier: str, row: dict[str, str], task: Task, images: ImageFolder) -> Sample:
    """Check one row. Raises InputError that says what is wrong with it."""
    missing = [key for key in HEAD if not row.get(key)]
    if missing:
        raise InputError(f"the row has no {missing[0]}")
    try:
        box = [float(row[key]) for key in CORNERS]
    except ValueError as error:
        raise InputError(f"the box is not four numbers ({error})") from None
    image, phrase = images.open(row["image"]), row["phrase"]
    thing = LabelledObject(label=phrase, box=(box[0], box[1], box[2], box[3]))
    answer = task.ground_truth(box, image, (thing,), phrase)
    return Sample(identifier, task.name, image, phrase, answer, (thing,))
