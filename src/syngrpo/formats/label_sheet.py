"""Draws some images of a data set with their boxes, for ``data check``. Below each are its row, the
name of its file, and what cannot be seen in the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TypeVar

from PIL import Image, ImageDraw

from syngrpo.formats.box_doubt import BoxDoubt
from syngrpo.formats.box_fit import arrays_of, boxes_that_fit
from syngrpo.formats.box_layout import BoxLayout, SeenBox
from syngrpo.formats.defects import row_at
from syngrpo.formats.drawn_boxes import (
    DrawnBox,
    draw_boxes,
    draw_point,
    outside_words,
    short,
    small_picture,
)
from syngrpo.formats.image_files import image_key
from syngrpo.formats.sheet_text import draw_text, text_size
from syngrpo.formats.turned_labels import TurnedLabels
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks.asking import marks_of, words_of

T = TypeVar("T")

SHOWN_IMAGES = 6
SHOWN_BESIDE = 3
"""Number of images that show what is doubted if others are shown, too, and number of these."""
CELL = 320
"""Width and height in pixels of the place of an image on the sheet."""
LINE = 17
"""Height of a line of text in pixels."""
LINES = 3
"""Number of lines below an image."""
COLUMNS = 3
LETTERS = 50
"""Number of letters that fit below an image."""
READ, MEANT = "magenta", "lime"


@dataclass(frozen=True)
class Tile:
    """An image with its boxes, and the lines below it."""

    picture: Image.Image
    lines: Sequence[str]


Group = tuple[EncodedImage, list[SeenBox]]
"""An image with all of its boxes."""


def label_sheet(doubt: BoxDoubt | TurnedLabels) -> Image.Image | None:
    """Return some images of the data with their boxes, or None when none of them can be decoded.
    Boxes that look like another layout are magenta as they are read and green as they look to be
    meant. Images with an EXIF orientation are shown turned and as they are stored, side by side;
    below them are some that have none."""
    if isinstance(doubt, TurnedLabels):
        words = "Boxes on images with an EXIF orientation: as viewers show them (left), as stored"
        return _sheet(words, [*_both_views(doubt)], [*_not_turned(doubt)], columns=4)
    words = f"as read (magenta): {doubt.read.words()}; as meant? (green): {doubt.meant()}"
    return _sheet(words, [*_both_layouts(doubt)])


def sample_sheet(samples: Sequence[Sample], place: Callable[[str], str]) -> Image.Image | None:
    """Return up to six images, evenly from the whole data set, with their labelled boxes and with
    the question and the answer of a sample; None when none of them can be decoded. ``place``
    returns where the sample with an id is in the data."""
    by_image: dict[object, Sample] = {}
    for sample in samples:
        by_image.setdefault(image_key(sample.image), sample)
    kept = [one for one in by_image.values() if one.objects or marks_of(one, one.answer)]
    chosen = _evenly(kept, SHOWN_IMAGES, lambda sample: sample.image)
    words = "Labelled boxes as they are read; green: the answer to the question below the image"
    return _sheet(words, [_of_sample(sample, place(sample.id)) for sample in chosen])


def _sheet(words: str, *parts: Sequence[Tile], columns: int = COLUMNS) -> Image.Image | None:
    """Return a sheet with the tiles; each part begins a new row."""
    filled = [part for part in parts if part]
    if not filled:
        return None
    columns = min(columns, max(map(len, filled)))
    height = CELL + LINES * LINE + 6
    rows = sum(-(-len(part) // columns) for part in filled)
    wide, _ = text_size(ImageDraw.Draw(Image.new("RGB", (1, 1))), words, 13)
    width = max(columns * CELL, round(wide) + 8)
    sheet = Image.new("RGB", (width, LINE + 4 + rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (4, 2), words, "black", 13)
    top = LINE + 4
    for part in filled:
        for number, tile in enumerate(part):
            left, above = number % columns * CELL, top + number // columns * height
            sheet.paste(tile.picture, (left, above))
            for line, text in enumerate(tile.lines[:LINES]):
                place = (left + 2, above + tile.picture.height + 2 + line * LINE)
                draw_text(draw, place, short(text, LETTERS), "black", 12)
        top += -(-len(part) // columns) * height
    return sheet


def _both_layouts(doubt: BoxDoubt) -> Iterator[Tile]:
    layouts = ((READ, doubt.read), (MEANT, doubt.looks_like))
    beside = bool(doubt.others)
    for image, boxes in _some(_grouped(doubt.seen), SHOWN_BESIDE if beside else SHOWN_IMAGES):
        yield _tile(image, boxes, layouts, ", doubted" if beside else "", doubt.factor)
    for image, boxes in _some(_grouped(doubt.others), SHOWN_BESIDE):
        yield _tile(image, boxes, layouts[:1], ", not doubted")


def _both_views(labels: TurnedLabels) -> Iterator[Tile]:
    telling = {id(box.image) for box in labels.only_stored}
    groups = sorted(_grouped(labels.seen), key=lambda group: id(group[0]) not in telling)
    groups = [one for one in groups if id(one[0]) in telling] or groups
    for image, boxes in _some(groups):
        try:
            stored = EncodedImage.from_bytes(image.read(), as_stored=True)
        except (InputError, OSError):
            continue
        for view, words in ((image, "turned"), (stored, "as stored")):
            on_view = [box._replace(image=view) for box in boxes]
            fitting = int(boxes_that_fit(labels.read, *arrays_of(on_view)).sum())
            words = f", {words}: {fitting} of {len(boxes)} fit"
            yield _tile(view, on_view, ((READ, labels.read),), words, name=_name(image))


def _not_turned(labels: TurnedLabels) -> Iterator[Tile]:
    for image, boxes in _some(_grouped(labels.others), 4):
        yield _tile(image, boxes, ((READ, labels.read),), ", no orientation")


def _tile(
    image: EncodedImage,
    boxes: Sequence[SeenBox],
    layouts: Sequence[tuple[str, BoxLayout]],
    words: str = "",
    factor: float = 1.0,
    name: str = "",
) -> Tile:
    """Return an image with boxes in several layouts; those that look to be meant are divided by
    ``factor``."""
    last = layouts[-1][0]
    drawn = [
        DrawnBox(
            _corners(box, layout, image, factor if colour == MEANT else 1.0),
            colour,
            box.label if colour == last else "",
        )
        for colour, layout in layouts
        for box in boxes
    ]
    picture, scale = small_picture(Image.fromarray(image.decode()), CELL - 4)
    draw_boxes(picture, drawn, scale)
    places = list(dict.fromkeys(row_at(box.place) for box in boxes if box.place))
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    lines = [", ".join([*(f"{place}{more}" for place in places[:1]), name or _name(image)]) + words]
    for colour, _ in layouts:
        of = [box for box in drawn if box.colour == colour]
        if told := outside_words(of, image.width, image.height):
            as_read = "" if len(layouts) == 1 else "as read: " if colour == READ else "as meant: "
            lines.append(as_read + told)
    return Tile(picture, lines)


def _of_sample(sample: Sample, place: str) -> Tile:
    marks = marks_of(sample, sample.answer)
    asked = {mark.box: mark.label or sample.question for mark in marks if mark.box is not None}
    things = {thing.box: thing.label for thing in sample.objects}
    drawn = [
        *(DrawnBox(box, READ, label) for box, label in things.items() if box not in asked),
        *(DrawnBox(box, MEANT, label) for box, label in asked.items()),
    ]
    image = sample.image
    picture, scale = small_picture(Image.fromarray(image.decode()), CELL - 4)
    draw_boxes(picture, drawn, scale)
    for mark in marks:
        if mark.point is not None:
            draw_point(picture, (scale * mark.point[0], scale * mark.point[1]), MEANT)
    told = "" if marks else f" {words_of(sample, sample.answer)}"
    where = ", ".join(filter(None, [row_at(place), _name(image)]))
    lines = [where, *wrap(sample.question + told, LETTERS)]
    return Tile(picture, lines)


def _corners(
    box: SeenBox, layout: BoxLayout, image: EncodedImage, factor: float
) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, layout.corners(box.numbers, image.width, image.height))
    return x1 / factor, y1 / factor, x2 / factor, y2 / factor


def _grouped(seen: Sequence[SeenBox]) -> list[Group]:
    by_image: dict[int, list[SeenBox]] = {}
    for box in seen:
        by_image.setdefault(id(box.image), []).append(box)
    return [(boxes[0].image, boxes) for boxes in by_image.values()]


def _some(groups: Sequence[Group], most: int = SHOWN_IMAGES) -> list[Group]:
    """Return up to ``most`` images that can be decoded, evenly from all."""
    return _evenly(groups, most, lambda group: group[0])


def _evenly(every: Sequence[T], most: int, image_of: Callable[[T], EncodedImage]) -> list[T]:
    chosen: list[T] = []
    for one in every[:: max(1, len(every) // most)]:
        try:
            image_of(one).decode()
        except (InputError, OSError):  # reported where every image is decoded
            continue
        chosen.append(one)
        if len(chosen) == most:
            break
    return chosen


def _name(image: EncodedImage) -> str:
    return image.path.name if image.path is not None else f"{image.width} x {image.height}"
