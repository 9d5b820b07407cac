"""The format ``chat``: rows of questions and answers as other trainers have them.

It reads ms-swift's and LLaMA-Factory's ``messages``, and the ``problem`` and ``solution`` of R1-V,
Visual-RFT and EasyR1, as JSONL or as one JSON list. ``vlm_r1`` is the same for VLM-R1's rows, and
writes such, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Format, Problems, ReadRequest
from syngrpo.formats.box_questions import BOXES, note_renamed
from syngrpo.formats.chat_rows import IMAGES, chat_row, program_of
from syngrpo.formats.chat_samples import our_rows
from syngrpo.formats.image_files import ImageFolder
from syngrpo.formats.row_files import data_rows, first_row
from syngrpo.formats.sample_rows import CARRIED, checked_text, row_to_sample
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import Task
from syngrpo.tasks.labels import shown


class Chat(Format):
    """Reads rows with a question, an answer and an image.

    Unless the user names a task, the answer decides whether a row asks for one object (one box) or
    for classes (labelled boxes, ``None``, or several boxes). A number as id becomes
    ``FILE-number``, because such ids count the rows of a file. Other keys of a row become columns.
    """

    name = "chat"
    keys: tuple[str, ...] = ("messages", "problem", "query")

    def recognises(self, path: Path) -> bool:
        row = first_row(path) if path.is_file() else None
        return row is not None and program_of(row) in self.keys

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        self.check_task(request.task, path)
        images = request.image_folder(path.parent)
        samples: list[Sample] = []
        told: Counter[str] = Counter()
        prefix = problems.prefix(path)
        for place, row in data_rows(path, problems):
            request.boxes.place = place
            try:
                found = list(
                    self.samples(row, row_identifier(row, place, prefix), request, images, told)
                )
            except InputError as error:
                problems.add(place, error)
                continue
            samples += [sample for sample in found if problems.claim(sample.id, place)]
            if request.limit is not None and len(samples) >= request.limit:
                break
        unfit = told.pop("", 0)
        if unfit:
            problems.note(
                f"{path}: phrases that fit no object or several, which ask for a class: {unfit}"
            )
        note_renamed(told, str(path), problems)
        return samples

    def samples(
        self,
        row: Mapping[str, Any],
        identifier: Any,
        request: ReadRequest,
        images: ImageFolder,
        told: Counter[str],
    ) -> Iterator[Sample]:
        """Yield the samples of a row. ``told`` counts class names that lose a comma, and under ""
        the phrases that are asked as classes."""
        chat = chat_row(row)
        columns = {key: value for key, value in chat.columns.items() if key != CARRIED}
        if chat.image is None:
            keys = ", ".join(map(shown, row))
            raise InputError(f"the row has no image ({', '.join(IMAGES)}); its keys are {keys}")
        images.open(checked_text(chat.image, "image"))
        rows = list(our_rows(chat, request.task))
        for number, ours in enumerate(rows):
            own = f"{identifier}-{number}" if len(rows) > 1 else identifier
            boxes = request.boxes.in_units(ours.coordinates)
            whole = {"id": own, "image": chat.image, "columns": columns, **ours.values}
            yield row_to_sample(whole, images, boxes)
            told.update(ours.renamed)
            told[""] += ours.unfit

    def check_task(self, task: Task | None, path: Path) -> None:
        """Raise InputError unless rows of this format can be read for the user's task."""
        if task is not None and (task.needs_objects or task.asks_for != "question"):
            reason = f"{self.name} rows label no objects apart from the answer"
            self.task_for(task, BOXES, str(path), reason)


_NUMBER = re.compile(r"(\d+)\]?$")


def row_identifier(row: Mapping[str, Any], place: str, prefix: str) -> Any:
    """Return the id of a row, unchecked. ``place`` ends with its number in the file."""
    value = row.get("id")
    if value is None:
        found = _NUMBER.search(place)
        return f"{prefix}-line-{found[1] if found else place}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{prefix}-{shown(value)}"
    return value
