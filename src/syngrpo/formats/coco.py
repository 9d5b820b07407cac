"""The format ``coco``: reads COCO instances JSON as questions, and writes samples as such a file.

The questions ask for classes (those of an image and some absent ones), or for one object (of a
class that an image holds once). The fields have the meaning of the COCO data format
(cocodataset.org/#format-data): ``bbox`` is x, y, width, height in pixels of the image as it is
stored. LVIS's ``neg_category_ids`` and ``not_exhaustive_category_ids`` are used if an image has
them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.boxes import area, iou, mask_runs
from syngrpo.formats.base import Problems, ReadRequest, WritableFormat, in_usual_order
from syngrpo.formats.box_questions import BOXES, boxes_of_answer, with_absent
from syngrpo.formats.coco_file import (
    ABSENT,
    Annotation,
    CocoFile,
    CocoImage,
    Key,
    annotation_box,
    read_coco_file,
)
from syngrpo.formats.coco_folders import coco_file, coco_files, image_folders
from syngrpo.formats.image_files import ImageWriter, require_size
from syngrpo.formats.masks import segmentation_mask
from syngrpo.formats.row_files import beginning, first_row
from syngrpo.formats.sample_rows import CARRIED, carried_row, carried_sample, checked_text
from syngrpo.options import option
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import default_task, get_task
from syngrpo.tasks.asking import task_errors
from syngrpo.tasks.labels import asked_classes, class_key, is_finite_number, shown

FILE_NAME = "instances.json"
DEFAULT_TASK = default_task("classes")


@dataclass(frozen=True)
class CocoOptions:
    """The keys of a COCO source."""

    split: str | None = option(
        None, "name of the part of a folder: train2017, valid, …; null if there is only one"
    )
    negatives: int = option(2, "number of absent classes that are asked for in an image", ge=0)
    seed: int = option(0, "seed for the choice of these classes and the order of all classes", ge=0)


class Coco(WritableFormat):
    """Reads and writes COCO instances.

    For a task that asks for classes (the default), an image gives one sample, whose question names
    the classes of the image and ``negatives`` absent ones. For a task that asks for an object, it
    gives one sample for each phrase of its annotations; if they have none, one for each class that
    it holds exactly once, with the question "the CLASS".

    A path is a file, or a folder with the files of one or several splits.

    Crowd annotations are not ground truth: their class is neither asked for in that image nor taken
    as absent. An image with a bad annotation gives no sample. Images are looked up in the folders
    that the user names; without any, in those that ``image_folders`` finds.
    """

    name = "coco"
    options = CocoOptions
    default_task = DEFAULT_TASK
    box_order = "xywh"

    def recognises(self, path: Path) -> bool:
        """Return True for a file that is named .json and begins as one JSON object does, unless
        that is a row, and for a folder with such files where COCO or Roboflow have them."""
        if path.is_dir():
            return bool(coco_files(path))
        if not path.is_file() or path.suffix.lower() != ".json" or beginning(path)[:1] != b"{":
            return False
        row = first_row(path)
        return row is None or ("images" in row and "annotations" in row)

    def parts(self, path: Path, problems: Problems) -> tuple[str, ...]:
        files = coco_files(path) if path.is_dir() else {}
        return in_usual_order(files) if len(files) > 1 else ()

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        file = coco_file(path, request.options.split)
        reader = _Reader(self, file, request, problems)
        samples: list[Sample] = []
        for picture in reader.file.pictures.values():
            if request.limit is not None and len(samples) >= request.limit:
                break
            samples += reader.samples(picture)
        reader.tell()
        return samples

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write ``instances.json`` and ``images/``.

        Every image and every object on it is written once, however many samples ask about it. An
        annotation that answers phrases lists them in ``phrases``. Without a mask its
        ``segmentation`` is empty. Raises InputError for an answer without boxes.
        """
        images = ImageWriter(directory)
        content = _Content()
        for sample in samples:
            boxes = [mark.box for mark in boxes_of_answer(sample, "COCO's")]
            content.add(sample, boxes, images.add(sample))
        text = json.dumps(content.as_json(), ensure_ascii=False, allow_nan=False)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")
        return images.names


class _Reader:
    """Reads the images of one file and counts what it leaves out."""

    def __init__(self, coco: Coco, path: Path, request: ReadRequest, problems: Problems) -> None:
        self.path, self.problems = path, problems
        self.prefix = problems.prefix(path)
        self.options: CocoOptions = request.options
        self.wanted, self.boxes = request.task, request.boxes
        task = request.task or get_task(DEFAULT_TASK)
        self.task = coco.task_for(task, BOXES, str(path), "COCO instances hold no questions")
        self.file: CocoFile = read_coco_file(path, problems)
        self.ranks = {category: rank for rank, category in enumerate(self.file.categories)}
        names = [picture.file_name for picture in self.file.pictures.values()]
        folders = () if request.images else image_folders(path, names)
        self.images = request.image_folder(*folders)
        self.left_out: Counter[str] = Counter()

    def samples(self, picture: CocoImage) -> Iterator[Sample]:
        """Yield the good samples of an image."""
        place = f"{self.path}: image {shown(picture.id)}"
        try:
            image = self.images.open(checked_text(picture.file_name, "file_name"))
            _check_size(picture, image)
            carried = self._carried(picture)
            if carried:
                found = [carried_sample(row, picture.file_name, self.images) for row in carried]
                yield from (s for s in found if self.problems.claim(s.id, place))
                return
        except InputError as error:
            self.problems.add(place, error)
            return
        objects = self._objects(picture, image)
        if objects is None:
            return
        make = self._of_object if self.task.asks_for == "object" else self._of_classes
        try:
            for sample in make(picture, image, objects):
                if self.problems.claim(sample.id, place):
                    yield sample
        except InputError as error:
            self.problems.add(place, error)

    def tell(self) -> None:
        """Note how much was left out on purpose."""
        for what, count in self.left_out.items():
            self.problems.note(f"{self.path}: {what}: {count}")

    def _carried(self, picture: CocoImage) -> list[object]:
        rows = picture.extra.get(CARRIED)
        if rows is None:
            return []
        if not isinstance(rows, list):
            raise InputError(f"{CARRIED} is {shown(rows)}, not a list of samples; remove that key")
        if self.wanted is None:
            return rows
        wanted = self.wanted.name
        return [row for row in rows if isinstance(row, dict) and row.get("task") == wanted]

    def _objects(self, picture: CocoImage, image: EncodedImage) -> list[LabelledObject] | None:
        """Return the annotations that are not crowds; None when one of them is not valid."""
        objects: list[LabelledObject] = []
        good = True
        for annotation in picture.annotations:
            if annotation.crowd:
                self.left_out["crowd annotations, which are no ground truth, left out"] += 1
                continue
            if self._is_empty(annotation):
                self.left_out["annotations without area, left out as crowds are"] += 1
                continue
            place = f"{self.path}: annotation {shown(annotation.id)}"
            self.boxes.place = place
            try:
                objects.append(self._object(annotation, image))
            except InputError as error:
                self.problems.add(place, error)
                good = False
        return objects if good else None

    def _is_empty(self, annotation: Annotation) -> bool:
        """Return whether the box has no width or no height, as a few of COCO's own have."""
        box = annotation.bbox
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite_number, box)):
            return False
        x1, y1, x2, y2 = self.boxes.layout.corners(box, 1, 1)
        return bool(x1 == x2 or y1 == y2)

    def _unsure(self, picture: CocoImage) -> set[Key]:
        """Return the classes of which not every instance of the image has a box."""
        empty = {a.category for a in picture.annotations if self._is_empty(a)}
        return picture.unsure_categories() | empty

    def _object(self, annotation: Annotation, image: EncodedImage) -> LabelledObject:
        label = self.file.categories[annotation.category]
        box = annotation_box(annotation, image, self.boxes, label)
        mask = segmentation_mask(annotation.segmentation, box, image, "segmentation")
        if mask is None and annotation.segmentation:
            self.left_out["segmentations without a pixel, box used instead"] += 1
        return LabelledObject(label, box, mask)

    def _of_classes(
        self, picture: CocoImage, image: EncodedImage, objects: list[LabelledObject]
    ) -> Iterator[Sample]:
        names = self.file.categories
        unsure = self._unsure(picture)
        present = {a.category for a in picture.annotations}
        no_answer = present | unsure | self.file.groups
        listed = picture.absent_categories(names)
        asked = with_absent(
            [names[c] for c in sorted(present - unsure, key=self.ranks.__getitem__)],
            [names[c] for c in listed if c not in no_answer],
            *(self.options.negatives, self.options.seed, picture.id),
        )
        if not asked:
            self.left_out["images without a class to ask for, left out"] += 1
            return
        answer = [{"label": o.label, "box": o.box} for o in objects if o.label in asked]
        yield self._sample(f"{picture.id}", ", ".join(asked), answer, image, objects)

    def _of_object(
        self, picture: CocoImage, image: EncodedImage, objects: list[LabelledObject]
    ) -> Iterator[Sample]:
        counts = Counter(annotation.category for annotation in picture.annotations)
        unsure = self._unsure(picture)
        kept = [a for a in picture.annotations if not a.crowd and not self._is_empty(a)]
        if any(annotation.phrases for annotation in kept):
            for annotation, thing in zip(kept, objects, strict=True):
                for number, phrase in enumerate(annotation.phrases):
                    name = f"{picture.id}-{annotation.id}-{number}"
                    text = checked_text(phrase, "phrase")
                    yield self._sample(name, text, thing.box, image, objects)
            return
        asked = False
        for annotation, thing in zip(kept, objects, strict=True):
            if counts[annotation.category] == 1 and annotation.category not in unsure:
                asked = True
                name = f"{picture.id}-{annotation.id}"
                yield self._sample(name, f"the {thing.label}", thing.box, image, objects)
        if not asked:
            self.left_out["images without a class that they hold once, left out"] += 1

    def _sample(
        self,
        name: str,
        question: str,
        answer: object,
        image: EncodedImage,
        objects: list[LabelledObject],
    ) -> Sample:
        identifier = checked_text(f"{self.prefix}-{name}", "id")
        with task_errors(self.task, "ground_truth", f"sample {identifier}"):
            truth = self.task.ground_truth(answer, image, objects, question)
        return Sample(
            id=identifier,
            task=self.task.name,
            image=image,
            question=question,
            answer=truth,
            objects=tuple(objects),
        )


def _check_size(picture: CocoImage, image: EncodedImage) -> None:
    size = (picture.width, picture.height)
    if None not in size:
        require_size(size, image)


class _Content:
    """Collects the content of the file, sample by sample."""

    def __init__(self) -> None:
        self._images: dict[str, dict[str, Any]] = {}
        self._annotations: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._categories: dict[str, int] = {}

    def add(self, sample: Sample, answer: list[Box | None], file_name: str) -> None:
        """Add a sample whose answer is these boxes, and whose image has this name."""
        image = self._image(sample, file_name)
        image[CARRIED].append(carried_row(sample))
        for thing in sample.objects:
            self._annotation(image["id"], thing)
        if get_task(sample.task).asks_for == "object" and answer[0] is not None:
            box = answer[0]
            asked_for = max(sample.objects, key=lambda thing: iou(thing.box, box))
            phrases = self._annotation(image["id"], asked_for).setdefault("phrases", [])
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
                "area": float(mask_runs(thing.mask)[1::2].sum()) if thing.mask else area(thing.box),
                "iscrowd": 0,
                "segmentation": thing.mask if thing.mask is not None else [],
            }
        return self._annotations[key]

    def _category(self, label: str) -> int:
        return self._categories.setdefault(label, len(self._categories) + 1)
