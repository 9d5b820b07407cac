"""Converts one row of our JSONL, a JSON object, to a Sample and back.

``docs/data.schema.json`` describes a row. Other formats convert their rows to ours, so that
everything is checked here. ``checked_sample`` checks a sample that came over the network in the
same way. When Syn-GRPO writes VLM-R1 rows and COCO images, it adds our whole row,
without its image, under the key ``syngrpo``, so that masks, all objects, description and columns
are read back exactly. Other programs ignore this key. It takes precedence over the other fields of
such a row: a user who edits those must remove the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syngrpo.formats.box_layout import BoxReader
from syngrpo.formats.image_files import ImageFolder, Objects
from syngrpo.formats.masks import checked_mask
from syngrpo.formats.row_files import parse_row
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import Task, get_task
from syngrpo.tasks.asking import constraints_of, task_errors
from syngrpo.tasks.labels import checked_box, is_finite_number, shown

REQUIRED_KEYS = ("id", "task", "image", "question")
OPTIONAL_KEYS = ("answer", "objects", "parent", "description", "depth", "columns")
OBJECT_KEYS = ("label", "box", "mask")

DEEPEST = 50
"""Levels of lists and objects within each other that a column or an answer may have."""

MOST_CHARACTERS = 4 << 20
"""Characters that the texts of a sample's columns may have together."""

CARRIED = "syngrpo"
"""The key under which other formats hold our rows. In a VLM-R1 row it is JSON text, because VLM-R1
loads its rows with Arrow, which needs one type for a column, and ours differ between tasks. In a
COCO image it is a list with one object a sample."""


def row_to_sample(
    row: Mapping[str, Any], images: ImageFolder, boxes: BoxReader | None = None
) -> Sample:
    """Check a row and return its sample. Raises InputError naming the first defect of the row.

    ``boxes`` converts the boxes of the row; None if they are corners in pixels.
    """
    if row.get("image") is not None:  # first, because it is found in every row then
        images.open(checked_text(row["image"], "image"))
    _check_keys(row, REQUIRED_KEYS, OPTIONAL_KEYS, "the row")
    image = images.open(row["image"])
    if boxes is not None:
        row = _in_pixels(row, get_task(checked_text(row["task"], "task")), image, boxes)
    return _sample(row, image, images.labelled)


def checked_sample(sample: Sample) -> Sample:
    """Check a sample that another program has sent, as if it came from a file, and return it.

    The pixels of its image are not looked at. Raises InputError naming the first defect, and when
    its task cannot say what a painted image must keep.
    """
    _refuse_unstorable([sample.answer, sample.columns, sample.dataset], "the sample")
    try:  # to lists and dicts, which a file would hold
        row = json.loads(json.dumps(sample_to_row(sample, image="-"), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the sample is not plain JSON data ({error})") from None
    _check_keys(row, REQUIRED_KEYS, OPTIONAL_KEYS, "the sample")
    read = _sample(row, sample.image, {})
    constraints_of(read)
    return replace(sample, answer=read.answer, objects=read.objects)


def _sample(
    row: Mapping[str, Any], image: EncodedImage, labelled: dict[str, tuple[str, Objects]]
) -> Sample:
    identifier = checked_text(row["id"], "id")
    task = get_task(checked_text(row["task"], "task"))
    question = checked_text(row["question"], "question")
    objects = _objects(row, task, question, image, labelled)
    columns = _optional(row, "columns", dict) or {}
    _refuse_unstorable(columns, "columns")
    if isinstance(row.get("answer"), str):
        _refuse_undecodable(row["answer"], "answer")
    parent = _optional(row, "parent", str)
    description = _optional(row, "description", str)
    _refuse_unstorable([parent, description], "parent or description")
    depth = _optional(row, "depth", int)
    if depth is not None and depth < 0:
        raise InputError(f"depth is {depth}, not a number of generations")
    with task_errors(task, "ground_truth", f"sample {identifier}"):
        answer = task.ground_truth(row.get("answer"), image, objects, question, columns)
    _refuse_unstorable(answer, "answer")
    return Sample(
        id=identifier,
        task=task.name,
        image=image,
        question=question,
        answer=answer,
        objects=objects,
        parent=parent,
        description=description,
        depth=depth if depth is not None else int(parent is not None),
        columns=columns,
    )


def _in_pixels(
    row: Mapping[str, Any], task: Task, image: EncodedImage, boxes: BoxReader
) -> Mapping[str, Any]:
    """Return the row with the boxes of its objects and of its answer as corners in pixels."""

    def of_object(thing: Any) -> Any:
        if not isinstance(thing, dict) or "box" not in thing:
            return thing
        return thing | {"box": boxes.corners(thing["box"], image, thing.get("label"))}

    changed = dict(row)
    if isinstance(objects := row.get("objects"), list):
        changed["objects"] = [of_object(thing) for thing in objects]
    answer = row.get("answer")
    if task.asks_for == "object":
        changed["answer"] = boxes.point(boxes.corners(answer, image, row["question"]), image)
    elif task.asks_for == "classes" and isinstance(answer, list):
        changed["answer"] = [of_object(thing) for thing in answer]
    return changed


def sample_to_row(sample: Sample, image: str) -> dict[str, Any]:
    """Return the row of a sample whose image is at ``image``, relative to the image folder."""
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


def carried_row(sample: Sample) -> dict[str, Any]:
    """Return a sample without its image as plain JSON data, for the key ``syngrpo``."""
    row = sample_to_row(sample, image="")
    del row["image"]
    return row


def carried_sample(value: Any, image: str, images: ImageFolder) -> Sample:
    """Return the sample in ``value``, that of the key ``syngrpo``: JSON text or an object. Its
    image is at the path ``image``. Raises InputError when the value is not a valid sample."""
    row = parse_row(value.encode("utf-8", "replace")) if isinstance(value, str) else value
    if not isinstance(row, Mapping):
        raise InputError(f"{CARRIED} is {shown(value)}, not a sample; remove that key")
    return row_to_sample({**row, "image": image}, images)


def _objects(
    row: Mapping[str, Any],
    task: Task,
    question: str,
    image: EncodedImage,
    labelled: dict[str, tuple[str, Objects]],
) -> Objects:
    """Return the labelled objects; if the row has none, those that the answer gives.

    Rows about the same image usually label the same objects, which are checked and stored once.
    """
    values = row.get("objects")
    if values is None:
        with task_errors(task, "objects_from_answer", f"sample {row['id']}"):
            values = task.objects_from_answer(row.get("answer"), question)
        if values is None and task.needs_objects:
            raise InputError("the row has no objects; label what must stay in new surroundings")
        values = [] if values is None else values
    if not isinstance(values, list):
        raise InputError(f"objects is {shown(values)}, not a list of labelled objects")
    if not values and task.needs_objects:
        raise InputError("objects is empty; label what must stay in new surroundings")
    text = repr(values)  # equal lists can differ: True is 1
    known, objects = labelled.get(row["image"], (None, ()))
    if known != text:
        objects = tuple(_object(value, image, f"objects[{i}]") for i, value in enumerate(values))
        labelled[row["image"]] = (text, objects)
    return objects


def _object(value: Any, image: EncodedImage, name: str) -> LabelledObject:
    if not isinstance(value, dict):
        raise InputError(f"{name} is {shown(value)}, not an object with label and box")
    _check_keys(value, ("label", "box"), ("mask",), name)
    box = checked_box(value["box"], image, f"{name}.box")
    mask = value.get("mask")
    if mask is not None:
        mask = checked_mask(mask, box, image, f"{name}.mask")
    return LabelledObject(label=checked_text(value["label"], f"{name}.label"), box=box, mask=mask)


def _check_keys(
    row: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...], name: str
) -> None:
    for key in required:
        if row.get(key) is None:
            missing = [key for key in required if row.get(key) is None]
            keys = repr(", ".join(row))[1:-1]
            tasks = " (rec, ovd or isr)" if missing == ["task"] else ""
            own = next((key for key in ("question", "image") if key in missing), "")
            hint = (
                f"; if others hold these, name them, as in columns: {{{own}: THEIR_KEY}} "
                f"(--columns {own}=THEIR_KEY)"
                if own and len(row) > 1
                else ""
            )
            raise InputError(
                f"{name} has no {', '.join(missing)}{tasks}; its keys are {keys}{hint}"
            )
    if not row.keys() <= {*required, *optional}:
        unknown = sorted(row.keys() - {*required, *optional})
        hint = "; put values of your own under columns" if "columns" in optional else ""
        raise InputError(f"{name} has unknown keys {shown(unknown)}{hint}")


def checked_text(value: Any, name: str) -> str:
    """Check that a JSON value is a text that a prompt may hold, and return it. ``name`` is the name
    of the value in the message.

    Raises InputError when it is no text, blank, not valid Unicode, or holds NUL or special tokens.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {shown(value)}, not a text")
    _refuse_undecodable(value, name)
    if "<|" in value:
        raise InputError(f'{name} {shown(value)} holds "<|", which starts special tokens')
    return value


def _refuse_unstorable(value: Any, name: str) -> None:
    """Raise InputError when a JSON value holds something that the pool cannot store exactly: a text
    that is not valid Unicode or has NUL in it, a number that is not finite, anything that JSON does
    not have, lists within lists without end, or very long texts."""
    waiting, characters = [(value, 0)], 0
    while waiting:
        one, depth = waiting.pop()
        if depth > DEEPEST:
            raise InputError(f"{name} is nested more than {DEEPEST} levels deep")
        if isinstance(one, str):
            characters += len(one)
            if characters > MOST_CHARACTERS:
                raise InputError(f"{name} has texts of more than {MOST_CHARACTERS} characters")
            _refuse_undecodable(one, name)
        elif isinstance(one, Mapping):
            if not all(isinstance(key, str) for key in one):
                raise InputError(f"{name} has a key that is not a text in {shown(one)}")
            waiting += [(inner, depth + 1) for pair in one.items() for inner in pair]
        elif isinstance(one, list | tuple):
            waiting += [(inner, depth + 1) for inner in one]
        elif one is not None and not isinstance(one, bool) and not is_finite_number(one):
            raise InputError(f"{name} holds {shown(one)}, which is no JSON value")


def _refuse_undecodable(text: str, name: str) -> None:
    """Raise InputError when UTF-8 cannot hold the text, or SQLite would cut it off."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{name} {shown(text)} is not valid Unicode") from None
    if "\0" in text:
        raise InputError(f"{name} {shown(text)} holds the character NUL; remove it")


def _optional(row: Mapping[str, Any], key: str, kind: type) -> Any:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{key} is {shown(value)}, not {_KIND_NAMES[kind]}")
    return value


_KIND_NAMES: dict[type, str] = {str: "a text", int: "a whole number", dict: "a JSON object"}
