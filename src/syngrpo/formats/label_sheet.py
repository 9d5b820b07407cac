"""Draws some images of a data set with their boxes and file names, for ``data check``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from syngrpo.boxes import clip
from syngrpo.formats.box_doubt import BoxDoubt
from syngrpo.formats.box_layout import PIXEL_CORNERS, BoxLayout, SeenBox
from syngrpo.formats.image_files import image_key
from syngrpo.formats.turned_labels import TurnedLabels
from syngrpo.sample import EncodedImage, InputError, Sample

SHOWN_IMAGES = 6
CELL = 320
"""Width and height in pixels of the place of an image on the sheet."""
CAPTION = 20
COLUMNS = 3
LETTERS = 45
"""Number of letters that fit below an image."""
READ, MEANT = "magenta", "lime"

Cell = tuple[Image.Image, str]


def label_sheet(doubt: BoxDoubt | TurnedLabels) -> Image.Image | None:
    """Return up to six images of the data with their boxes, or None when none of them can be
    decoded. Boxes that look like another layout are magenta as they are read and green as they look
    to be meant; images with an EXIF orientation are shown turned and as they are stored."""
    if isinstance(doubt, TurnedLabels):
        words = "the boxes on the images as viewers show them (left), and as they are stored"
        return _sheet(_both_views(doubt), words, columns=4)
    words = f"as read (magenta): {doubt.read.words()}; as meant? (green): {doubt.meant()}"
    return _sheet(_both_layouts(doubt), words)


def sample_sheet(samples: Sequence[Sample]) -> Image.Image | None:
    """Return up to six images, from the whole data set, with all of their labelled boxes; None when
    none of them can be decoded."""
    by_image: dict[object, list[SeenBox]] = {}
    for sample in samples:
        boxes = by_image.setdefault(image_key(sample.image), [])
        boxes += [SeenBox(thing.box, sample.image) for thing in sample.objects]
    groups = [(boxes[0].image, boxes) for boxes in by_image.values() if boxes]
    return _sheet(_as_read(groups), "the labelled boxes as they are read")


def _sheet(cells: Iterable[Cell], words: str, columns: int = COLUMNS) -> Image.Image | None:
    listed = list(cells)
    if not listed:
        return None
    columns = min(columns, len(listed))
    height = CELL + CAPTION
    size = (columns * CELL, CAPTION - (-len(listed) // columns) * height)
    font = ImageFont.load_default(size=13)
    width = max(size[0], round(font.getlength(words)) + 8)
    sheet = Image.new("RGB", (width, size[1]), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 2), words, fill="black", font=font)
    for number, (picture, name) in enumerate(listed):
        left, top = number % columns * CELL, CAPTION + number // columns * height
        sheet.paste(picture, (left, top))
        draw.text((left + 2, top + CELL - 2), name[-LETTERS:], fill="black", font=font)
    return sheet


def _both_layouts(doubt: BoxDoubt) -> Iterator[Cell]:
    layouts = ((READ, doubt.read), (MEANT, doubt.looks_like))
    for image, boxes in _some(_grouped(doubt.seen), 3 if doubt.others else SHOWN_IMAGES):
        words = ", doubted" if doubt.others else ""
        yield _drawn(image, boxes, layouts, doubt.factor), f"{_name(image)}{words}"
    for image, boxes in _some(_grouped(doubt.others), 3):
        yield _drawn(image, boxes, layouts[:1]), f"{_name(image)}, not doubted"


def _both_views(labels: TurnedLabels) -> Iterator[Cell]:
    for image, boxes in _some(_grouped(labels.seen)):
        try:
            stored = EncodedImage.from_bytes(image.read(), as_stored=True)
        except (InputError, OSError):
            continue
        for view, words in ((image, "turned"), (stored, "as stored")):
            yield _drawn(view, boxes, ((READ, labels.read),)), f"{_name(image)}, {words}"


def _as_read(groups: Sequence[tuple[EncodedImage, list[SeenBox]]]) -> Iterator[Cell]:
    for image, boxes in _some(groups):
        yield _drawn(image, boxes, ((READ, PIXEL_CORNERS),)), _name(image)


def _grouped(seen: Sequence[SeenBox]) -> list[tuple[EncodedImage, list[SeenBox]]]:
    by_image = [list(boxes) for _, boxes in groupby(seen, key=lambda box: id(box.image))]
    return [(boxes[0].image, boxes) for boxes in by_image]


def _some(
    groups: Sequence[tuple[EncodedImage, list[SeenBox]]], most: int = SHOWN_IMAGES
) -> Iterator[tuple[EncodedImage, list[SeenBox]]]:
    """Yield up to ``most`` images that can be decoded, evenly from all."""
    shown = 0
    for image, boxes in groups[:: max(1, len(groups) // most)]:
        try:
            image.decode()
        except InputError:  # reported where every image is decoded
            continue
        yield image, boxes
        shown += 1
        if shown == most:
            return


def _name(image: EncodedImage) -> str:
    return image.path.name if image.path is not None else f"{image.width} x {image.height}"


def _drawn(
    image: EncodedImage,
    boxes: Sequence[SeenBox],
    layouts: Sequence[tuple[str, BoxLayout]],
    factor: float = 1.0,
) -> Image.Image:
    """Return an image with boxes in several layouts; those that look to be meant are divided by
    ``factor``."""
    picture = Image.fromarray(image.decode())
    scale = min((CELL - 4) / picture.width, (CELL - 4) / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size)
    draw = ImageDraw.Draw(small)
    for colour, layout in layouts:
        for box in boxes:
            x1, y1, x2, y2 = map(float, layout.corners(box.numbers, image.width, image.height))
            by = factor if colour == MEANT else 1.0
            ordered = (min(x1, x2) / by, min(y1, y2) / by, max(x1, x2) / by, max(y1, y2) / by)
            inside = clip(ordered, image.width, image.height)
            draw.rectangle(tuple(scale * n for n in inside), outline=colour, width=2)
    return small
