"""The contact sheet of ``data check``: what is drawn, and what is written at it."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image, ImageDraw

from syngrpo.formats import Problems
from syngrpo.formats.drawn_boxes import DrawnBox, draw_boxes, outside_words
from syngrpo.formats.label_sheet import CELL, label_sheet, sample_sheet

MAGENTA, LIME, GREY = (255, 0, 255), (0, 255, 0), (128, 128, 128)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts that are drawn."""
    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text

    def noted(self: Any, at: Any, words: str, *rest: Any, **keys: Any) -> None:
        drawn.append(words)
        text(self, at, words, *rest, **keys)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return drawn


def data(folder: Path, rows: list[tuple[str, list[Any]]]) -> Path:
    path = folder / "data.jsonl"
    made = (
        {"id": f"r{n}", "task": "rec", "image": image, "question": "the red cup"}
        | {"answer": box, "objects": [{"label": "cup", "box": box}]}
        for n, (image, box) in enumerate(rows)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def grey(path: Path, orientation: int = 1, size: tuple[int, int] = (200, 100)) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, GREY).save(path, exif=exif)
    return path.name


def drawn(*boxes: DrawnBox) -> Image.Image:
    picture = Image.new("RGB", (200, 100), GREY)
    draw_boxes(picture, boxes, 1.0)
    return picture


def column(picture: Image.Image, x: int) -> list[bool]:
    """Which pixels of a column are magenta."""
    return [picture.getpixel((x, y)) == MAGENTA for y in range(picture.height)]


def test_an_edge_outside_is_dashed_where_the_box_leaves_the_image() -> None:
    inside = column(drawn(DrawnBox((20, 10, 150, 90), "magenta")), 150)
    assert all(inside[10:90])
    cut = drawn(DrawnBox((20, 10, 900, 90), "magenta"))
    edge = column(cut, 199)[10:90]
    assert 0.3 < sum(edge) / len(edge) < 0.8, "dashes and gaps"
    assert all(column(cut, 20)[10:90]), "the edge inside is a line"


def test_a_box_outside_is_an_arrow_towards_it() -> None:
    picture = drawn(DrawnBox((500, 40, 600, 60), "magenta"))
    found = [x for x in range(200) if any(column(picture, x))]
    assert found and min(found) > 150, "at the right edge alone"
    widths = [sum(column(picture, x)) for x in (190, 198)]
    assert widths[0] > widths[1] > 0, "it points to the right"
    lower = drawn(DrawnBox((40, 500, 60, 600), "magenta"))
    assert any(lower.getpixel((x, 95)) == MAGENTA for x in range(200))


def test_what_cannot_be_seen_is_said_in_words() -> None:
    boxes = [
        *(DrawnBox((10, 10, 60, 60), "red"), DrawnBox((10, 10, 200.5, 60), "red")),
        *(DrawnBox((10, 10, 260, 60), "red"), DrawnBox((-30, 10, 20, 60), "red")),
        *(DrawnBox((300, 10, 360, 60), "red"), DrawnBox((60, 10, 20, 60), "red")),
    ]
    assert outside_words(boxes, 200, 100) == (
        "1 box lies outside (arrow), 2 reach outside (dashed), 1 ends before it begins"
    )
    assert outside_words(boxes[:2], 200, 100) == ""


def test_rows_files_questions_and_labels_are_written(tmp_path: Path, texts: list[str]) -> None:
    image = grey(tmp_path / "kitchen.png")
    path = data(tmp_path, [(image, [20, 10, 60, 50])])
    problems = Problems()
    samples = read_data(path, problems=problems)
    sheet = sample_sheet(samples, problems.place_of)
    assert sheet is not None and LIME in {c for _, c in sheet.getcolors(1 << 20) or ()}
    assert texts.count("the red cup") == 2, "at the box and below the image"
    assert "row 1, kitchen.png" in texts


def test_a_doubt_is_drawn_with_labels_and_what_lies_outside(
    tmp_path: Path, texts: list[str]
) -> None:
    image = grey(tmp_path / "a.png")
    wrong = [[150, 50, 40, 40], [150, 50, 40, 45], [120, 60, 40, 30], [140, 40, 30, 30]]
    problems = Problems()
    read_data(data(tmp_path, [(image, box) for box in wrong]), problems=problems)
    (doubt,) = problems.doubts
    assert label_sheet(doubt) is not None
    assert "cup" in texts and "row 1 and 3 more, a.png" in texts
    assert "as read: 4 boxes end before they begin" in texts


def test_both_views_are_drawn_side_by_side_and_ordinary_images_below(
    tmp_path: Path, texts: list[str]
) -> None:
    turned = [grey(tmp_path / f"t{n}.jpg", 6) for n in range(8)]
    plain = [grey(tmp_path / f"p{n}.jpg") for n in range(3)]
    rows = [(name, [10 + n, 10, 60, 50]) for n, name in enumerate(turned)]
    rows[7] = (turned[7], [110, 10, 190, 50])
    problems = Problems()
    read_data(
        data(tmp_path, rows + [(name, [20, 10, 60, 50]) for name in plain]), problems=problems
    )
    (labels,) = problems.turned
    sheet = label_sheet(labels)
    assert sheet is not None and sheet.width == 3 * CELL
    below = [text for text in texts if text.startswith("row")]
    assert below == [
        *("row 8, t7.jpg, turned: 0 of 1 fit", "row 8, t7.jpg, as stored: 1 of 1 fit"),
        *(f"row {9 + n}, p{n}.jpg, no orientation" for n in range(3)),
    ], "the image that tells the views apart, and the ordinary ones"
