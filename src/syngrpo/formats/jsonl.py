"""The format ``jsonl``, our own: one sample a line, with the images in files. See docs/data.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from syngrpo.formats.base import Problems, ReadRequest, WritableFormat
from syngrpo.formats.image_files import ImageWriter
from syngrpo.formats.row_files import beginning, data_rows
from syngrpo.formats.sample_rows import row_to_sample, sample_to_row
from syngrpo.sample import InputError, Sample

FILE_NAME = "data.jsonl"


class Jsonl(WritableFormat):
    """Reads and writes our JSONL. Each row names its task. Image paths are relative to the folder
    of the file, or to the image folders that the user names; the header of every image is
    checked."""

    name = "jsonl"

    def recognises(self, path: Path) -> bool:
        """Return True for a file that is named .jsonl, is empty, or begins as a JSON object or list
        does. Defects of its lines are reported when it is read."""
        if not path.is_file() or path.suffix in (".yaml", ".yml"):
            return False
        return path.suffix == ".jsonl" or beginning(path)[:1] in (b"", b"{", b"[")

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        images = request.image_folder(path.parent)
        samples: list[Sample] = []
        for place, row in data_rows(path, problems):
            request.boxes.place = place
            try:
                sample = row_to_sample(row, images, request.boxes)
            except InputError as error:
                problems.add(place, error)
                continue
            if problems.claim(sample.id, place):
                samples.append(sample)
            if len(samples) == request.limit:
                break
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
