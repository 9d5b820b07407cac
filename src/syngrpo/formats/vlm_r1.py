"""VLM-R1's JSONL: ``id``, ``image``, ``conversations`` of a human and a gpt turn.

The layout is that of om-ai-lab/VLM-R1 (README, "For your own data"; detection rows as in its issue
246): boxes are xyxy in pixels of the original image, an image path is relative to the image folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syngrpo.formats.carried import CARRIED, carried_sample
from syngrpo.formats.class_names import class_name, note_renamed
from syngrpo.formats.human_turns import classes_in, is_detection, phrase_in
from syngrpo.formats.image_folder import ImageFolder
from syngrpo.formats.jsonl import data_lines
from syngrpo.formats.problems import Problems
from syngrpo.formats.registry import ReadOptions
from syngrpo.formats.rows import checked_text, parse_row, row_to_sample
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.labels import class_key, shown
from syngrpo.tasks.ovd import DETECTION

KEYS = ("id", "image", "conversations", CARRIED)
TASKS = ("rec", *DETECTION)
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


def read_vlm_r1(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    """The good rows of one file, a ``registry.Reader``.

    The answer says whether a row is REC (one box) or OVD (labelled boxes, ``None``), unless
    ``options.task`` does. A number as id becomes ``FILE-number``: such ids count the rows of a
    file. Other keys of a row become columns.
    """
    if options.task not in (None, *TASKS):
        raise InputError(
            f"{path}: VLM-R1 rows label no objects apart from the answer, so task "
            f"{options.task!r} cannot be read from them; use one of {', '.join(TASKS)}"
        )
    images = ImageFolder(*(options.images or (path.parent,)))
    samples: list[Sample] = []
    renamed: dict[str, None] = {}
    for place, line in data_lines(path):
        if len(samples) == options.limit:
            break
        try:
            row = parse_row(line)
            sample = _carried(row, images, options.task)
            if sample is None:
                ours = _our_row(row, place, path.stem, options.task)
                renamed |= dict.fromkeys(ours.pop("renamed"))
                sample = row_to_sample(ours, images)
        except InputError as error:
            problems.add(place, str(error))
            continue
        if problems.claim(sample.id, place):
            samples.append(sample)
    note_renamed(renamed, str(path), problems)
    return samples


def _carried(row: dict[str, Any], images: ImageFolder, task: str | None) -> Sample | None:
    """The sample that Syn-GRPO wrote into the row; None when there is none, or of another task."""
    if CARRIED not in row:
        return None
    image = checked_text(_image(row), "image")
    sample = carried_sample(row[CARRIED], image, images)
    return sample if task in (None, sample.task) else None


def _our_row(row: dict[str, Any], place: str, stem: str, task: str | None) -> dict[str, Any]:
    """The row as our own JSONL has it, and under ``renamed`` class names that held a comma."""
    human, gpt = _turns(row)
    found = _found(gpt)
    base = {
        "id": _identifier(row, place, stem),
        "image": _image(row),
        "columns": {key: value for key, value in row.items() if key not in KEYS},
        "renamed": (),
    }
    if task is None:
        task = "ovd" if _is_detection(found, human) else "rec"
    if task == "rec":
        return base | _expression(found, human)
    return base | {"task": task} | _detection(found, human)


def _identifier(row: Mapping[str, Any], place: str, stem: str) -> Any:
    value = row.get("id")
    if value is None:
        return f"{stem}-line-{place.rpartition(':')[2]}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{stem}-{shown(value)}"
    return value


def _image(row: Mapping[str, Any]) -> Any:
    value = row.get("image")
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise InputError(f"image lists {len(value)} images; only rows with one image can be used")
    return value[0]


def _turns(row: Mapping[str, Any]) -> tuple[str, Any]:
    """The text of the human turn without ``<image>``, and the value of the gpt turn."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"conversations is {shown(turns)}, not a list of turns")
    speakers = [SPEAKERS.get(str(turn.get("from"))) for turn in turns]
    if speakers != ["human", "gpt"]:
        raise InputError(
            f"conversations has turns from {shown([turn.get('from') for turn in turns])}; "
            "write one from human and one from gpt"
        )
    text = turns[0].get("value")
    if not isinstance(text, str):
        raise InputError(f"the human turn is {shown(text)}, not a text")
    images = text.count("<image>")
    if images > 1:
        raise InputError(f"the human turn has {images} images; only rows with one can be used")
    return text.replace("<image>", "").strip(), turns[1].get("value")


_WRAPPERS = re.compile(r"</?answer>|```(?:json)?", re.IGNORECASE)


def _found(value: Any) -> list[Any]:
    """The gpt turn as a list: of boxes, or of objects that hold one each. ``[]``: None."""
    if isinstance(value, str):
        text = _WRAPPERS.sub("", value).strip()
        if text.strip(".\"' ").lower() == "none":
            return []
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError(f"the gpt turn {shown(text)} is neither JSON nor None") from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise InputError(f"the gpt turn {shown(value)} holds no box")
    is_box = len(value) == 4 and not any(isinstance(item, dict | list) for item in value)
    return [value] if is_box else value


def _is_detection(found: list[Any], human: str) -> bool:
    """A single box answers a phrase, unless the human turn asks for classes."""
    labelled = [isinstance(item, dict) and "label" in item for item in found]
    return len(found) != 1 or (all(labelled) and is_detection(human))


def _box(item: Any) -> Any:
    """The box of an item of the answer; checked where our rows are."""
    if not isinstance(item, dict):
        return item
    box = item.get("bbox_2d", item.get("bbox"))
    if box is None:
        raise InputError(f"the answer {shown(item)} has no bbox_2d")
    return box


def _expression(found: list[Any], human: str) -> dict[str, Any]:
    if len(found) != 1:
        raise InputError(
            f"the gpt turn holds {len(found)} boxes; a phrase is answered by one (task rec)"
        )
    item, box = found[0], _box(found[0])
    row = {"task": "rec", "question": phrase_in(human), "answer": box}
    if isinstance(item, dict) and item.get("label") is not None:
        row["objects"] = [{"label": item["label"], "box": box}]
    return row


def _detection(found: list[Any], human: str) -> dict[str, Any]:
    objects = []
    for item in found:
        if not isinstance(item, dict) or not isinstance(item.get("label"), str):
            raise InputError(f"the answer {shown(item)} has no label; detection needs one a box")
        objects.append({"label": class_name(item["label"]), "box": _box(item)})
    asked = classes_in(human)
    if not asked:  # no list in the text: what was found is what was asked for
        asked = tuple(dict.fromkeys(item["label"] for item in found))
    if not asked:
        raise InputError(f"no class names are found in the human turn {shown(human)}")
    names = {class_key(name): name for name in map(class_name, reversed(asked)) if name}
    unasked = sorted({t["label"] for t in objects if class_key(t["label"]) not in names})
    if unasked:
        raise InputError(f"the answer has labels that are not asked for: {shown(unasked)}")
    return {
        "question": ", ".join(reversed(names.values())),
        "answer": objects,
        "objects": objects,
        "renamed": tuple(name for name in asked if "," in name),
    }
