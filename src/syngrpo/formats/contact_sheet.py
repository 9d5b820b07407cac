"""Samples on one picture, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from syngrpo.formats.answers import answer_boxes
from syngrpo.sample import Sample

CAPTION_HEIGHT = 44
LETTER_WIDTH = 7


def contact_sheet(samples: Sequence[Sample], columns: int = 6, scale: int = 2) -> Image.Image:
    """Samples row by row, enlarged, each with the boxes of its answer and its question below; an
    answer that is no box is written after the question.

    There must be at least one. Raises InputError for an image that cannot be decoded.
    """
    font = ImageFont.load_default(size=13)
    width = scale * max(sample.image.width for sample in samples)
    height = scale * max(sample.image.height for sample in samples) + CAPTION_HEIGHT
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (min(columns, len(samples)) * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, sample in enumerate(samples):
        left, top = number % columns * width, number // columns * height
        picture = Image.fromarray(sample.image.decode())
        sheet.paste(picture.resize((picture.width * scale, picture.height * scale)), (left, top))
        boxes = answer_boxes(sample.answer)
        for _, box in boxes:
            x1, y1, x2, y2 = (scale * value for value in box)
            draw.rectangle((left + x1, top + y1, left + x2, top + y2), outline="magenta", width=2)
        caption = "\n".join(
            wrap(sample.question + _said(sample, bool(boxes)), width // LETTER_WIDTH)[:2]
        )
        below = top + height - CAPTION_HEIGHT + 4
        draw.multiline_text((left + 4, below), caption, fill="black", font=font)
    return sheet


def _said(sample: Sample, drawn: bool) -> str:
    """What is written behind the question of an answer that could not be drawn."""
    if drawn:
        return ""
    return ": None" if sample.answer == () else f" {sample.answer}"
