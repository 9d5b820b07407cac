"""Takes question, answer and image out of a row of another program, whatever its keys are.

| keys | programs |
|---|---|
| ``conversations`` (``from``, ``value``), ``image`` | VLM-R1, LLaVA, LLaMA-Factory (sharegpt) |
| ``messages`` (``role``, ``content``), ``images``, ``objects`` | ms-swift, LLaMA-Factory, OpenAI |
| ``problem``, ``solution`` or ``answer``, ``image`` or ``images`` | R1-V, Visual-RFT, EasyR1 |
| ``query``, ``response``, ``images`` | ms-swift before version 3 |
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from syngrpo.formats.box_layout import Coordinates
from syngrpo.formats.question_texts import without_image_mark
from syngrpo.sample import InputError
from syngrpo.tasks.labels import shown

TURNS = ("conversations", "messages")
QUESTIONS = ("problem", "query")
ANSWERS = ("solution", "answer", "response")
IMAGES = ("image", "images", "image_path")
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
SYSTEM = ("system", "developer")

REF_MARK, BOX_MARK = "<ref-object>", "<bbox>"
"""ms-swift's marks in texts, which stand for the items of ``objects.ref`` and ``objects.bbox``."""
UNITS_OF_SWIFT: dict[str, Coordinates] = {"real": "pixels", "norm1": "0-1", "norm1000": "0-1000"}


@dataclass(frozen=True)
class Grounded:
    """ms-swift's ``objects``: labelled boxes, the labels that the question names (all labels if it
    names none), and what the numbers count."""

    objects: list[tuple[str, Any]]
    asked: list[str]
    coordinates: Coordinates | None


@dataclass(frozen=True)
class ChatRow:
    """The parts of a row, unchecked. ``text``: the question with its instructions, without the mark
    of the image; ``columns``: the values of all other keys."""

    text: str
    answer: Any
    image: Any
    grounded: Grounded | None = None
    columns: dict[str, Any] = field(default_factory=dict)


def program_of(row: Mapping[str, Any]) -> str | None:
    """Return the key by which a row is one of another program: ``conversations``, ``messages``,
    ``problem`` or ``query``; None for any other row."""
    if isinstance(row.get("conversations"), list):
        return "conversations"
    if isinstance(row.get("messages"), list):
        return "messages"
    named = next((key for key in QUESTIONS if isinstance(row.get(key), str)), None)
    return named if any(key in row for key in (*IMAGES, *ANSWERS)) else None


def column_of(names: Collection[str]) -> str | None:
    """Return the column by which a table is one of another program; None for any other table."""
    return next((key for key in (*TURNS, *QUESTIONS) if key in names), None)


def chat_row(row: Mapping[str, Any]) -> ChatRow:
    """Return the parts of a row. Raises InputError when it has no question."""
    key = program_of(row) or next((key for key in TURNS if key in row), None)
    if key is None:
        keys = ", ".join(map(shown, row))
        raise InputError(
            f"the row has the keys {keys}, and neither turns ({', '.join(TURNS)}) nor a question "
            f"({', '.join(QUESTIONS)})"
        )
    used = {key, "id", *(name for name in IMAGES if name in row)}
    image = next((row[name] for name in IMAGES if row.get(name) is not None), None)
    if key in TURNS:
        text, answer, own_image = _turns(row[key], key)
        image = own_image if image is None else image
    else:
        text, answer = row[key], None
    if answer is None:
        name = next((name for name in ANSWERS if row.get(name) is not None), None)
        answer = row.get(name) if name is not None else None
        used |= {name} if name is not None else set()
    grounded = None
    if key != "conversations" and row.get("objects") is not None:
        grounded = _grounded(row["objects"], text, answer)
        used.add("objects")
    columns = {name: value for name, value in row.items() if name not in used}
    return ChatRow(without_image_mark(text), answer, _one(image), grounded, columns)


def _turns(turns: Any, key: str) -> tuple[str, Any, Any]:
    """Return the text of the human turn, the value of the gpt turn (None if there is none), and the
    image that the human turn holds, if any."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"{key} is {shown(turns)}, not a list of turns")
    speakers = [str(turn.get("from", turn.get("role"))) for turn in turns]
    kept = [turn for turn, who in zip(turns, speakers, strict=True) if who not in SYSTEM]
    known = [SPEAKERS.get(who) for who in speakers if who not in SYSTEM]
    if known not in (["human", "gpt"], ["human"]):
        raise InputError(
            f"{key} has turns from {shown(speakers)}; write one from human and one from gpt"
        )
    values = [turn.get("value", turn.get("content")) for turn in kept]
    text, image = _content(values[0])
    answer = values[1] if len(values) == 2 else None
    if key == "messages" and _is_parts(answer):
        answer, _ = _content(answer)
    return text, answer, image


def _is_parts(value: Any) -> bool:
    """Return whether the content of a turn is a list of typed parts."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(part, dict) and "type" in part for part in value)
    )


def _content(value: Any) -> tuple[str, Any]:
    """Return the text of a turn, and the image in it if its content is a list of parts."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise InputError(f"the human turn is {shown(value)}, not a text")
    texts = [part["text"] for part in value if isinstance(part.get("text"), str)]
    images = [part for part in value if part.get("type") in ("image", "image_url")]
    if len(images) > 1:
        raise InputError(f"the human turn has {len(images)} images; only rows with one can be used")
    return "\n".join(texts), _image_of(images[0]) if images else None


def _image_of(part: Mapping[str, Any]) -> Any:
    named = (part.get(key) for key in ("image", "image_url", "path", "url"))
    value = next((one for one in named if one is not None), None)
    return value.get("url") if isinstance(value, dict) else value


def _one(image: Any) -> Any:
    """Return the only image of a row, as a path if it is an object with one."""
    if isinstance(image, list):
        if len(image) != 1:
            raise InputError(f"image lists {len(image)} images; only rows with one can be used")
        image = image[0]
    if isinstance(image, dict) and isinstance(image.get("path"), str) and not image.get("bytes"):
        return image["path"]
    return image


def _grounded(value: Any, text: str, answer: Any) -> Grounded:
    """Read ms-swift's ``objects``, of any of its versions."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f"objects is {shown(value)}, neither JSON nor an object") from None
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        kinds = [one.get("bbox_type") for one in value]
        value = {
            "ref": [one.get("caption") for one in value],
            "bbox": [one.get("bbox") for one in value],
            "bbox_type": kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None,
        }
    if not isinstance(value, dict):
        raise InputError(f"objects is {shown(value)}, not an object with ref and bbox")
    refs, boxes = value.get("ref") or [], value.get("bbox") or []
    kind = value.get("bbox_type")
    known = kind is None or (isinstance(kind, str) and kind in UNITS_OF_SWIFT)
    if not _are_texts(refs) or not isinstance(boxes, list) or not known:
        raise InputError(f"objects is {shown(value)}, not an object with ref, bbox and bbox_type")
    if BOX_MARK in text:
        raise InputError(f"the question has a {BOX_MARK}; only answers with boxes can be used")
    named = text.count(REF_MARK)
    asked, labels = refs[:named], refs
    if isinstance(answer, str) and REF_MARK in answer:
        labels = refs[named:]
    if len(labels) == 1:
        labels = labels * len(boxes)
    if len(labels) != len(boxes):
        raise InputError(
            f"objects has {len(labels)} ref and {len(boxes)} bbox; write one ref for each bbox, or "
            "one for all"
        )
    return Grounded(
        list(zip(labels, boxes, strict=True)),
        list(dict.fromkeys(asked or labels)),
        None if kind is None else UNITS_OF_SWIFT[kind],
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
