"""COCO instances JSON: images, annotations, categories; images in a folder beside the file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from syngrpo.boxes import area, iou
from syngrpo.formats.carried import CARRIED, carried_row
from syngrpo.formats.out.boxes_only import refuse_without_boxes
from syngrpo.formats.out.images import ImageFiles
from syngrpo.sample import LabelledObject, Sample
from syngrpo.tasks.labels import class_key
from syngrpo.tasks.ovd import asked_classes

FILE_NAME = "instances.json"
ABSENT = "neg_category_ids"
"""LVIS's name for the categories that an image is known not to show."""


def write_coco(samples: Iterable[Sample], directory: Path) -> dict[str, str]:
    """Writes ``instances.json`` and ``images/``; returns sample id → image, relative to the
    directory.

    Every picture and every object on it is written once, however many samples ask about it. An
    annotation that is the answer to phrases lists them in ``phrases``. Without a known mask its
    ``segmentation`` is empty. Raises InputError for a task whose answer is not made of boxes.
    """
    images = ImageFiles(directory)
    content = _Content()
    for sample in samples:
        refuse_without_boxes(sample, "COCO's")
        content.add(sample, images.add(sample))
    text = json.dumps(content.as_json(), ensure_ascii=False, allow_nan=False)
    (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")
    return images.names


class _Content:
    """The file as it grows."""

    def __init__(self) -> None:
        self._images: dict[str, dict[str, Any]] = {}
        self._annotations: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._categories: dict[str, int] = {}

    def add(self, sample: Sample, file_name: str) -> None:
        image = self._image(sample, file_name)
        image[CARRIED].append(carried_row(sample))
        for thing in sample.objects:
            self._annotation(image["id"], thing)
        if sample.task == "rec":
            answer = max(sample.objects, key=lambda thing: iou(thing.box, sample.answer))
            phrases = self._annotation(image["id"], answer).setdefault("phrases", [])
            phrases.append(sample.question)
        else:
            shown = {class_key(thing.label) for thing in sample.objects}
            asked = asked_classes(sample.question)
            absent = [self._category(name) for name in asked if class_key(name) not in shown]
            image[ABSENT] = sorted({*image.get(ABSENT, ()), *absent})

    def as_json(self) -> dict[str, Any]:
        categories = [
            {"id": number, "name": name, "supercategory": ""}
            for name, number in self._categories.items()
        ]
        return {
            "info": {"description": "written by Syn-GRPO", "version": "1.0"},
            "licenses": [],
            "images": list(self._images.values()),
            "annotations": list(self._annotations.values()),
            "categories": categories,
        }

    def _image(self, sample: Sample, file_name: str) -> dict[str, Any]:
        return self._images.setdefault(
            file_name,
            {
                "id": len(self._images) + 1,
                "file_name": file_name,
                "width": sample.image.width,
                "height": sample.image.height,
                CARRIED: [],
            },
        )

    def _annotation(self, image: int, thing: LabelledObject) -> dict[str, Any]:
        counts = thing.mask["counts"] if thing.mask is not None else None
        key = (image, thing.label, thing.box, counts)
        if key not in self._annotations:
            x1, y1, x2, y2 = thing.box
            self._annotations[key] = {
                "id": len(self._annotations) + 1,
                "image_id": image,
                "category_id": self._category(thing.label),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(coco_mask.area(thing.mask)) if thing.mask else area(thing.box),
                "iscrowd": 0,
                "segmentation": thing.mask if thing.mask is not None else [],
            }
        return self._annotations[key]

    def _category(self, label: str) -> int:
        return self._categories.setdefault(label, len(self._categories) + 1)
