"""The format ``vlm-r1``: VLM-R1's JSONL. A row has ``id``, ``image``, and ``conversations`` of a
human and a gpt turn.

The layout is that of om-ai-lab/VLM-R1 (README, "For your own data"; detection rows as in its issue
246): boxes are xyxy in pixels of the original image, an image path is relative to the image folder.

The human turn holds a phrase, or a list of classes, inside an instruction; ``question_texts`` finds
it there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from syngrpo.formats.base import ReadRequest, WritableFormat
from syngrpo.formats.box_questions import boxes_of_answer
from syngrpo.formats.chat import Chat
from syngrpo.formats.chat_rows import chat_row
from syngrpo.formats.image_files import ImageFolder, ImageWriter
from syngrpo.formats.jsonl import FILE_NAME
from syngrpo.formats.sample_rows import CARRIED, carried_row, carried_sample, checked_text
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.labels import asked_classes

PHRASE_TURN = (
    "Please provide the bounding box coordinate of the region this sentence describes: {phrase}."
)
CLASSES_TURN = """\
Please carefully check the image and detect the following objects: {classes}. Output the bbox \
coordinates of detected objects in JSON format in <answer></answer>. The bbox coordinate format \
should be:
```json
[{{"bbox_2d": [x1, y1, x2, y2], "label": "object name"}}]
```
If no targets are detected in the image, simply respond with "None"."""
"""The human turns of VLM-R1's published data (arXiv 2504.07615, appendix)."""


class VlmR1(Chat, WritableFormat):
    """Reads and writes VLM-R1's JSONL. It is read as ``Chat`` reads its rows."""

    name = "vlm-r1"
    keys = ("conversations",)

    def samples(
        self,
        row: Mapping[str, Any],
        identifier: Any,
        request: ReadRequest,
        images: ImageFolder,
        told: Counter[str],
    ) -> Iterator[Sample]:
        if CARRIED in row:
            image = checked_text(chat_row(row).image, "image")
            sample = carried_sample(row[CARRIED], image, images)
            if request.task is None or request.task.name == sample.task:
                yield sample
                return
        yield from super().samples(row, identifier, request, images, told)

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write ``data.jsonl`` and ``images/``. Raises InputError for an answer without boxes."""
        images = ImageWriter(directory)
        with (directory / FILE_NAME).open("w", encoding="utf-8") as file:
            for sample in samples:
                human, answer = _written_turns(sample)
                carried = json.dumps(carried_row(sample), ensure_ascii=False, allow_nan=False)
                row = {
                    "id": sample.id,
                    "image": images.add(sample),
                    "conversations": [
                        {"from": "human", "value": "<image>" + human},
                        {"from": "gpt", "value": answer},
                    ],
                    CARRIED: carried,
                }
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        return images.names


def _written_turns(sample: Sample) -> tuple[str, str]:
    """Return the human and the gpt turn. Boxes are xyxy in pixels of the original image."""
    marks = boxes_of_answer(sample, "VLM-R1's")
    if get_task(sample.task).asks_for == "object":
        return PHRASE_TURN.format(phrase=sample.question), json.dumps(marks[0].box)
    found = [{"bbox_2d": mark.box, "label": mark.label} for mark in marks]
    answer = f"```json\n{json.dumps(found)}\n```" if found else "None"
    return CLASSES_TURN.format(classes=list(asked_classes(sample.question))), answer
