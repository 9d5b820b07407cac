"""Draws a sample for a page: the image, with answers over it. The image is embedded as a JPEG, or
the page asks for it at an address.

The task of the sample says how an answer is drawn (``Task.marks``) and written (``Task.words``).
For a task that is not installed here nothing is drawn, and the plain value is written. The template
``picture.html`` turns a ``Picture`` into inline SVG.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from syngrpo.boxes import area, decode_mask
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks import Mark, Task, get_task
from syngrpo.tasks.asking import marks_of, words_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """A mark with its style. ``kind`` is the class in ``style.css``; ``halo``: whether it has a
    light edge; ``text_at`` is the position (x, baseline y) of the label in pixels of the image,
    None for a label that is shown only when the pointer is over the mark. ``answer`` is the number
    of the answer, among several, that the mark belongs to; None for the ground truth and for a
    single answer."""

    kind: str
    mark: Mark
    halo: bool
    text_at: tuple[float, float] | None
    answer: int | None = None


@dataclass(frozen=True)
class Picture:
    """An image with marks. ``width``, ``height`` and all marks are in pixels of the original image;
    ``letters`` is the font size of labels in those pixels. ``href`` is the address of the image: a
    data URI that holds it, or one that the browser asks for; it is empty, and ``problem`` says why,
    if the image cannot be read. ``masks`` is a data URI of the masks, drawn over the image; "" for
    none."""

    width: int
    height: int
    href: str
    question: str
    letters: float
    drawn: tuple[Drawn, ...]
    problem: str = ""
    masks: str = ""


SEED_SIDE, CASE_SIDE = 320, 360
"""Largest side of an embedded picture in pixels, in the report of a run and in the page of an
evaluation."""
MASK_SIDE, MASK_OPACITY = 1024, 110
"""Largest side of a picture of masks in pixels, and their opacity from 0 to 255."""
MASK_COLOURS = ((63, 131, 204), (217, 130, 43), (61, 154, 104), (163, 81, 159), (42, 157, 157))
HIT = 0.5
"""Accuracy from which one of several answers is drawn as right."""


def sample_picture(sample: Sample, href: str | None = None, labels: bool = False) -> Picture:
    """Return the picture of a sample with frames around its answer and dashed frames around the
    other labelled objects. With ``href``, the image is not read but named by this address. With
    ``labels``, the labels of the other objects are written, too."""
    letters = max(sample.image.width, sample.image.height) / (36 if labels else 22)
    answer = answer_marks(sample, sample.answer)
    asked = {tuple(mark.box) for mark in answer if mark.box is not None}

    def above(mark: Mark) -> tuple[float, float]:
        x, y = _corner(mark)
        return x, max(y - 0.2 * letters, 0.8 * letters)

    others = [
        Mark(thing.label, box=thing.box)
        for thing in sample.objects
        if tuple(thing.box) not in asked
    ]
    drawn = [Drawn("other", mark, False, above(mark) if labels else None) for mark in others]
    drawn += [Drawn("asked", mark, False, above(mark)) for mark in answer]
    return _picture(sample, letters, drawn, SEED_SIDE, 88, href)


def picture_of_masks(sample: Sample, side: int = MASK_SIDE) -> str:
    """Return the masks of the labelled objects as a data URI of a PNG with at most ``side`` pixels
    on its longer side, transparent where there is none; "" for a sample without masks.

    Raises InputError for a mask that is not valid.
    """
    paint = np.zeros((0, 0, 4), np.uint8)
    for number, code in enumerate(one.mask for one in sample.objects if one.mask is not None):
        mask = decode_mask(code)
        step = -(-max(mask.shape) // side)
        mask = mask[::step, ::step]
        if number == 0:
            paint = np.zeros((*mask.shape, 4), np.uint8)
        elif mask.shape != paint.shape[:2]:
            raise InputError(f"the masks of sample {sample.id} have different sizes")
        paint[mask] = (*MASK_COLOURS[number % len(MASK_COLOURS)], MASK_OPACITY)
    if not paint.size:
        return ""
    picture = Image.fromarray(paint)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def answered_picture(
    sample: Sample,
    truth: Any,
    found: Any | None,
    href: str | None = None,
    second: Any | None = None,
) -> Picture:
    """Return the picture of a sample with the ground truth and a model's answer in two colours;
    ``found`` is None when the answer could not be read. Labels of the truth are written above its
    marks, those of the answer at the lower edge of a box or below a point. With ``href``, the image
    is not read but named by this address. ``second`` is the answer of another model, whose labels
    are shown when the pointer is over a mark."""
    letters = max(sample.image.width, sample.image.height) / 24
    drawn = []
    for mark in answer_marks(sample, truth):
        x, y = _corner(mark)
        place = (x + letters / 5, max(y - letters / 4, letters))
        drawn.append(Drawn("truth", mark, True, place))
    for mark in answer_marks(sample, found):
        x, _ = _corner(mark)
        bottom = mark.box[3] - letters / 4 if mark.box else _corner(mark)[1] + 1.5 * letters
        drawn.append(Drawn("found", mark, True, (x + letters / 5, bottom)))
    drawn += [Drawn("second", mark, True, None) for mark in answer_marks(sample, second)]
    return _picture(sample, letters, drawn, CASE_SIDE, 85, href)


def picture_with_answers(
    sample: Sample, answers: Sequence[tuple[float, Sequence[Mark]]], href: str | None = None
) -> Picture:
    """Return the picture of a sample with its ground truth and several answers: the accuracy and
    the marks of each. Their labels are shown when the pointer is over a mark; smaller boxes are on
    top, so that it can be over each of them. With ``href``, the image is not read but named by this
    address."""
    letters = max(sample.image.width, sample.image.height) / 24
    truth = [Drawn("truth", mark, True, None) for mark in answer_marks(sample, sample.answer)]
    found = [
        (-area(mark.box) if mark.box else 0.0, accuracy, number, mark)
        for number, (accuracy, marks) in enumerate(answers)
        for mark in marks
    ]
    found.sort(key=lambda one: one[:2])
    kinds = ["right" if accuracy >= HIT else "wrong" for accuracy, _ in answers]
    drawn = [Drawn(kinds[number], mark, False, None, number) for *_, number, mark in found]
    return _picture(sample, letters, truth + drawn, CASE_SIDE, 85, href)


def answer_marks(sample: Sample, answer: Any | None) -> list[Mark]:
    """Return the marks that draw an answer to the sample; none for None, an answer that could not
    be read."""
    return marks_of(sample, answer) if installed_task(sample.task) is not None else []


def answer_words(sample: Sample, answer: Any | None) -> str:
    """Return an answer to the sample in a few words."""
    if answer is None:
        return "unreadable"
    return words_of(sample, answer) if installed_task(sample.task) is not None else str(answer)


def words_beside_picture(sample: Sample) -> str:
    """Return the answer of a sample in words if its marks do not show all of it, otherwise "".
    Boxes and points without labels show all of it."""
    marks = answer_marks(sample, sample.answer)
    if marks and not any(mark.label for mark in marks):
        return ""
    return answer_words(sample, sample.answer)


def installed_task(name: str) -> Task | None:
    """Return the task of that name, None when it is not installed here."""
    try:
        return get_task(name)
    except InputError:
        return None


def _corner(mark: Mark) -> tuple[float, float]:
    """Return the upper left corner of a box, or the point."""
    if mark.box is not None:
        return mark.box[0], mark.box[1]
    return mark.point or (0.0, 0.0)


def _picture(
    sample: Sample,
    letters: float,
    drawn: Iterable[Drawn],
    side: int,
    quality: int,
    href: str | None,
) -> Picture:
    image, problem = sample.image, ""
    if href is None:
        try:
            href = _data_uri(image, side, quality)
        except InputError as error:
            href, problem = "", str(error)
            logger.warning("sample %s is drawn without its image: %s", sample.id, problem)
    marks = tuple(drawn)
    return Picture(image.width, image.height, href, sample.question, letters, marks, problem)


def _data_uri(encoded: EncodedImage, longer_side: int, quality: int) -> str:
    """Return the image as a data URI of a JPEG with at most ``longer_side`` pixels on its longer
    side. Raises InputError for an image that cannot be decoded."""
    image = Image.fromarray(encoded.decode())
    image.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
