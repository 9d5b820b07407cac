"""Tables with a box on each line: the columns that tools and competitions write."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.formats import Problems, recognised_format
from syngrpo.formats.source import SourceError, source_from_keys
from syngrpo.sample import InputError, Sample

WIDTH, HEIGHT = 200, 100
CUP, DOG = (20.0, 10.0, 60.0, 50.0), (100.0, 50.0, 150.0, 90.0)
"""Corners of the two objects of a.jpg, in pixels."""


def folder_with(tmp_path: Path, *names: str) -> Path:
    for name in names or ("a.jpg",):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "gray").save(tmp_path / name)
    return tmp_path


def table(path: Path, *rows: Sequence[object], separator: str = ",", mark: str = "") -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    path.write_text(mark + text.getvalue(), encoding="utf-8")
    return path


def objects(path: Path, **keys: Any) -> list[tuple[str, tuple[float, ...]]]:
    (sample,) = read_data(path, **keys)
    assert "format" in keys or recognised_format(path).name == "csv"
    return [(thing.label, thing.box) for thing in sample.objects]


def sizes(box: tuple[float, ...]) -> tuple[float, ...]:
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def shares(box: tuple[float, ...]) -> tuple[float, ...]:
    x, y, width, height = sizes(box)
    centre = (x + width / 2) / WIDTH, (y + height / 2) / HEIGHT
    return (*centre, width / WIDTH, height / HEIGHT)


CORNERS = [["a.jpg", "cup", *CUP], ["a.jpg", "dog", *DOG]]
WRITTEN: dict[str, tuple[list[list[Any]], dict[str, Any]]] = {
    "tensorflow": (
        [
            ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"],
            ["a.jpg", WIDTH, HEIGHT, "cup", *CUP],
            ["a.jpg", WIDTH, HEIGHT, "dog", *DOG],
        ],
        {},
    ),
    "kaggle": (
        [
            ["image_id", "label", "x", "y", "w", "h"],
            ["a", "cup", *sizes(CUP)],
            ["a", "dog", *sizes(DOG)],
        ],
        {},
    ),
    "a list as text": (
        [
            ["image_id", "width", "height", "bbox", "class_name"],
            ["a", WIDTH, HEIGHT, str(list(sizes(CUP))), "cup"],
            ["a", WIDTH, HEIGHT, " ".join(map(str, sizes(DOG))), "dog"],
        ],
        {"boxes": "xywh"},
    ),
    "label studio": (
        [["Image Path", "Label", "BBox_X_Min", "BBox_Y_Min", "BBox_X_Max", "BBox_Y_Max"], *CORNERS],
        {},
    ),
    "centres": (
        [
            ["path", "category", "x_center", "y_center", "width", "height"],
            ["a.jpg", "cup", *shares(CUP)],
            ["a.jpg", "dog", *shares(DOG)],
        ],
        {"coordinates": "0-1"},
    ),
    "retinanet": ([["a.jpg", *CUP, "cup"], ["a.jpg", *DOG, "dog"]], {}),
    "named by the user": (
        [["photo", "what", "x1", "y1", "x2", "y2"], *CORNERS],
        {"format": "csv", "columns": {"image": "photo", "label": "what"}},
    ),
    "numbers named by the user": (
        [["image", "label", "l", "t", "r", "b"], *CORNERS],
        {"format": "csv", "columns": {"x1": "l", "y1": "t", "x2": "r", "y2": "b"}},
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_columns_as_tools_write_them(tmp_path: Path, name: str) -> None:
    rows, keys = WRITTEN[name]
    path = table(folder_with(tmp_path) / "boxes.csv", *rows)
    assert [label for label, _ in objects(path, **keys)] == ["cup", "dog"]
    for (_, box), truth in zip(objects(path, **keys), (CUP, DOG), strict=True):
        assert box == pytest.approx(truth)


@pytest.mark.parametrize(("ending", "separator"), [("csv", ";"), ("tsv", "\t"), ("csv", "\t")])
def test_what_separates_columns_is_seen(tmp_path: Path, ending: str, separator: str) -> None:
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    path = folder_with(tmp_path) / f"boxes.{ending}"
    table(path, head, *CORNERS, separator=separator, mark="\ufeff")
    assert objects(path) == [("cup", CUP), ("dog", DOG)]


def test_numbers_with_a_decimal_comma(tmp_path: Path) -> None:
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    line = ["a.jpg", "Tür", *(str(number).replace(".", ",") for number in CUP)]
    path = table(folder_with(tmp_path) / "b.csv", head, line, separator=";")
    assert objects(path) == [("Tür", CUP)]


def test_images_lie_in_a_folder_beside_the_table(tmp_path: Path) -> None:
    folder_with(tmp_path, "photos/a.PNG")
    path = table(
        tmp_path / "b.csv",
        ["id", "image", "class", "x", "y", "w", "h"],
        [7, "a", "cup", 1, 2, 3, 4],
    )
    (sample,) = read_data(path)
    assert sample.image.path == tmp_path / "photos" / "a.PNG"
    assert sample.objects[0].box == (1, 2, 4, 6)


def test_a_line_without_a_box_is_an_image_without_objects(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.jpg", "b.jpg")
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    path = table(tmp_path / "b.csv", head, *CORNERS, ["b.jpg", "", "", "", "", ""])
    first, second = read_data(path)  # each asks for absent classes, too
    assert (len(first.objects), len(second.objects)) == (2, 0)
    assert sorted(second.question.split(", ")) == ["cup", "dog"] and second.answer == ()


def test_phrases_are_asked_for_one_by_one(tmp_path: Path) -> None:
    rows = [["a.jpg", "the red cup", *CUP], ["a.jpg", "the dog there", *DOG]]
    path = folder_with(tmp_path) / "b.csv"
    table(path, ["image", "caption", "x1", "y1", "x2", "y2"], *rows)
    found: list[Sample] = read_data(path, task="rec")
    assert [(s.question, s.answer) for s in found] == [("the red cup", CUP), ("the dog there", DOG)]


def test_a_wrong_line_leaves_its_image_out(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.jpg", "b.jpg")
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    rows = [*CORNERS, ["b.jpg", "cup", *CUP], ["b.jpg", "dog", 1, 2, "three", 4]]
    path = table(tmp_path / "b.csv", head, *rows)
    problems = Problems()
    assert [s.image.path for s in read_data(path, problems=problems)] == [tmp_path / "a.jpg"]
    assert problems.lines() == [
        f"{path}:5: x1, y1, x2, y2 are '1', '2', 'three', '4', not four numbers"
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["a.jpg", "", 1, 2, 3, 4], "the line has a box and no class or phrase"),
        (["a.jpg", 3, 1, 2, 3, 4], "the class 3 is a number; write names"),
        (["a.jpg", "cup", 1, 2, 3, "inf"], "are '1', '2', '3', 'inf', not four numbers"),
        (["a.jpg", "cup", 1, 2, 3, ""], "are '1', '2', '3', '', not four numbers"),
        (["a.jpg", "cup", 1, 2, 3000, 4], "leaves the 200x100 image"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, line: list[Any], told: str) -> None:
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    path = table(folder_with(tmp_path) / "b.csv", head, line)
    with pytest.raises(InputError, match=told):
        read_data(path)


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    path = table(folder_with(tmp_path) / "b.csv", ["image", "label", "x1"], ["a.jpg", "cup", 1])
    with pytest.raises(InputError, match=r"none holds boxes .* --columns"):
        read_data(path, format="csv")
    with pytest.raises(InputError, match="has no column what; it has image, label, x1"):
        read_data(path, format="csv", columns={"label": "what"})
    head = ["image", "label", "x1", "y1", "x2", "y2"]
    path.write_bytes(table(path, head, ["a.jpg", "杯子", *CUP]).read_text().encode("gbk"))
    with pytest.raises(InputError, match=r"b\.csv is not UTF-8; save the table"):
        read_data(path)
    with pytest.raises(SourceError, match="columns"):
        source_from_keys({"path": path, "format": "csv", "columns": ["a"]})
