"""Asks the task of a sample: for the prompt, the score of an answer, the rules for painting, marks.

All other folders call a task through these functions, or within ``task_errors``. So an error in a
user's task becomes one line that says which task, which method and which sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from syngrpo.boxes import CoordinateFrame
from syngrpo.extensions import reason_of
from syngrpo.sample import Box, InputError, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.base import Constraints, Mark, PromptStyle, Task
from syngrpo.tasks.labels import shown

ROUNDING_DIGITS = 6
"""An accuracy may leave [0, 1] by less than half of the last of these decimal places."""


@contextmanager
def task_errors(task: Task, method: str, where: str) -> Iterator[None]:
    """Raise InputError for any error of the block, which calls this method of the task.

    ``where`` says what it is called for, such as "sample r-17". An InputError stays as it is.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"task {task.name} failed in {method} on {where} ({reason_of(error)})"
        ) from error


def prompt_of(sample: Sample, style: PromptStyle) -> str:
    """Return the text beside the image. Raises InputError when the task gives none."""
    task = get_task(sample.task)
    with task_errors(task, "prompt", f"sample {sample.id}"):
        text = task.prompt(sample, style)
    if not isinstance(text, str):
        raise _wrong(task, "prompt", text, sample, "a text")
    return text


class ScoredAnswer(NamedTuple):
    """What an answer says.

    ``prediction`` is in original pixels, None if there is no answer or it cannot be read;
    ``accuracy`` is in [0, 1]. ``other_scale``: whether its boxes are on another scale than that of
    the model's coordinates, such as 0–1 instead of pixels. ``outside``: whether a box reaches out
    of the image.
    """

    prediction: Any | None
    accuracy: float
    other_scale: bool = False
    outside: bool = False


def scored_answer(sample: Sample, answer: str | None, frame: CoordinateFrame) -> ScoredAnswer:
    """Read and score an answer.

    ``answer`` is the text inside ``<answer>…</answer>``, None for a response without one. An answer
    whose boxes are all between 0 and 1, where the model writes pixels or thousandths, has the
    accuracy 0. Raises InputError when the task fails, or when the accuracy is no number in [0, 1].
    """
    task, where = get_task(sample.task), f"sample {sample.id}"
    prediction: Any | None = None
    boxes: Sequence[Box] = ()
    if answer is not None:
        with task_errors(task, "read", where):
            prediction = task.read(answer)
    if prediction is not None:
        with task_errors(task, "boxes", where):
            boxes = task.boxes(prediction)
        with task_errors(task, "to_original", where):
            prediction = task.to_original(prediction, frame)
    with task_errors(task, "score", where):
        score = task.score(prediction, sample)
        accuracy = float(score)
    if not 0 <= round(accuracy, ROUNDING_DIGITS) <= 1:  # also NaN
        raise _wrong(task, "score", score, sample, "a number from 0 to 1")
    shares = _are_shares(boxes, frame)
    return ScoredAnswer(
        prediction,
        0.0 if shares else accuracy,
        other_scale=shares or any(_lies_outside(box, frame) for box in boxes),
        outside=any(_reaches_outside(box, frame) for box in boxes),
    )


def _are_shares(boxes: Sequence[Box], frame: CoordinateFrame) -> bool:
    """Return whether all boxes are between 0 and 1 although the model's coordinates are not."""
    return frame.width > 1 and len(boxes) > 0 and all(max(map(abs, box)) <= 1 for box in boxes)


def _lies_outside(box: Box, frame: CoordinateFrame) -> bool:
    """Return whether no part of a box in model units is inside the image."""
    x1, y1, x2, y2 = box
    return x1 >= frame.width or y1 >= frame.height or x2 <= 0 or y2 <= 0


def _reaches_outside(box: Box, frame: CoordinateFrame) -> bool:
    x1, y1, x2, y2 = box
    return x1 < 0 or y1 < 0 or x2 > frame.width or y2 > frame.height


def constraints_of(sample: Sample) -> Constraints:
    """Return the rules for an image that is painted from the sample."""
    task = get_task(sample.task)
    with task_errors(task, "constraints", f"sample {sample.id}"):
        constraints = task.constraints(sample)
    if not isinstance(constraints, Constraints):
        raise _wrong(task, "constraints", constraints, sample, "Constraints")
    return constraints


def chance_of(sample: Sample) -> float:
    """Return the expected accuracy of a guess. Raises InputError when it is not in [0, 1)."""
    task = get_task(sample.task)
    with task_errors(task, "chance", f"sample {sample.id}"):
        chance = float(task.chance(sample))
    if not 0 <= chance < 1:
        raise _wrong(task, "chance", chance, sample, "a number from 0 to below 1")
    return chance


def answer_with_boxes(sample: Sample, change: Callable[[Box], Box]) -> Any:
    """Return the sample's ground truth with ``change(box)`` in the place of every box in it."""
    task = get_task(sample.task)
    with task_errors(task, "map_boxes", f"sample {sample.id}"):
        return task.map_boxes(sample.answer, change)


def marks_of(sample: Sample, answer: Any | None) -> list[Mark]:
    """Return the marks that draw an answer to the sample over its image; none for None."""
    task = get_task(sample.task)
    if answer is None:
        return []
    with task_errors(task, "marks", f"sample {sample.id}"):
        return list(task.marks(answer))


def words_of(sample: Sample, answer: Any) -> str:
    """Return an answer to the sample in a few words."""
    task = get_task(sample.task)
    with task_errors(task, "words", f"sample {sample.id}"):
        return task.words(answer)


def _wrong(task: Task, method: str, value: Any, sample: Sample, wanted: str) -> InputError:
    return InputError(
        f"task {task.name} gave {shown(value)} from {method} for sample {sample.id}; it must "
        f"return {wanted}"
    )
