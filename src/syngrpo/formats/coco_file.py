"""Reads the three tables of a COCO file (images, annotations, categories), checked and joined."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Problems
from syngrpo.formats.box_layout import ORDER_WORDS, BoxReader
from syngrpo.formats.box_questions import note_renamed
from syngrpo.formats.sample_rows import checked_text
from syngrpo.sample import Box, EncodedImage, InputError
from syngrpo.tasks.labels import checked_box, class_key, class_name, shown

Key = int | str
"""An id. COCO's are whole numbers; texts are accepted, too."""

ABSENT = "neg_category_ids"
"""LVIS's key for the categories that an image is known not to show."""

PHRASE_KEYS = ("phrases", "phrase", "caption", "expression", "sentences")
"""Keys of an annotation, which COCO does not define, for texts that describe its object alone."""

USED_KEYS = ("id", "file_name", "width", "height")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation; ``bbox``, ``segmentation`` and ``phrases`` are the values in the file,
    unchecked."""

    id: Any
    category: Key
    bbox: Any
    segmentation: Any
    crowd: bool
    phrases: list[Any]


@dataclass(frozen=True)
class CocoImage:
    """One image with its annotations. ``extra`` are the keys that COCO does not define; ``same``:
    id of a category → the id under which its class is listed first."""

    id: Key
    file_name: Any
    width: Any
    height: Any
    extra: Mapping[str, Any]
    same: Mapping[Key, Key]
    annotations: list[Annotation] = field(default_factory=list)

    def unsure_categories(self) -> set[Key]:
        """Return the classes of which not every instance is labelled."""
        listed = self.extra.get("not_exhaustive_category_ids")
        crowds = {annotation.category for annotation in self.annotations if annotation.crowd}
        return crowds | self._known(listed, "not_exhaustive_category_ids")

    def absent_categories(self, categories: Iterable[Key]) -> list[Key]:
        """Return the classes that the file lists as absent from the image; all classes if it has no
        such list."""
        listed = self.extra.get(ABSENT)
        if listed is None:
            return list(categories)
        known = self._known(listed, ABSENT)
        return [category for category in categories if category in known]

    def _known(self, listed: Any, name: str) -> set[Key]:
        return {self.same.get(key, key) for key in _keys(listed, name)}


@dataclass(frozen=True)
class CocoFile:
    """The joined tables of a file. ``categories``: id → class name, without commas; ``groups``: the
    ids of those that are the ``supercategory`` of others; ``pictures``: id → image, in the order of
    the file."""

    categories: dict[Key, str]
    groups: set[Key]
    pictures: dict[Key, CocoImage]


def read_coco_file(path: Path, problems: Problems) -> CocoFile:
    """Read a file and join its tables. An image with an invalid annotation is left out.

    Raises InputError when the file is not a COCO instances file, or its categories are not valid.
    """
    content = _content(path)
    categories, same = _categories(content["categories"], path, problems)
    pictures = _pictures(content["images"], same, path, problems)
    if not content["annotations"]:
        problems.note(f"{path}: annotations is empty; every question asks for what is not there")
    broken: set[Key] = set()
    for number, value in enumerate(content["annotations"]):
        place = f"{path}: annotations[{number}]"
        if isinstance(value, dict) and is_key(value.get("id")):
            place = f"{path}: annotation {shown(value['id'])}"
        try:
            image, annotation = _annotation(value, same, pictures)
            pictures[image].annotations.append(annotation)
        except InputError as error:
            problems.add(place, error)
            if isinstance(value, dict) and is_key(value.get("image_id")):
                broken.add(value["image_id"])
    good = {key: picture for key, picture in pictures.items() if key not in broken}
    return CocoFile(categories, _groups(content["categories"], categories), good)


def _groups(values: list[Any], categories: dict[Key, str]) -> set[Key]:
    """Return the categories that only group others: an image with an apple shows a fruit, though no
    annotation says so."""
    names = [value.get("supercategory") for value in values]
    groups = {
        class_key(name)
        for name, own in zip(names, values, strict=True)
        if isinstance(name, str) and class_key(name) != class_key(own["name"])
    }
    return {key for key, name in categories.items() if class_key(name) in groups}


def annotation_box(
    annotation: Annotation, image: EncodedImage, boxes: BoxReader, label: str
) -> Box:
    """Return the box of an annotation in pixels. Raises InputError when it is not valid."""
    numbers = boxes.corners(annotation.bbox, image, label)
    if numbers is annotation.bbox:
        words = ORDER_WORDS[boxes.layout.order]
        raise InputError(f"bbox is {shown(annotation.bbox)}, not [{words}]")
    return checked_box(numbers, image, "bbox")


def is_key(value: Any) -> bool:
    """Return whether a value can be an id."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def _keys(value: Any, name: str) -> list[Key]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(is_key(key) for key in value):
        raise InputError(f"{name} is {shown(value)}, not a list of category ids")
    return value


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError:
        raise InputError(f"data file {path} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})") from None
    if isinstance(content, list):
        raise InputError(f"{path} is one JSON list; write one JSON object a line (JSONL)")
    tables = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(t), list) for t in tables):
        raise InputError(f"{path} is no COCO instances file: it needs lists {', '.join(tables)}")
    return content


def _categories(
    values: list[Any], path: Path, problems: Problems
) -> tuple[dict[Key, str], dict[Key, Key]]:
    """Return id → class name, and id → the id under which the class is listed first.

    Some tools write a class twice, with two ids.
    """
    names: dict[Key, str] = {}
    same: dict[Key, Key] = {}
    first: dict[str, Key] = {}
    twice: dict[str, None] = {}
    for number, value in enumerate(values):
        where = f"{path}: categories[{number}]"
        if not isinstance(value, dict) or not is_key(value.get("id")):
            raise InputError(f"{where} is {shown(value)}, not an object with id and name")
        name = class_name(checked_text(value.get("name"), f"{where}.name"))
        if value["id"] in same or not name:
            raise InputError(f"{where}: {shown(value)} has an id that is used before, or no name")
        key = first.setdefault(class_key(name), value["id"])
        same[value["id"]] = key
        if key == value["id"]:
            names[key] = name
        else:
            twice[name] = None
    if twice:
        problems.note(f"{path}: categories listed more than once, read as one: {', '.join(twice)}")
    note_renamed((value["name"] for value in values), str(path), problems)
    return names, same


def _pictures(
    values: list[Any], same: Mapping[Key, Key], path: Path, problems: Problems
) -> dict[Key, CocoImage]:
    pictures: dict[Key, CocoImage] = {}
    for number, value in enumerate(values):
        place = f"{path}: images[{number}]"
        if not isinstance(value, dict) or not is_key(value.get("id")):
            problems.add(place, f"{shown(value)} is not an object with id and file_name")
        elif value["id"] in pictures:
            problems.add(place, f"image id {shown(value['id'])} is used before")
        else:
            extra = {key: item for key, item in value.items() if key not in USED_KEYS}
            pictures[value["id"]] = CocoImage(
                id=value["id"],
                file_name=_file_name(value),
                width=value.get("width"),
                height=value.get("height"),
                extra=extra,
                same=same,
            )
    return pictures


def _file_name(value: Mapping[str, Any]) -> Any:
    """Return the path of an image. LVIS has only a URL, whose end is folder and name."""
    url = value.get("coco_url")
    if value.get("file_name") is None and isinstance(url, str):
        return "/".join(url.split("/")[-2:])
    return value.get("file_name")


def _annotation(
    value: Any, same: dict[Key, Key], pictures: dict[Key, CocoImage]
) -> tuple[Key, Annotation]:
    """Return the id of its image and the annotation."""
    if not isinstance(value, dict):
        raise InputError(f"{shown(value)} is not an object")
    for key, known, table in (
        ("image_id", pictures, "images"),
        ("category_id", same, "categories"),
    ):
        if not is_key(value.get(key)) or value[key] not in known:
            raise InputError(f"{key} is {shown(value.get(key))}, which is not in {table}")
    crowd = value.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise InputError(f"iscrowd is {shown(crowd)}, neither 0 nor 1")
    annotation = Annotation(
        id=value.get("id"),
        category=same[value["category_id"]],
        bbox=value.get("bbox"),
        segmentation=_without_empty(value.get("segmentation")),
        crowd=bool(crowd),
        phrases=_phrases(value),
    )
    return value["image_id"], annotation


def _phrases(value: Mapping[str, Any]) -> list[Any]:
    """Return the texts that describe the object of an annotation alone."""
    found: Any = next((value[key] for key in PHRASE_KEYS if value.get(key)), [])
    return found if isinstance(found, list) else [found]


def _without_empty(segmentation: Any) -> Any:
    """Return a segmentation without the empty polygons that some tools write for "none"."""
    if isinstance(segmentation, list):
        return [part for part in segmentation if part != []]
    return segmentation
