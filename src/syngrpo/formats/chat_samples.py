"""Turns the row of another program into rows of our JSONL: it finds the question in the text, the
boxes in the answer, and the task that fits both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from syngrpo.formats.answer_boxes import answer_text, boxes_in, from_json
from syngrpo.formats.box_layout import Coordinates
from syngrpo.formats.chat_rows import ChatRow, Grounded
from syngrpo.formats.question_texts import classes_in, is_detection, phrase_in
from syngrpo.sample import InputError
from syngrpo.tasks import Task, default_task, get_task
from syngrpo.tasks.labels import class_key, class_name, shown

Labelled = tuple[str | None, Any]

_THOUSAND = re.compile(r"\b(?:between|from)\s+0\s+(?:and|to)\s+1000\b", re.IGNORECASE)
"""Matches the instruction by which Visual-RFT asks for coordinates."""


@dataclass(frozen=True)
class OurRow:
    """A row of our JSONL without id, image and columns. ``coordinates``: what its boxes count, if
    the row says it; ``renamed``: class names that lost a comma; ``unfit``: whether its phrase fits
    no object or several, so that it is asked as a class."""

    values: dict[str, Any]
    coordinates: Coordinates | None = None
    renamed: tuple[str, ...] = ()
    unfit: bool = False


def our_rows(chat: ChatRow, task: Task | None) -> Iterator[OurRow]:
    """Yield the rows for a row of another program, several if it describes several objects.

    ``task`` is the user's. Without one, the answer decides: one box answers a phrase; labelled
    boxes, none or several ask for classes. Raises InputError when the row is not valid.
    """
    if task is not None and task.asks_for == "question":
        text = chat.answer
        answer = from_json(answer_text(text)) if isinstance(text, str) else text
        yield OurRow({"task": task.name, "question": chat.text, "answer": answer})
    elif chat.grounded is not None:
        yield from _of_objects(chat.grounded, task)
    else:
        yield _of_answer(chat, task)


def _of_answer(chat: ChatRow, task: Task | None) -> OurRow:
    if chat.answer is None:
        raise InputError("the row has no answer; boxes are read from a gpt turn or a solution")
    found = boxes_in(chat.answer)
    coordinates = found.coordinates or ("0-1000" if _THOUSAND.search(chat.text) else None)
    if task is None:
        detection = _is_detection(found.objects, chat.text)
        task = get_task(default_task("classes" if detection else "object"))
    if task.asks_for == "object":
        return OurRow({"task": task.name} | _expression(found.objects, chat.text), coordinates)
    names, unfit = _asked(found.objects, chat.text)
    labelled = [_with_label(one, names) for one in found.objects]
    return OurRow(
        {"task": task.name} | _detection(labelled, names),
        coordinates,
        tuple(name for name in names if "," in name),
        unfit,
    )


def _is_detection(found: Sequence[Labelled], text: str) -> bool:
    """Return whether a row asks for classes. A single box answers a phrase, unless the text asks
    for classes."""
    labelled = all(label is not None for label, _ in found)
    return len(found) != 1 or (is_detection(text) and (labelled or len(classes_in(text)) == 1))


def _expression(found: Sequence[Labelled], text: str) -> dict[str, Any]:
    if len(found) != 1:
        raise InputError(
            f"the answer holds {len(found)} boxes; a phrase is answered by one box, and without "
            "task the row asks for a class"
        )
    label, box = found[0]
    row = {"question": phrase_in(text), "answer": box}
    if label is not None:
        row["objects"] = [{"label": label, "box": box}]
    return row


def _asked(found: Sequence[Labelled], text: str) -> tuple[tuple[str, ...], bool]:
    """Return the class names that a text asks for, and whether it is a phrase that no or several
    objects fit. Without a list in the text, what was found is what was asked for."""
    if asked := classes_in(text):
        return asked, False
    labels = tuple(dict.fromkeys(label for label, _ in found if label is not None))
    if labels:
        return labels, False
    phrase = phrase_in(text)
    if not class_name(phrase):
        raise InputError(f"no class names are found in the question {shown(text)}")
    return (phrase,), True


def _with_label(item: Labelled, asked: Sequence[str]) -> tuple[str, Any]:
    label, box = item
    if label is None and len(asked) == 1:
        label = asked[0]
    if label is None:
        raise InputError(
            f"the answer {shown(box)} has no label; where classes are asked for, each box needs one"
        )
    return label, box


def _detection(found: Sequence[tuple[str, Any]], asked: Sequence[str]) -> dict[str, Any]:
    objects = [{"label": class_name(label), "box": box} for label, box in found]
    names = {class_key(name): name for name in map(class_name, reversed(asked)) if name}
    unasked = sorted({t["label"] for t in objects if class_key(t["label"]) not in names})
    if unasked:
        raise InputError(f"the answer has labels that are not asked for: {shown(unasked)}")
    return {"question": ", ".join(reversed(names.values())), "answer": objects, "objects": objects}


def _of_objects(grounded: Grounded, task: Task | None) -> Iterator[OurRow]:
    """Yield a row for every asked phrase that has one box, or one that asks for all of them."""
    boxes = {name: [b for label, b in grounded.objects if label == name] for name in grounded.asked}
    if not boxes:
        raise InputError("objects has no ref, so nothing can be asked for")
    objects = [{"label": class_name(label), "box": box} for label, box in grounded.objects]
    single = all(len(found) == 1 for found in boxes.values())
    if task is None:
        task = get_task(default_task("object" if single else "classes"))
    if task.asks_for == "object":
        for name, found in boxes.items():
            if len(found) != 1:
                raise InputError(f"{shown(name)} has {len(found)} boxes; a phrase has one box")
            values = {"task": task.name, "question": name, "answer": found[0], "objects": objects}
            yield OurRow(values, grounded.coordinates)
        return
    renamed = tuple(name for name in grounded.asked if "," in name)
    wanted = [thing for thing in grounded.objects if thing[0] in boxes]
    values = {"task": task.name, **_detection(wanted, grounded.asked), "objects": objects}
    yield OurRow(values, grounded.coordinates, renamed)
