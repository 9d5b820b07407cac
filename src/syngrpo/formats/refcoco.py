"""The format ``refcoco``: reads RefCOCO, RefCOCO+ and RefCOCOg in their original annotation files.

A folder holds ``instances.json`` (COCO instances) and one or more ``refs(PARTITION).p``: a pickled
list of references, each an annotation of an image with the sentences that refer to it. The fields
have the meaning that lichengunc/refer, the API published with the data, gives them. Pickles can run
code; those that hold anything but plain data are refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from syngrpo.formats.base import Format, Problems, ReadRequest, in_usual_order
from syngrpo.formats.box_layout import BoxReader
from syngrpo.formats.coco_file import (
    Annotation,
    CocoImage,
    Key,
    annotation_box,
    is_key,
    read_coco_file,
)
from syngrpo.formats.image_files import ImageFolder, require_size
from syngrpo.formats.masks import segmentation_mask
from syngrpo.formats.sample_rows import checked_text
from syngrpo.options import option
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.serving.wording import one_line
from syngrpo.tasks import Task, default_task, get_task
from syngrpo.tasks.asking import task_errors
from syngrpo.tasks.labels import BoxError, shown

INSTANCES = "instances.json"
DEFAULT_TASK = default_task("object")


@dataclass(frozen=True)
class RefCocoOptions:
    """The keys of a RefCOCO source."""

    split: str | None = option(None, "train, val, test, testA or testB; null: all references")


class RefCoco(Format):
    """Reads one sample for each sentence of the references.

    The path is the folder, or the refs file if the folder has several. ``objects`` are all
    annotations of the image with their classes and masks. Images are looked up by the names in
    ``instances.json``, in the folders that the user names; without any, in the folder and its
    ``images``.
    """

    name = "refcoco"
    options = RefCocoOptions
    default_task = DEFAULT_TASK
    box_order = "xywh"

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            return any(path.glob("refs(*).p"))
        return path.suffix.lower() in (".p", ".pkl")

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        task = request.task or get_task(DEFAULT_TASK)
        self.task_for(task, ("object",), str(path), "RefCOCO refers to single objects")
        refs_file = _refs_file(path)
        folder = refs_file.parent
        instances = _Instances(folder / INSTANCES, request.boxes, problems)
        images = request.image_folder(folder, folder / "images")
        partition = refs_file.name.removeprefix("refs(").removesuffix(").p")
        prefix = problems.prefix(folder.resolve() / partition, folder.resolve().name)
        samples: list[Sample] = []
        for place, ref in _chosen(refs_file, request.options.split, problems):
            request.boxes.place = place
            try:
                found = list(_samples(ref, prefix, task, instances, images))
            except InputError as error:
                problems.add(place, error)
                continue
            samples += [sample for sample in found if problems.claim(sample.id, place)]
            if request.limit is not None and len(samples) >= request.limit:
                return samples[: request.limit]
        return samples


def _refs_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("refs(*).p"))
    if not found:
        raise InputError(f"{path} has no refs(….p file; name the folder with the annotations")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{path} has several partitions: {names}; name the file, not the folder")
    return found[0]


def _chosen(
    path: Path, split: str | None, problems: Problems
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the references of the split with their places. Raises InputError when there are
    none."""
    refs = load_plain_pickle(path)
    if not isinstance(refs, list):
        raise InputError(f"{path} holds {shown(refs)}, not a list of references")
    belongs = _membership(split)
    splits: set[str] = set()
    chosen = 0
    for number, ref in enumerate(refs):
        place = f"{path}: ref {number}"
        if not isinstance(ref, dict) or not isinstance(ref.get("split"), str):
            problems.add(place, f"{shown(ref)} is not a reference with a split")
            continue
        splits.add(ref["split"])
        if belongs(ref["split"]):
            chosen += 1
            yield place, ref
    if not chosen and split is not None:
        has = ", ".join(in_usual_order(sorted(splits)))
        raise InputError(f"{path} has no split {split}; it has {has}")


def _membership(split: str | None) -> Callable[[str], bool]:
    """Return a function that tells whether a reference's value of ``split`` belongs to this split.

    As in the original API, a value may name several test splits ("testAB" is part of testA and of
    testB), and "test" is all of them.
    """
    if split is None:
        return lambda value: True
    if split in ("testA", "testB", "testC"):
        return lambda value: value.startswith("test") and split[-1] in value
    if split == "test":
        return lambda value: "test" in value
    return lambda value: value == split


def _samples(
    ref: Mapping[str, Any],
    prefix: str,
    task: Task,
    instances: _Instances,
    images: ImageFolder,
) -> Iterator[Sample]:
    for key in ("ref_id", "ann_id", "image_id"):
        if not is_key(ref.get(key)):
            raise InputError(f"{key} is {shown(ref.get(key))}, not a number")
    sentences = ref.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise InputError(f"sentences is {shown(sentences)}, not a list of them")
    picture = instances.picture(ref["image_id"])
    # The file_name of a reference is not used: it ends with the number of the annotation, and no
    # image has that name.
    checked_text(ref["split"], "split")
    image = images.open(checked_text(picture.file_name, "file_name"))
    labelled = instances.objects(picture, image)
    if ref["ann_id"] not in labelled:
        raise InputError(f"ann_id {shown(ref['ann_id'])} is no annotation of its image")
    answer, objects = labelled[ref["ann_id"]].box, tuple(labelled.values())
    for sentence in sentences:
        text, number = _sentence(sentence)
        identifier = checked_text(f"{prefix}-{ref['ref_id']}-{number}", "id")
        with task_errors(task, "ground_truth", f"sample {identifier}"):
            truth = task.ground_truth(answer, image, objects, text)
        yield Sample(
            id=identifier,
            task=task.name,
            image=image,
            question=text,
            answer=truth,
            objects=objects,
            columns={"ref_id": ref["ref_id"], "sent_id": number, "split": ref["split"]},
        )


def _sentence(value: Any) -> tuple[str, int]:
    if not isinstance(value, dict) or not is_key(value.get("sent_id")):
        raise InputError(f"{shown(value)} is not a sentence with sent and sent_id")
    return checked_text(value.get("sent"), "sent").strip(), value["sent_id"]


class _Instances:
    """The labelled objects of all images, each made when its image is first needed."""

    def __init__(self, path: Path, boxes: BoxReader, problems: Problems) -> None:
        self._file = read_coco_file(path, problems)
        self._boxes = boxes
        self._objects: dict[Key, dict[Key, LabelledObject]] = {}

    def picture(self, image_id: Key) -> CocoImage:
        if image_id not in self._file.pictures:
            raise InputError(f"image_id {shown(image_id)} is no good image of {INSTANCES}")
        return self._file.pictures[image_id]

    def objects(self, picture: CocoImage, image: EncodedImage) -> dict[Key, LabelledObject]:
        """Return all annotations of an image, crowds too, by their ids."""
        if picture.id not in self._objects:
            require_size((picture.width, picture.height), image)
            found = {each.id: self._object(each, image) for each in picture.annotations}
            self._objects[picture.id] = found
        return self._objects[picture.id]

    def _object(self, annotation: Annotation, image: EncodedImage) -> LabelledObject:
        name = f"annotation {annotation.id}"
        label = self._file.categories[annotation.category]
        try:
            box = annotation_box(annotation, image, self._boxes, label)
        except BoxError as error:
            raise BoxError(f"{name}: {error}".removesuffix(error.hint), error.hint) from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        mask = segmentation_mask(annotation.segmentation, box, image, f"{name}: segmentation")
        return LabelledObject(label, box, mask)


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, texts, lists, tuples, sets and dicts. Refuses a pickle that names a class or
    a function, because that can run code."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise InputError(f"it names {module}.{name}")

    def persistent_load(self, identifier: Any) -> NoReturn:
        raise InputError("it refers to objects outside of itself")


def load_plain_pickle(path: Path) -> Any:
    """Return the content of a pickle of Python 2 or 3, whose texts are UTF-8.

    Raises InputError when the file does not exist, is no pickle, or could run code.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8").load()
    except InputError as error:
        raise InputError(
            f"{path} is not plain data ({error}), and could run code; get the original file"
        ) from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    # By the documentation of pickle, a broken one raises these, or needs too much memory.
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError),
        *(KeyError, OverflowError, MemoryError, RecursionError),
    ) as error:
        problem = one_line(error)
        raise InputError(f"{path} is not a pickle ({problem}); get the original file") from None
