"""Makes samples of images whose objects have boxes and classes, and perhaps phrases. The formats of
labelling tools share it."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Format, Problems, ReadRequest
from syngrpo.formats.box_questions import BOXES, note_renamed, with_absent
from syngrpo.formats.image_files import ImageFolder, require_size
from syngrpo.formats.masks import segmentation_mask
from syngrpo.formats.sample_rows import checked_text
from syngrpo.options import option
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import Task, default_task, get_task
from syngrpo.tasks.asking import task_errors
from syngrpo.tasks.labels import checked_box, class_name, shown


@dataclass(frozen=True)
class LabelledBoxOptions:
    """The keys of a source of a labelling tool."""

    negatives: int = option(2, "number of absent classes that are asked for in an image", ge=0)
    seed: int = option(0, "seed for the choice of these classes and the order of all classes", ge=0)


@dataclass(frozen=True)
class SplitOptions(LabelledBoxOptions):
    """The keys of a source of a labelling tool whose data sets have parts."""

    split: str | None = option(None, "name of the part: train, val, …; null if there is only one")


@dataclass(frozen=True)
class ToolObject:
    """An object as a labelling tool describes it, unchecked.

    ``box``: four numbers in the layout of the source; None for the box around ``polygon``, which is
    flat x, y pairs in pixels. ``phrase``: a text that describes this object alone; "" for none.
    ``sure``: False for what is no ground truth, such as a crowd.
    """

    label: str
    box: Any
    polygon: Sequence[float] = ()
    phrase: str = ""
    sure: bool = True


@dataclass(frozen=True)
class ToolImage:
    """An image as a labelling tool describes it. ``place`` says where, for messages; ``key`` is its
    name within the file; ``file``: its path, relative to an image folder; ``size``: its width and
    height by the tool, None if unknown; ``unread``: the labels of objects that are not read,
    because only a shape of another kind marks them."""

    place: str
    key: str
    file: str
    objects: list[ToolObject] = field(default_factory=list)
    size: tuple[int, int] | None = None
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ToolFile:
    """What a labelling tool wrote: the image folders, all class names that it declares (() if it
    declares none), and the images. Errors of one image are raised when it is drawn from
    ``images``."""

    folders: tuple[Path, ...]
    classes: Sequence[str]
    images: Iterator[ToolImage]


class LabelledBoxes(Format):
    """Reads images with labelled boxes. A subclass says how a tool writes them.

    For a task that asks for classes (the default), an image gives one sample, whose question names
    the classes of the image and ``negatives`` absent ones. For a task that asks for an object, it
    gives one sample for each object with a phrase, and if it has none, one for each class that it
    holds exactly once, with the question "the CLASS". An image with a bad object gives no sample.
    """

    options: type = LabelledBoxOptions
    default_task = default_task("classes")

    @abstractmethod
    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        """Return what is in a file or folder. Raises InputError when it cannot be read at all."""

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        task = request.task or get_task(self.default_task)
        self.task_for(task, BOXES, str(path), f"{self.name} data hold no questions")
        content = self.opened(path, request, problems)
        images = request.image_folder(*content.folders)
        found = list(_checked(content.images, images, request, problems))
        labels = content.classes or sorted({t.label for _, _, objects in found for t, _ in objects})
        names = tuple(dict.fromkeys(map(class_name, labels)))
        note_renamed(labels, str(path), problems)
        told: Counter[str] = Counter()
        make = _Maker(task, names, request, problems.prefix(path), told)
        samples: list[Sample] = []
        for picture, image, objects in found:
            try:
                made = list(make.samples(picture, image, objects))
            except InputError as error:
                problems.add(picture.place, error)
                continue
            samples += [sample for sample in made if problems.claim(sample.id, picture.place)]
        for what, count in told.items():
            problems.note(f"{path}: {what}: {count}")
        return samples


CheckedObject = tuple[ToolObject, LabelledObject]
Checked = tuple[ToolImage, EncodedImage, list[CheckedObject]]


def _checked(
    pictures: Iterator[ToolImage], images: ImageFolder, request: ReadRequest, problems: Problems
) -> Iterator[Checked]:
    """Yield the images that are there and whose objects are valid, at most as many as asked for."""
    good = 0
    for picture in pictures:
        try:
            image = images.open(checked_text(picture.file, "image"))
            if picture.size is not None:
                require_size(picture.size, image)
            request.boxes.place = picture.place
            boxes = [_corners(one, image, request) for one in picture.objects]
            pairs = zip(picture.objects, boxes, strict=True)
            things = [(one, _object(one, box, image)) for one, box in pairs]
        except InputError as error:
            problems.add(picture.place, error)
            continue
        yield picture, image, things
        good += 1
        if good == request.limit:
            return


def _corners(thing: ToolObject, image: EncodedImage, request: ReadRequest) -> Any:
    """Return the box of an object in pixels, unchecked: its own, or that around its polygon."""
    if thing.box is not None or not thing.polygon:
        return request.boxes.corners(thing.box, image, thing.label)
    xs, ys = thing.polygon[0::2], thing.polygon[1::2]
    return [min(xs), min(ys), max(xs), max(ys)]


def _object(thing: ToolObject, box: Any, image: EncodedImage) -> LabelledObject:
    label = class_name(checked_text(thing.label, "label"))
    if not label:
        raise InputError(f"label {thing.label!r} has no name besides commas")
    checked = checked_box(box, image, f"the box of {shown(label)}")
    polygons = [list(thing.polygon)] if thing.polygon else None
    mask = segmentation_mask(polygons, checked, image, f"the polygon of {shown(label)}")
    return LabelledObject(label, checked, mask)


@dataclass(frozen=True)
class _Maker:
    """Makes the samples of an image. ``told`` counts what is left out on purpose."""

    task: Task
    classes: Sequence[str]
    request: ReadRequest
    prefix: str
    told: Counter[str]

    def samples(
        self,
        picture: ToolImage,
        image: EncodedImage,
        things: Sequence[CheckedObject],
    ) -> Iterator[Sample]:
        kept = [labelled for one, labelled in things if one.sure]
        if len(kept) < len(things):
            self.told["objects that are no ground truth, left out"] += len(things) - len(kept)
        unsure = {labelled.label for one, labelled in things if not one.sure}
        unsure |= {class_name(label) for label in picture.unread}
        base = Sample("-", self.task.name, image, "-", None, tuple(kept))
        if self.task.asks_for == "object":
            yield from self._of_object(picture, base, things, unsure)
            return
        present = {labelled.label for labelled in kept}
        asked = with_absent(
            [name for name in self.classes if name in present - unsure],
            [name for name in self.classes if name not in present | unsure],
            *(self.request.options.negatives, self.request.options.seed, picture.key),
        )
        if not asked:
            self.told["images without a class to ask for, left out"] += 1
            return
        answer = [{"label": o.label, "box": o.box} for o in kept if o.label in asked]
        yield self._sample(base, picture.key, ", ".join(asked), answer)

    def _of_object(
        self,
        picture: ToolImage,
        base: Sample,
        things: Sequence[CheckedObject],
        unsure: set[str],
    ) -> Iterator[Sample]:
        counts = Counter(labelled.label for labelled in base.objects)
        phrases = any(one.phrase for one, _ in things)
        asked = False
        for number, (one, labelled) in enumerate(things):
            once = counts[labelled.label] == 1 and labelled.label not in unsure and not phrases
            question = one.phrase or (f"the {labelled.label}" if once else "")
            if one.sure and question:
                asked = True
                key = f"{picture.key}-{number}"
                yield self._sample(base, key, checked_text(question, "phrase"), labelled.box)
        if not asked:
            self.told["images without a phrase or a class that they hold once, left out"] += 1

    def _sample(self, base: Sample, key: str, question: str, answer: Any) -> Sample:
        identifier = checked_text(f"{self.prefix}-{key}", "id")
        with task_errors(self.task, "ground_truth", f"sample {identifier}"):
            truth = self.task.ground_truth(answer, base.image, base.objects, question)
        return replace(base, id=identifier, question=question, answer=truth)
