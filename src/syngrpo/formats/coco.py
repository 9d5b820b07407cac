"""COCO instances JSON → OVD (classes of an image, and absent ones) or REC (unique classes).

Field semantics are those of the COCO data format (cocodataset.org/#format-data): ``bbox`` is x, y,
width, height in pixels of the image as it is stored. LVIS's ``neg_category_ids`` and
``not_exhaustive_category_ids`` are honoured where an image has them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from syngrpo.formats.carried import CARRIED, carried_sample
from syngrpo.formats.coco_file import Annotation, CocoFile, Picture, read_coco_file
from syngrpo.formats.image_folder import ImageFolder
from syngrpo.formats.masks import segmentation_mask
from syngrpo.formats.problems import Problems
from syngrpo.formats.registry import ReadOptions
from syngrpo.formats.rows import checked_text
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.labels import checked_box, shown
from syngrpo.tasks.ovd import DETECTION

TASKS = (*DETECTION, "rec")


def read_coco(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    """The samples of one instances file, a ``registry.Reader``.

    OVD, the default: one sample an image; its question asks for the classes of the image and
    ``options.negatives`` absent ones, in an order drawn from ``options.seed`` and the image's id.
    REC: one sample for each class that an image holds exactly once, the question "the CLASS".

    Crowds are no ground truth: their class is neither asked for in that image nor taken for
    absent. An image with a bad annotation gives no sample. Images lie in ``options.images``, else
    in ``../rooms`` for ``annotations/instances_rooms.json``, else beside the file.
    """
    task = options.task
    if task not in (None, *TASKS):
        raise InputError(
            f"{path}: COCO instances cannot be read as task {task!r}; use one of {', '.join(TASKS)}"
        )
    reader = _Reader(path, read_coco_file(path, problems), options, problems)
    samples: list[Sample] = []
    for picture in reader.file.pictures.values():
        if options.limit is not None and len(samples) >= options.limit:
            break
        samples += reader.samples(picture)
    reader.tell()
    return samples


class _Reader:
    """Goes through the images of one file and counts what it leaves out."""

    def __init__(self, path: Path, file: CocoFile, options: ReadOptions, problems: Problems):
        self.path, self.file, self.options, self.problems = path, file, options, problems
        self.images = ImageFolder(*(options.images or (_image_folder(path),)))
        self.task = get_task(options.task or "ovd")
        self.left_out: Counter[str] = Counter()

    def samples(self, picture: Picture) -> Iterator[Sample]:
        """The good samples of an image."""
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
            self.problems.add(place, str(error))
            return
        objects = self._objects(picture, image)
        if objects is None:
            return
        make = self._expressions if self.task.name == "rec" else self._detection
        try:
            for sample in make(picture, image, objects):
                if self.problems.claim(sample.id, place):
                    yield sample
        except InputError as error:
            self.problems.add(place, str(error))

    def tell(self) -> None:
        """Notes what was left out on purpose, with numbers."""
        for what, count in self.left_out.items():
            self.problems.note(f"{self.path}: {what}: {count}")

    def _carried(self, picture: Picture) -> list[object]:
        rows = picture.extra.get(CARRIED)
        if rows is None:
            return []
        if not isinstance(rows, list):
            raise InputError(f"{CARRIED} is {shown(rows)}, not a list of samples; remove that key")
        wanted = self.options.task
        if wanted is None:
            return rows
        return [row for row in rows if isinstance(row, dict) and row.get("task") == wanted]

    def _objects(self, picture: Picture, image: EncodedImage) -> list[LabelledObject] | None:
        """The annotations that are no crowd; None when one of them is not valid."""
        objects: list[LabelledObject] = []
        good = True
        for annotation in picture.annotations:
            if annotation.crowd:
                self.left_out["crowd annotations, which are no ground truth, left out"] += 1
                continue
            try:
                objects.append(self._object(annotation, image))
            except InputError as error:
                self.problems.add(f"{self.path}: annotation {shown(annotation.id)}", str(error))
                good = False
        return objects if good else None

    def _object(self, annotation: Annotation, image: EncodedImage) -> LabelledObject:
        value = annotation.bbox
        numbers = isinstance(value, list) and all(type(n) in (int, float) for n in value)
        if not numbers or len(value) != 4:
            raise InputError(f"bbox is {shown(value)}, not [x, y, width, height]")
        x, y, width, height = value
        box = checked_box([x, y, x + width, y + height], image, "bbox as x1, y1, x2, y2")
        mask = segmentation_mask(annotation.segmentation, box, image, "segmentation")
        if mask is None and annotation.segmentation:
            self.left_out["segmentations without a pixel, box used instead"] += 1
        return LabelledObject(self.file.categories[annotation.category], box, mask)

    def _detection(
        self, picture: Picture, image: EncodedImage, objects: list[LabelledObject]
    ) -> Iterator[Sample]:
        names = self.file.categories
        unsure = picture.unsure_categories()
        present = {a.category for a in picture.annotations}
        known_absent = picture.absent_categories(names)
        absent = [c for c in known_absent if c not in present and c not in unsure]
        draw = random.Random(f"{self.options.seed} {picture.id}")
        asked = [c for c in names if c in present - unsure]
        asked += draw.sample(absent, min(self.options.negatives, len(absent)))
        if not asked:
            self.left_out["images without a class to ask for, left out"] += 1
            return
        draw.shuffle(asked)
        labels = {names[category] for category in asked}
        answer = [{"label": o.label, "box": o.box} for o in objects if o.label in labels]
        question = ", ".join(names[category] for category in asked)
        yield self._sample(f"{picture.id}", question, answer, image, objects)

    def _expressions(
        self, picture: Picture, image: EncodedImage, objects: list[LabelledObject]
    ) -> Iterator[Sample]:
        counts = Counter(annotation.category for annotation in picture.annotations)
        unsure = picture.unsure_categories()
        kept = [annotation for annotation in picture.annotations if not annotation.crowd]
        for annotation, thing in zip(kept, objects, strict=True):
            if counts[annotation.category] == 1 and annotation.category not in unsure:
                name = f"{picture.id}-{annotation.id}"
                yield self._sample(name, f"the {thing.label}", thing.box, image, objects)

    def _sample(
        self,
        name: str,
        question: str,
        answer: object,
        image: EncodedImage,
        objects: list[LabelledObject],
    ) -> Sample:
        return Sample(
            id=checked_text(f"{self.path.stem}-{name}", "id"),
            task=self.task.name,
            image=image,
            question=question,
            answer=self.task.ground_truth(answer, image, objects, question),
            objects=tuple(objects),
        )


def _image_folder(path: Path) -> Path:
    """``annotations/instances_val2017.json`` has its images in ``val2017``."""
    name = path.stem.removeprefix("instances_")
    candidates = (path.parent.parent / name, path.parent.parent / "images" / name)
    return next((folder for folder in candidates if folder.is_dir()), path.parent)


def _check_size(picture: Picture, image: EncodedImage) -> None:
    claimed = (picture.width, picture.height)
    if None not in claimed and claimed != (image.width, image.height):
        raise InputError(
            f"the file says {shown(picture.width)} x {shown(picture.height)} pixels, the image has "
            f"{image.width} x {image.height} as it is stored; boxes would not fit"
        )
