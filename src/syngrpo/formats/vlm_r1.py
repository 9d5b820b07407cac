"""The format ``vlm-r1``: VLM-R1's JSONL. A row has ``id``, ``image``, and ``conversations`` of a
human and a gpt turn.

The layout is that of om-ai-lab/VLM-R1 (README, "For your own data"; detection rows as in its issue
246): boxes are xyxy in pixels of the original image, an image path is relative to the image folder.

The human turn holds a phrase, or a list of classes, inside an instruction. This module knows the
wordings of the data that om-ai-lab published and of Qwen's grounding examples; of any other, the
whole text is used as the phrase.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Problems, ReadRequest, WritableFormat
from syngrpo.formats.box_questions import BOXES, boxes_of_answer, note_renamed
from syngrpo.formats.image_files import ImageFolder, ImageWriter
from syngrpo.formats.jsonl import FILE_NAME, data_lines
from syngrpo.formats.sample_rows import (
    CARRIED,
    carried_row,
    carried_sample,
    checked_text,
    parse_row,
    row_to_sample,
)
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import Task, default_task, get_task
from syngrpo.tasks.labels import asked_classes, class_key, class_name, shown

KEYS = ("id", "image", "conversations", CARRIED)
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}

PHRASE_TURN = (
    "Please provide the bounding box coordinate of the region this sentence describes: {phrase}."
)
CLASSES_TURN = """\
Please carefully check the image and detect the following objects: {classes}. Output the bbox \
coordinates of detected objects in JSON format in <answer></answer>. The bbox coordinate format \
should be:
```json
[{{"bbox_2d": [x1, y1, x2, y2], "label": "object name"}}]
```
If no targets are detected in the image, simply respond with "None"."""
"""The human turns of VLM-R1's published data (arXiv 2504.07615, appendix)."""


class VlmR1(WritableFormat):
    """Reads and writes VLM-R1's JSONL.

    Unless the user names a task, the answer decides whether a row asks for one object (one box) or
    for classes (labelled boxes, or ``None``). A number as id becomes ``FILE-number``, because such
    ids count the rows of a file. Other keys of a row become columns.
    """

    name = "vlm-r1"

    def recognises(self, path: Path) -> bool:
        if not path.is_file() or path.suffix.lower() == ".json":
            return False
        try:
            row = json.loads(_first_line(path))
        except (ValueError, RecursionError):
            return False
        return isinstance(row, dict) and "conversations" in row

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        if request.task is not None:
            reason = "VLM-R1 rows label no objects apart from the answer"
            self.task_for(request.task, BOXES, str(path), reason)
        images = ImageFolder(*(request.images or (path.parent,)), as_stored=request.as_stored)
        samples: list[Sample] = []
        renamed: dict[str, None] = {}
        prefix = problems.prefix(path)
        for place, line in data_lines(path):
            if len(samples) == request.limit:
                break
            try:
                row = parse_row(line)
                sample = _carried(row, images, request.task)
                if sample is None:
                    ours = _our_row(row, place, prefix, request.task)
                    renamed |= dict.fromkeys(ours.pop("renamed"))
                    sample = row_to_sample(ours, images, request.boxes)
            except InputError as error:
                problems.add(place, error)
                continue
            if problems.claim(sample.id, place):
                samples.append(sample)
        note_renamed(renamed, str(path), problems)
        return samples

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write ``data.jsonl`` and ``images/``. Raises InputError for an answer without boxes."""
        images = ImageWriter(directory)
        with (directory / FILE_NAME).open("w", encoding="utf-8") as file:
            for sample in samples:
                human, answer = _written_turns(sample)
                carried = json.dumps(carried_row(sample), ensure_ascii=False, allow_nan=False)
                row = {
                    "id": sample.id,
                    "image": images.add(sample),
                    "conversations": [
                        {"from": "human", "value": "<image>" + human},
                        {"from": "gpt", "value": answer},
                    ],
                    CARRIED: carried,
                }
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        return images.names


def _written_turns(sample: Sample) -> tuple[str, str]:
    """Return the human and the gpt turn. Boxes are xyxy in pixels of the original image."""
    marks = boxes_of_answer(sample, "VLM-R1's")
    if get_task(sample.task).asks_for == "object":
        return PHRASE_TURN.format(phrase=sample.question), json.dumps(marks[0].box)
    found = [{"bbox_2d": mark.box, "label": mark.label} for mark in marks]
    answer = f"```json\n{json.dumps(found)}\n```" if found else "None"
    return CLASSES_TURN.format(classes=list(asked_classes(sample.question))), answer


def _first_line(path: Path) -> bytes:
    """Return the first line that is not blank, at most 1 MB of it. Raises InputError when the file
    cannot be read."""
    try:
        with path.open("rb") as file:
            while line := file.readline(1_000_000):
                if line.strip():
                    return line
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    return b""


def _carried(row: dict[str, Any], images: ImageFolder, task: Task | None) -> Sample | None:
    """Return the sample that Syn-GRPO wrote into the row; None when there is none, or when its task
    is not ``task``."""
    if CARRIED not in row:
        return None
    image = checked_text(_image(row), "image")
    sample = carried_sample(row[CARRIED], image, images)
    return sample if task is None or task.name == sample.task else None


def _our_row(row: dict[str, Any], place: str, stem: str, task: Task | None) -> dict[str, Any]:
    """Return the row converted to our JSONL, with the class names that hold a comma under
    ``renamed``."""
    human, gpt = _turns(row)
    found = _found(gpt)
    base = {
        "id": _identifier(row, place, stem),
        "image": _image(row),
        "columns": {key: value for key, value in row.items() if key not in KEYS},
        "renamed": (),
    }
    if task is None:
        task = get_task(default_task("classes" if _is_detection(found, human) else "object"))
    labels = _expression if task.asks_for == "object" else _detection
    return base | {"task": task.name} | labels(found, human)


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
    """Return the text of the human turn without ``<image>``, and the value of the gpt turn."""
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
    """Return the gpt turn as a list of boxes, or of objects with one box each; [] for None."""
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
    """Return whether a row asks for classes. A single box answers a phrase, unless the text asks
    for classes."""
    labelled = [isinstance(item, dict) and "label" in item for item in found]
    return len(found) != 1 or (all(labelled) and is_detection(human))


def _box(item: Any) -> Any:
    """Return the box of an item of the answer. It is checked later, with the whole row."""
    if not isinstance(item, dict):
        return item
    box = item.get("bbox_2d", item.get("bbox"))
    if box is None:
        raise InputError(f"the answer {shown(item)} has no bbox_2d")
    return box


def _expression(found: list[Any], human: str) -> dict[str, Any]:
    if len(found) != 1:
        raise InputError(f"the gpt turn holds {len(found)} boxes; a phrase is answered by one box")
    item, box = found[0], _box(found[0])
    row = {"question": phrase_in(human), "answer": box}
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


_PHRASE = re.compile(
    r"\b(?:sentence|phrase|expression|description)\b(?:\s+(?:describes?|refers\s+to|is))?\s*:\s*"
    r"(?P<phrase>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_LOCATE = re.compile(
    r"^(?:please\s+)?locate\s+(?P<phrase>\S.*?),?\s+in\s+(?:this|the)\s+(?:image|picture)\b",
    re.IGNORECASE | re.DOTALL,
)
_INSTRUCTIONS = re.compile(
    r"(?:(?<=[.!?\"'])\s+|\s*\n\s*)(?:first\b|output\b|please\b|answer\b|if\b).*",
    re.IGNORECASE | re.DOTALL,
)
"""Matches the instructions that follow the question and say how to answer it."""

_CLASSES = re.compile(
    r"\bdetect\b[^:\[\n]{0,60}:\s*(?P<classes>\S.*)|\bdetect\b[^:\[\n]{0,60}(?P<list>\[.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(
    r"\s*+(?:'(?P<single>(?:[^'\\]|\\.)*+)'\s*|\"(?P<double>(?:[^\"\\]|\\.)*+)\"\s*|(?P<bare>[^,\[\]]*+))"
    r"(?P<end>[,\]])"
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?P<name>\S.*?)\s*$")


def phrase_in(text: str) -> str:
    """Return the referring phrase without the instruction around it; the whole text if its wording
    is unknown."""
    match = _PHRASE.search(text) or _LOCATE.search(text)
    if match is None:
        return text.strip()
    phrase = _INSTRUCTIONS.sub("", match["phrase"]).strip()
    bare = phrase.removesuffix(".").strip().strip("\"'").removesuffix(".").strip()
    return bare or text.strip()


def is_detection(text: str) -> bool:
    """Return whether the text asks for classes and not for the object that a phrase describes."""
    return _PHRASE.search(text) is None and bool(classes_in(text))


def classes_in(text: str) -> tuple[str, ...]:
    """Return the class names in the order in which they are asked for; () if the text lists none.

    Reads ``['a', "b"]``, ``["a", "b"]`` and ``[a, b]``, lines with bullets, and ``a, b, c.``
    """
    match = _CLASSES.search(text)
    if match is None:
        return ()
    rest = match["classes"] or match["list"]
    if rest.startswith("["):
        return _bracketed(rest)
    lines = rest.splitlines()
    bullets = [found["name"] for line in lines if (found := _BULLET.match(line))]
    if bullets:
        return tuple(bullets)
    names = _INSTRUCTIONS.sub("", rest).splitlines()[0].strip().removesuffix(".").split(",")
    return tuple(name for part in names if (name := part.strip().strip("\"'").strip()))


def _bracketed(text: str) -> tuple[str, ...]:
    """Return the names in a list as Python or JSON writes it; () if the list has no end."""
    names: list[str] = []
    position = 1
    while match := _NAME.match(text, position):
        quoted = match["single"] if match["single"] is not None else match["double"]
        name = (match["bare"] or "") if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if name.strip():
            names.append(name.strip())
        if match["end"] == "]":
            return tuple(names)
        position = match.end()
    return ()
