"""Reads the three tables of a COCO file (images, annotations, categories), checked and joined."""

from __future__ import annotations

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

USED_KEYS = ("id", "file_name", "width", "height")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation; ``bbox`` and ``segmentation`` are the values in the file, unchecked."""

    id: Any
    category: Key
    bbox: Any
    segmentation: Any
    crowd: bool


@dataclass(frozen=True)
class CocoImage:
    """One image with its annotations. ``extra`` are the keys that COCO does not define."""

    id: Key
    file_name: Any
    width: Any
    height: Any
    extra: Mapping[str, Any]
    annotations: list[Annotation] = field(default_factory=list)

    def unsure_categories(self) -> set[Key]:
        """Return the classes of which not every instance is labelled."""
        listed = self.extra.get("not_exhaustive_category_ids")
        crowds = {annotation.category for annotation in self.annotations if annotation.crowd}
        return crowds | set(_keys(listed, "not_exhaustive_category_ids"))

    def absent_categories(self, categories: Iterable[Key]) -> list[Key]:
        """Return the classes that the file lists as absent from the image; all classes if it has no
        such list."""
        listed = self.extra.get(ABSENT)
        if listed is None:
            return list(categories)
        known = set(_keys(listed, ABSENT))
        return [category for category in categories if category in known]


@dataclass(frozen=True)
class CocoFile:
    """The joined tables of a file. ``categories``: id → class name, without commas; ``pictures``:
    id → image, in the order of the file."""

    categories: dict[Key, str]
    pictures: dict[Key, CocoImage]


def read_coco_file(path: Path, problems: Problems) -> CocoFile:
    """Read a file and join its tables. An image with an invalid annotation is left out.

    Raises InputError when the file is not a COCO instances file, or its categories are not valid.
    """
    content = _content(path)
    categories = _categories(content["categories"], path, problems)
    pictures = _pictures(content["images"], path, problems)
    broken: set[Key] = set()
    for number, value in enumerate(content["annotations"]):
        place = f"{path}: annotations[{number}]"
        if isinstance(value, dict) and is_key(value.get("id")):
            place = f"{path}: annotation {shown(value['id'])}"
        try:
            image, annotation = _annotation(value, categories, pictures)
            pictures[image].annotations.append(annotation)
        except InputError as error:
            problems.add(place, str(error))
            if isinstance(value, dict) and is_key(value.get("image_id")):
                broken.add(value["image_id"])
    good = {key: picture for key, picture in pictures.items() if key not in broken}
    return CocoFile(categories, good)


def annotation_box(annotation: Annotation, image: EncodedImage, boxes: BoxReader) -> Box:
    """Return the box of an annotation in pixels. Raises InputError when it is not valid."""
    numbers = boxes.corners(annotation.bbox, image)
    if numbers is annotation.bbox:
        words = ORDER_WORDS[boxes.layout.order]
        raise InputError(f"bbox is {shown(annotation.bbox)}, not [{words}]")
    return checked_box(numbers, image, "bbox as x1, y1, x2, y2")


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
        content = json.loads(path.read_bytes())
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


def _categories(values: list[Any], path: Path, problems: Problems) -> dict[Key, str]:
    names: dict[Key, str] = {}
    taken: set[str] = set()
    for number, value in enumerate(values):
        where = f"{path}: categories[{number}]"
        if not isinstance(value, dict) or not is_key(value.get("id")):
            raise InputError(f"{where} is {shown(value)}, not an object with id and name")
        name = class_name(checked_text(value.get("name"), f"{where}.name"))
        if value["id"] in names or not name or class_key(name) in taken:
            raise InputError(f"{where}: {shown(value)} has an id or name that is used before")
        names[value["id"]] = name
        taken.add(class_key(name))
    note_renamed((value["name"] for value in values), str(path), problems)
    return names


def _pictures(values: list[Any], path: Path, problems: Problems) -> dict[Key, CocoImage]:
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
                file_name=value.get("file_name"),
                width=value.get("width"),
                height=value.get("height"),
                extra=extra,
            )
    return pictures


def _annotation(
    value: Any, categories: dict[Key, str], pictures: dict[Key, CocoImage]
) -> tuple[Key, Annotation]:
    """Return the id of its image and the annotation."""
    if not isinstance(value, dict):
        raise InputError(f"{shown(value)} is not an object")
    for key, known in (("image_id", pictures), ("category_id", categories)):
        if not is_key(value.get(key)) or value[key] not in known:
            raise InputError(f"{key} is {shown(value.get(key))}, which the file does not define")
    crowd = value.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise InputError(f"iscrowd is {shown(crowd)}, neither 0 nor 1")
    annotation = Annotation(
        id=value.get("id"),
        category=value["category_id"],
        bbox=value.get("bbox"),
        segmentation=value.get("segmentation"),
        crowd=bool(crowd),
    )
    return value["image_id"], annotation
