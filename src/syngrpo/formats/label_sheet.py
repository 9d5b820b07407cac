"""Draws images with their boxes, as they are read and as they look to be meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from syngrpo.boxes import clip
from syngrpo.formats.box_layout import BoxLayout, SeenBox
from syngrpo.formats.box_recognition import BoxDoubt
from syngrpo.sample import InputError

SHOWN_IMAGES = 6
CELL = 320
"""Width and height in pixels of the place of an image on the sheet."""
CAPTION = 20
COLUMNS = 3
READ, MEANT = "magenta", "lime"


def label_sheet(doubt: BoxDoubt) -> Image.Image | None:
    """Return up to six images of the data with their boxes: magenta as they are read, green as they
    look to be meant. None when none of the images can be decoded."""
    pictures = list(_pictures(doubt))
    if not pictures:
        return None
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * CELL, CAPTION + rows * CELL), "white")
    font = ImageFont.load_default(size=13)
    words = (
        f"as read (magenta): {doubt.read.words()}; as meant? (green): {doubt.looks_like.words()}"
    )
    ImageDraw.Draw(sheet).text((4, 2), words, fill="black", font=font)
    for number, picture in enumerate(pictures):
        left, top = number % columns * CELL, CAPTION + number // columns * CELL
        sheet.paste(picture, (left, top))
    return sheet


def _pictures(doubt: BoxDoubt) -> Iterator[Image.Image]:
    by_image = [list(boxes) for _, boxes in groupby(doubt.seen, key=lambda box: id(box.image))]
    step = max(1, len(by_image) // SHOWN_IMAGES)
    shown = 0
    for boxes in by_image[::step]:
        try:
            picture = Image.fromarray(boxes[0].image.decode())
        except InputError:  # reported where every image is decoded
            continue
        yield _drawn(picture, boxes, doubt)
        shown += 1
        if shown == SHOWN_IMAGES:
            return


def _drawn(picture: Image.Image, boxes: Sequence[SeenBox], doubt: BoxDoubt) -> Image.Image:
    scale = min((CELL - 4) / picture.width, (CELL - 4) / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size)
    draw = ImageDraw.Draw(small)
    for colour, layout in ((READ, doubt.read), (MEANT, doubt.looks_like)):
        for box in boxes:
            _rectangle(draw, box, layout, scale, colour)
    return small


def _rectangle(
    draw: ImageDraw.ImageDraw, box: SeenBox, layout: BoxLayout, scale: float, colour: str
) -> None:
    width, height = box.image.width, box.image.height
    x1, y1, x2, y2 = (float(n) for n in layout.corners(box.numbers, width, height))
    ordered = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    draw.rectangle(tuple(scale * n for n in clip(ordered, width, height)), outline=colour, width=2)
