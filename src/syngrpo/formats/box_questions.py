"""Builds questions and answers for formats that hold only labelled boxes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from syngrpo.boxes import area
from syngrpo.formats.base import Problems
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.asking import marks_of
from syngrpo.tasks.base import AsksFor, Mark
from syngrpo.tasks.labels import class_name

BOXES: tuple[AsksFor, ...] = ("object", "classes")
"""The kinds of question that can be asked about labelled boxes."""


def note_renamed(names: Iterable[str], where: str, problems: Problems) -> None:
    """Note which class names hold a comma, and the names without it that are used instead."""
    renamed = [name for name in dict.fromkeys(names) if "," in name]
    if renamed:
        problems.note(
            f"{where}: class names hold no comma here: "
            + "; ".join(f"{name!r} is called {class_name(name)!r}" for name in renamed[:5])
            + (f"; and {len(renamed) - 5} more" if len(renamed) > 5 else "")
        )


def with_absent(
    present: Sequence[str], absent: Sequence[str], negatives: int, seed: int, name: object
) -> list[str]:
    """Return the classes to ask for about an image: all that are present and ``negatives`` of the
    absent ones, in an order drawn from ``seed`` and the image's ``name``."""
    draw = random.Random(f"{seed} {name}")
    asked = [*present, *draw.sample(absent, min(negatives, len(absent)))]
    draw.shuffle(asked)
    return asked


def boxes_of_answer(sample: Sample, whose: str) -> list[Mark]:
    """Return the answer of a sample as labelled boxes, for a format that holds nothing else.

    ``whose`` is the name of the format in the message: "COCO's". Raises InputError when the answer
    does not consist of boxes.
    """
    task = get_task(sample.task)
    marks = [_framed(mark, sample) for mark in marks_of(sample, sample.answer)]
    framed = all(mark.box is not None for mark in marks)
    one = len(marks) == 1 or task.asks_for != "object"
    if task.asks_for not in BOXES or not framed or not one:
        raise InputError(
            f"sample {sample.id} has task {sample.task}, for which {whose} format has no place; "
            "write jsonl or hf"
        )
    return marks


def _framed(mark: Mark, sample: Sample) -> Mark:
    """Return a box for the mark: for a point, that of the smallest labelled object around it."""
    if mark.box is not None or mark.point is None:
        return mark
    x, y = mark.point
    boxes = [thing.box for thing in sample.objects]
    around = [box for box in boxes if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
    return Mark(mark.label, box=min(around, key=area)) if around else mark
