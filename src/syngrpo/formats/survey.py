"""Counts what a data set holds, and draws an overview of its samples, for ``data check``."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw

from syngrpo.boxes import area
from syngrpo.formats.image_files import image_key
from syngrpo.formats.sheet_text import draw_text
from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import Mark
from syngrpo.tasks.asking import marks_of, words_of

CAPTION_HEIGHT = 44
LETTER_WIDTH = 7
LINE_HEIGHT = 17
POINT_RADIUS = 4


@dataclass
class Survey:
    """Counts of a data set.

    ``sizes``: (width, height) of every image in pixels; ``boxes_per_image``: one number for each
    image; ``area_shares``: for every box its share of the image's area, in [0, 1]. An object that
    several samples of an image have counts once.
    """

    tasks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    boxes_per_image: list[int] = field(default_factory=list)
    area_shares: list[float] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    nothing_to_find: int = 0
    rotated: int = 0

    @property
    def rows(self) -> int:
        """The number of samples."""
        return self.tasks.total()


def survey(samples: Iterable[Sample]) -> Survey:
    """Return the counts of a data set. No image is read."""
    result = Survey()
    images: dict[Path | int, tuple[EncodedImage, dict[Any, bool]]] = {}
    for sample in samples:
        result.tasks[sample.task] += 1
        if isinstance(kind := sample.columns.get("kind"), str):
            result.kinds[kind] += 1
        result.nothing_to_find += sample.answer == ()
        _, objects = images.setdefault(image_key(sample.image), (sample.image, {}))
        for thing in sample.objects:
            key = (thing.label, thing.box)
            objects[key] = objects.get(key, False) or thing.mask is not None
    for image, objects in images.values():
        result.sizes.append((image.width, image.height))
        result.boxes_per_image.append(len(objects))
        result.classes.update(label for label, _ in objects)
        result.area_shares += [area(box) / (image.width * image.height) for _, box in objects]
        result.masks += sum(objects.values())
        result.rotated += image.orientation != 1
    return result


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return minimum, median and maximum of at least one value."""
    return min(values), statistics.median(values), max(values)


def contact_sheet(
    samples: Sequence[Sample], columns: int = 6, scale: int = 2, words: bool = True
) -> Image.Image:
    """Return a picture of the samples (at least one), row by row, enlarged by ``scale``. Each has
    its answer drawn on it and its question below. With ``words``, an answer that cannot be drawn is
    written after the question.

    Raises InputError for an image that cannot be decoded.
    """
    width = scale * max(sample.image.width for sample in samples)
    height = scale * max(sample.image.height for sample in samples) + CAPTION_HEIGHT
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (min(columns, len(samples)) * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, sample in enumerate(samples):
        left, top = number % columns * width, number // columns * height
        picture = Image.fromarray(sample.image.decode())
        sheet.paste(picture.resize((picture.width * scale, picture.height * scale)), (left, top))
        marks = marks_of(sample, sample.answer)
        for mark in marks:
            _draw(draw, mark, left, top, scale)
        said = f" {words_of(sample, sample.answer)}" if words and not marks else ""
        below = top + height - CAPTION_HEIGHT + 4
        for row, line in enumerate(wrap(sample.question + said, width // LETTER_WIDTH)[:2]):
            draw_text(draw, (left + 4, below + row * LINE_HEIGHT), line, "black", 13)
    return sheet


def _draw(draw: ImageDraw.ImageDraw, mark: Mark, left: int, top: int, scale: int) -> None:
    if mark.box is not None:
        x1, y1, x2, y2 = (scale * value for value in mark.box)
        draw.rectangle((left + x1, top + y1, left + x2, top + y2), outline="magenta", width=2)
    if mark.point is not None:
        x, y = left + scale * mark.point[0], top + scale * mark.point[1]
        r = POINT_RADIUS
        draw.ellipse((x - r, y - r, x + r, y + r), outline="magenta", width=2)
