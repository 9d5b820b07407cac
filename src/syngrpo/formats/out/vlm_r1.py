"""VLM-R1 JSONL: one row a sample, images in a folder beside the file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from syngrpo.formats.carried import CARRIED, carried_row
from syngrpo.formats.out.boxes_only import refuse_without_boxes
from syngrpo.formats.out.images import ImageFiles
from syngrpo.sample import Sample
from syngrpo.tasks.ovd import asked_classes

FILE_NAME = "data.jsonl"

REC_TURN = (
    "Please provide the bounding box coordinate of the region this sentence describes: {phrase}."
)
OVD_TURN = """\
Please carefully check the image and detect the following objects: {classes}. Output the bbox \
coordinates of detected objects in JSON format in <answer></answer>. The bbox coordinate format \
should be:
```json
[{{"bbox_2d": [x1, y1, x2, y2], "label": "object name"}}]
```
If no targets are detected in the image, simply respond with "None"."""
"""The human turns of VLM-R1's published data (arXiv 2504.07615, appendix)."""


def write_vlm_r1(samples: Iterable[Sample], directory: Path) -> dict[str, str]:
    """Writes ``data.jsonl`` and ``images/``; returns sample id → image, relative to the directory.

    Raises InputError for a task whose answer is not made of boxes (isr).
    """
    images = ImageFiles(directory)
    with (directory / FILE_NAME).open("w", encoding="utf-8") as file:
        for sample in samples:
            refuse_without_boxes(sample, "VLM-R1's")
            row = _row(sample, images.add(sample))
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    return images.names


def _row(sample: Sample, image: str) -> dict[str, Any]:
    human, answer = _turns(sample)
    turns = [{"from": "human", "value": "<image>" + human}, {"from": "gpt", "value": answer}]
    carried = json.dumps(carried_row(sample), ensure_ascii=False, allow_nan=False)
    return {"id": sample.id, "image": image, "conversations": turns, CARRIED: carried}


def _turns(sample: Sample) -> tuple[str, str]:
    """Boxes are xyxy in pixels of the original image, as VLM-R1 has them."""
    if sample.task == "rec":
        return REC_TURN.format(phrase=sample.question), json.dumps(sample.answer)
    found = [{"bbox_2d": thing["box"], "label": thing["label"]} for thing in sample.answer]
    answer = f"```json\n{json.dumps(found)}\n```" if found else "None"
    return OVD_TURN.format(classes=list(asked_classes(sample.question))), answer
