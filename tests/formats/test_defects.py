"""Which lines are told about the defects of a data set: one for each cause, causes first."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.formats import Problems
from syngrpo.formats.box_doubt import BoxDoubt
from syngrpo.formats.box_layout import BoxLayout
from syngrpo.formats.defects import Defect, row_at, told
from syngrpo.sample import EncodedImage, InputError
from syngrpo.tasks.labels import checked_box

BOX = [10, 20, 30, 40]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    return tmp_path


def rec(number: int, **changes: Any) -> dict[str, Any]:
    row = {"id": f"r{number}", "task": "rec", "image": "a.png", "question": "cup", "answer": BOX}
    return row | changes


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(*paths: Path, **keys: Any) -> list[str]:
    problems = Problems()
    for path in paths:
        read_data(path, problems=problems, check_images=True, **keys)
    return problems.lines()


def test_boxes_in_another_layout_are_one_error_with_the_rows(folder: Path) -> None:
    wrong = [rec(n, answer=[12, 9 + n, 9, 8]) for n in range(13)]
    (line,) = lines(write(folder / "data.jsonl", wrong))
    assert "13 of 13 boxes do not fit; they look like x, y, width, height" in line
    assert line.endswith("so 13 rows (1, 2, 3, 4, 5 and 8 more) cannot be used")


def test_other_defects_of_such_a_file_are_told_as_well(folder: Path) -> None:
    rows = [rec(n, answer=[12, 9 + n, 9, 8]) for n in range(13)] + [rec(13, question="")]
    cause, other = lines(write(folder / "data.jsonl", rows))
    assert "they look like x, y, width, height" in cause
    assert other == f"{folder / 'data.jsonl'}:14: question is '', not a text"


def test_files_come_first_then_images_then_whole_files_then_rows(folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    rows = [rec(n, answer=[12, 9 + n, 9, 8]) for n in range(13)]
    rows = [
        *(rec(20, question=""), rec(21, image="gone.png"), rec(22, image="empty.png")),
        *rows,
        rec(0),
    ]
    found = lines(write(folder / "data.jsonl", rows), folder / "gone.jsonl")
    beginnings = [
        f"data file {folder / 'gone.jsonl'} does not exist",
        f"{folder / 'data.jsonl'}:2: image {folder / 'gone.png'} does not exist",
        f"{folder / 'data.jsonl'}:3: image {folder / 'empty.png'} cannot be read: it is empty",
        f"{folder / 'data.jsonl'}: the boxes are read as",
        f"{folder / 'data.jsonl'}:1: question is ''",
    ]
    assert [line.startswith(start) for line, start in zip(found, beginnings, strict=True)]


def test_a_damaged_image_is_one_line_however_many_rows_ask_about_it(folder: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    rows = [rec(0), rec(1, image="cut.png"), rec(2, image="cut.png", question="pot")]
    (line,) = lines(write(folder / "data.jsonl", rows))
    assert line.startswith(f"{folder / 'data.jsonl'}: 2 rows (2, 3): image {folder / 'cut.png'} ")


def test_a_defect_is_told_once_if_two_sources_have_the_same_file(folder: Path) -> None:
    path = write(folder / "data.jsonl", [rec(n, answer=[0.1, 0.2, 0.3, 0.4]) for n in range(4)])
    problems = Problems()
    for _ in range(2):
        problems.forget_ids()
        read_data(path, problems=problems)
    assert len(problems.lines()) == 1


def test_a_box_is_counted_once_as_object_and_answer_and_in_several_rows(folder: Path) -> None:
    objects = [{"label": "cup", "box": [12, 9 + n, 9, 8]} for n in range(4)]
    rows = [rec(n, answer=objects[n]["box"], objects=objects) for n in range(4)]
    assert "4 of 4 boxes do not fit" in lines(write(folder / "data.jsonl", rows))[0]


def test_what_is_said_of_the_file_is_not_contradicted_by_its_rows(folder: Path) -> None:
    image = EncodedImage(64, 48, b"")
    problems = Problems()
    with pytest.raises(InputError) as caught:
        checked_box([10, 20, 5, 8], image, "answer")
    problems.add("data.jsonl:1", caught.value)
    assert "or set boxes: xywh" in problems.lines()[0]
    of_1000 = BoxLayout("xyxy", "0-1000")
    said = ("look like 0-1000", "set coordinates")
    problems.doubt(BoxDoubt("data.jsonl", BoxLayout(), [], of_1000, False, *said), since=0)
    assert problems.lines() == ["data.jsonl:1: answer [10, 20, 5, 8] has no area"]
    assert problems.notes == ["data.jsonl: look like 0-1000"]


def test_a_box_is_no_width_and_height_if_it_would_not_fit_so() -> None:
    for box, hint in (([40, 20, 30, 10], False), ([30, 20, 20, 10], True)):
        with pytest.raises(InputError, match="has no area; write x1 < x2 and y1 < y2") as caught:
            checked_box(box, EncodedImage(64, 48, b""), "answer")
        assert ("xywh" in str(caught.value)) == hint


def test_a_converted_box_is_told_as_it_is_written(folder: Path) -> None:
    path = write(
        folder / "data.jsonl", [rec(0, answer=[10, 20, 30, 9]), rec(1, answer=[10, 20, 60, 9])]
    )
    assert lines(path, boxes="xywh") == [
        f"{path}:2: objects[0].box [10, 20, 60, 9], which is x1, y1, x2, y2 = 10, 20, 70, 29 in "
        "pixels, leaves the 64x48 image"
    ]


def test_turned_images_are_counted_also_if_their_rows_are_bad(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(5):
        Image.new("RGB", (64, 48)).save(folder / f"{number}.jpg", exif=exif)
    rows = [rec(n, image=f"{n}.jpg", question="" if n else "cup") for n in range(4)]
    del rows[1]["question"]
    problems = Problems()
    read_data(write(folder / "data.jsonl", rows), problems=problems)
    assert len(problems.rotated) == 4
    turns = [{"from": "human", "value": "cup"}, {"from": "gpt", "value": "I do not know."}]
    chat = [{"image": f"{n}.jpg", "conversations": turns} for n in range(5)]
    problems = Problems()
    read_data(write(folder / "chat.jsonl", chat), problems=problems)
    assert len(problems.rotated) == problems.bad_rows() == 5


def test_a_row_is_named_without_its_file() -> None:
    places = ("a.jsonl:3", "i.json: annotation 37", "d/labels/a.txt", "rooms test x-96-0-1", "")
    assert [row_at(place) for place in places] == [
        *("row 3", "annotation 37", "a.txt", "rooms test x-96-0-1", "")
    ]


@pytest.mark.parametrize(
    ("places", "subject"),
    [
        (["a.jsonl:3", "a.jsonl:7"], "a.jsonl: 2 rows (3, 7)"),
        (["a.json[0]", "a.json[4]"], "a.json: 2 items ([0], [4])"),
        (["i.json: annotation 3", "i.json: annotation 7"], "i.json: 2 annotations (3, 7)"),
        (["i.json: images[3]", "i.json: images[7]"], "i.json: 2 images ([3], [7])"),
        (["t.parquet: row 0", "t.parquet: row 2"], "t.parquet: 2 rows (0, 2)"),
        (["refs(unc).p: ref 0", "refs(unc).p: ref 2"], "refs(unc).p: 2 refs (0, 2)"),
        (["c.xml: image 'a b.jpg'", "c.xml: image 'c'"], "c.xml: 2 images ('a b.jpg', 'c')"),
        (["d/labels/a.txt", "d/labels/b.txt"], "d/labels: 2 files (a.txt, b.txt)"),
        (["d/a.xml", "e/b.xml"], "2 files (d/a.xml, e/b.xml)"),
        (["a.jsonl:3", "b.jsonl:7"], "2 rows (a.jsonl:3, b.jsonl:7)"),
        (["a.jsonl:3", "i.json: image 1"], "2 places (a.jsonl:3, i.json: image 1)"),
    ],
)
def test_rows_are_called_by_their_names(places: list[str], subject: str) -> None:
    assert list(told([Defect(place, "is bad") for place in places])) == [f"{subject}: is bad"]


def test_many_defects_of_a_kind_are_one_line_and_a_few_are_not() -> None:
    found = [Defect(f"a.jsonl:{n}", f"id is {n}, not a text") for n in range(1, 7)]
    assert list(told(found[:5])) == [f"{one.place}: {one.message}" for one in found[:5]]
    assert list(told(found)) == [
        "a.jsonl: 6 rows (1, 2, 3, 4, 5 and 1 more); the first: id is 1, not a text"
    ]
