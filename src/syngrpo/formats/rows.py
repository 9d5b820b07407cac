"""One row of our JSONL: a JSON object ↔ a Sample. ``docs/data.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syngrpo.formats.masks import checked_mask
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.labels import checked_box, shown

REQUIRED_KEYS = ("id", "task", "image", "question", "answer")
OPTIONAL_KEYS = ("objects", "parent", "description", "depth", "columns")
OBJECT_KEYS = ("label", "box", "mask")


class ImageFolder:
    """The images of a data file: headers are read once, and no path leads out of the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._headers: dict[str, EncodedImage] = {}

    def open(self, relative: str) -> EncodedImage:
        """The image at a path relative to the folder. Raises InputError; decodes nothing."""
        if relative not in self._headers:
            self._headers[relative] = EncodedImage.from_file(self._inside(relative))
        return self._headers[relative]

    def _inside(self, relative: str) -> Path:
        try:
            path = (self.root / relative).resolve()
        except (ValueError, OSError, RuntimeError) as error:  # null bytes, loops of links
            raise InputError(f"image {shown(relative)} is not a usable path ({error})") from None
        if Path(relative).is_absolute() or not path.is_relative_to(self.root):
            raise InputError(
                f"image {shown(relative)} leaves the image folder {self.root}; "
                "write a path relative to that folder"
            )
        return path


def parse_row(line: bytes) -> dict[str, Any]:
    """One line → a JSON object. Raises InputError when it is anything else."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError("the line is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"the line is {shown(row)}, not a JSON object")
    return row


def row_to_sample(row: Mapping[str, Any], images: ImageFolder) -> Sample:
    """A checked Sample. Raises InputError naming the first thing that is wrong with the row."""
    _check_keys(row, REQUIRED_KEYS, OPTIONAL_KEYS, "the row")
    task = get_task(_text(row, "task"))
    question = _text(row, "question")
    image = images.open(_text(row, "image"))
    objects = _objects(row, image, question)
    parent = _optional(row, "parent", str)
    depth = _optional(row, "depth", int)
    if depth is not None and depth < 0:
        raise InputError(f"depth is {depth}, not a number of generations")
    return Sample(
        id=_text(row, "id"),
        task=task.name,
        image=image,
        question=question,
        answer=task.ground_truth(row["answer"], image, objects),
        objects=objects,
        parent=parent,
        description=_optional(row, "description", str),
        depth=depth if depth is not None else int(parent is not None),
        columns=_optional(row, "columns", dict) or {},
    )


def sample_to_row(sample: Sample, image: str) -> dict[str, Any]:
    """The row of a sample whose image is stored at ``image``, relative to the image folder."""
    row: dict[str, Any] = {
        "id": sample.id,
        "task": sample.task,
        "image": image,
        "question": sample.question,
        "answer": sample.answer,
        "objects": [
            {"label": thing.label, "box": list(thing.box)}
            | ({"mask": thing.mask} if thing.mask is not None else {})
            for thing in sample.objects
        ],
    }
    if sample.parent is not None:
        row |= {"parent": sample.parent, "depth": sample.depth}
    if sample.description is not None:
        row["description"] = sample.description
    if sample.columns:
        row["columns"] = sample.columns
    return row


def _objects(
    row: Mapping[str, Any], image: EncodedImage, question: str
) -> tuple[LabelledObject, ...]:
    values = row.get("objects")
    if values is None:  # a phrase and its box are all that most REC data sets have
        return (LabelledObject(label=question, box=checked_box(row["answer"], image, "answer")),)
    if not isinstance(values, list) or not values:
        raise InputError(f"objects is {shown(values)}, not a list of labelled objects")
    return tuple(_object(value, image, f"objects[{i}]") for i, value in enumerate(values))


def _object(value: Any, image: EncodedImage, name: str) -> LabelledObject:
    if not isinstance(value, dict):
        raise InputError(f"{name} is {shown(value)}, not an object with label and box")
    _check_keys(value, ("label", "box"), ("mask",), name)
    box = checked_box(value["box"], image, f"{name}.box")
    mask = value.get("mask")
    if mask is not None:
        mask = checked_mask(mask, box, image, f"{name}.mask")
    return LabelledObject(label=_text(value, "label", f"{name}."), box=box, mask=mask)


def _check_keys(
    row: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...], name: str
) -> None:
    missing = [key for key in required if row.get(key) is None]
    if missing:
        raise InputError(f"{name} has no {', '.join(missing)}")
    unknown = sorted(set(row) - {*required, *optional})
    if unknown:
        hint = "; put values of your own under columns" if "columns" in optional else ""
        raise InputError(f"{name} has unknown keys {shown(unknown)}{hint}")


def _text(row: Mapping[str, Any], key: str, prefix: str = "") -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{prefix}{key} is {shown(value)}, not a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{prefix}{key} {shown(value)} is not valid Unicode") from None
    if "<|" in value:
        raise InputError(f'{prefix}{key} {shown(value)} holds "<|", which starts special tokens')
    return value


def _optional(row: Mapping[str, Any], key: str, kind: type) -> Any:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{key} is {shown(value)}, not {_KIND_NAMES[kind]}")
    return value


_KIND_NAMES: dict[type, str] = {str: "a text", int: "a whole number", dict: "a JSON object"}
