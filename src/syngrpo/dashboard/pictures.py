"""One sample as a picture in the page: the image, its answer, and what else is labelled in it."""

from __future__ import annotations

import base64
import io
from collections import Counter
from html import escape
from typing import Any

from PIL import Image

from syngrpo.sample import Box, Sample

THUMBNAIL = 320
"""Longer side of an embedded picture in pixels, at most."""


def picture(sample: Sample) -> str:
    """The image as a JPEG in an inline ``<svg>``; the boxes of the answer framed, with their
    classes where it has any, the other labelled objects dashed."""
    width, height = sample.image.width, sample.image.height
    answer = answer_boxes(sample.answer)
    asked = {box for _, box in answer}
    others = [(t.label, t.box) for t in sample.objects if tuple(t.box) not in asked]
    size = max(width, height) / 22
    frames = [_frame(label, box, "other") for label, box in others]
    frames += [_frame(label, box, "asked") for label, box in answer]
    names = [
        f"<text x='{box[0]:.1f}' y='{max(box[1] - 0.2 * size, 0.8 * size):.1f}' "
        f"font-size='{size:.1f}'>{escape(label)}</text>"
        for label, box in answer
        if label
    ]
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' "
        f"aria-label='{escape(sample.question, quote=True)}'><image width='{width}' "
        f"height='{height}' href='{_data_uri(sample)}'/>{''.join(frames + names)}</svg>"
    )


def question_and_answer(sample: Sample) -> str:
    """The question, and the answer where frames alone do not say it."""
    words = answer_words(sample.answer)
    answer = f" <span class='fact'>→ <b>{escape(words)}</b></span>" if words else ""
    return f"<b>{escape(sample.question)}</b>{answer}"


def answer_boxes(answer: Any) -> list[tuple[str, Box]]:
    """Class ("" without one) and box of everything that a ground truth, of whatever task, frames:
    one box, a list of labelled boxes, or nothing."""
    if _is_box(answer):
        return [("", answer)]
    if _is_list_of_instances(answer):
        return [(instance["label"], tuple(instance["box"])) for instance in answer]
    return []


def answer_words(answer: Any) -> str:
    """ "2 lamp, 1 chair", "none of them", "kitchen", "3"; "" for a single box."""
    if _is_box(answer):
        return ""
    if _is_list_of_instances(answer):
        counts = Counter(instance["label"] for instance in answer)
        return ", ".join(f"{n} {label}" for label, n in counts.items()) or "none of them"
    return str(answer)


def _is_box(answer: Any) -> bool:
    if not isinstance(answer, tuple) or len(answer) != 4:
        return False
    return all(isinstance(value, int | float) for value in answer)


def _is_list_of_instances(answer: Any) -> bool:
    return isinstance(answer, tuple | list) and all(
        isinstance(item, dict) and item.keys() >= {"label", "box"} for item in answer
    )


def _frame(label: str, box: Box, kind: str) -> str:
    x1, y1, x2, y2 = box
    title = f"<title>{escape(label)}</title>" if label else ""
    return (
        f"<rect class='{kind}' x='{x1:.1f}' y='{y1:.1f}' width='{x2 - x1:.1f}' "
        f"height='{y2 - y1:.1f}'>{title}</rect>"
    )


def _data_uri(sample: Sample) -> str:
    image = Image.fromarray(sample.image.decode())
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
