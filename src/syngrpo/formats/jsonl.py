"""The format ``jsonl``, our own: one sample a line, with the images in files. See docs/data.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from syngrpo.formats.base import Problems, ReadRequest, WritableFormat
from syngrpo.formats.image_files import ImageFolder, ImageWriter
from syngrpo.formats.sample_rows import parse_row, row_to_sample, sample_to_row
from syngrpo.sample import InputError, Sample

FILE_NAME = "data.jsonl"
RECOGNISED_BY = 256
"""Bytes at the beginning of a file that tell whether it is JSONL."""


class Jsonl(WritableFormat):
    """Reads and writes our JSONL. Each row names its task. Image paths are relative to the folder
    of the file, or to the image folders that the user names; the header of every image is
    checked."""

    name = "jsonl"

    def recognises(self, path: Path) -> bool:
        """Return True for a file that is named .jsonl, is empty, or begins as a JSON object does.
        Defects of its lines are reported when it is read."""
        if not path.is_file():
            return False
        if path.suffix == ".jsonl":
            return True
        with path.open("rb") as file:
            return file.read(RECOGNISED_BY).lstrip()[:1] in (b"", b"{")

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        images = ImageFolder(*(request.images or (path.parent,)), as_stored=request.as_stored)
        samples: list[Sample] = []
        for place, line in data_lines(path):
            if len(samples) == request.limit:
                break
            try:
                sample = row_to_sample(parse_row(line), images, request.boxes)
            except InputError as error:
                problems.add(place, error)
                continue
            if problems.claim(sample.id, place):
                samples.append(sample)
        task = request.task
        if task is not None and samples and all(sample.task != task.name for sample in samples):
            problems.note(
                f"{path}: no row has the task {task.name} that is asked for; rows of {self.name} "
                f"name their own, such as {samples[0].task}"
            )
        return samples

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write ``data.jsonl`` and ``images/``."""
        images = ImageWriter(directory)
        with (directory / FILE_NAME).open("w", encoding="utf-8") as file:
            for sample in samples:
                row = sample_to_row(sample, images.add(sample))
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        return images.names


def data_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a file that are not blank, each with its place, ``path:number`` from 1.

    Raises InputError when the file cannot be read.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{name}:{number}", line
    except FileNotFoundError:
        raise InputError(f"data file {path} does not exist; check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
