"""One sample as a picture in the page: the image, its answer, and what else is labelled in it."""

from __future__ import annotations

from html import escape

from syngrpo.formats.answers import answer_boxes, answer_words
from syngrpo.formats.thumbnails import data_uri
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
    embedded = data_uri(sample.image, THUMBNAIL, quality=88)
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' "
        f"aria-label='{escape(sample.question, quote=True)}'><image width='{width}' "
        f"height='{height}' href='{embedded}'/>{''.join(frames + names)}</svg>"
    )


def question_and_answer(sample: Sample) -> str:
    """The question, and the answer where frames alone do not say it."""
    words = answer_words(sample.answer)
    answer = f" <span class='fact'>→ <b>{escape(words)}</b></span>" if words else ""
    return f"<b>{escape(sample.question)}</b>{answer}"


def _frame(label: str, box: Box, kind: str) -> str:
    x1, y1, x2, y2 = box
    title = f"<title>{escape(label)}</title>" if label else ""
    return (
        f"<rect class='{kind}' x='{x1:.1f}' y='{y1:.1f}' width='{x2 - x1:.1f}' "
        f"height='{y2 - y1:.1f}'>{title}</rect>"
    )
