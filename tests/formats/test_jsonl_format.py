import json
import logging
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data, write_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from syngrpo.boxes import encode_mask
from syngrpo.formats import Problems, recognised_format
from syngrpo.formats.base import first_of
from syngrpo.formats.image_files import ImageFolder
from syngrpo.formats.row_files import data_rows
from syngrpo.formats.sample_rows import (
    OBJECT_KEYS,
    OPTIONAL_KEYS,
    REQUIRED_KEYS,
    row_to_sample,
)
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks import TASKS, get_task

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "data.schema.json").read_text(encoding="utf-8"))
WIDTH, HEIGHT = 80, 60
BOX = [10, 20, 30, 50]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with good.png, a second image, and the same two damaged."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "good.png")
    Image.fromarray(pixels).save(tmp_path / "good.jpg", quality=90)
    for name in ("good.png", "good.jpg"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name.replace("good", "truncated")).write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def row(**changes: Any) -> dict[str, Any]:
    """A good row with some keys changed; ``...`` removes one."""
    base = {
        "id": "a",
        "task": "rec",
        "image": "good.png",
        "question": "the red cup",
        "answer": BOX,
        "objects": [{"label": "cup", "box": BOX}],
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def thing(**changes: Any) -> dict[str, Any]:
    return {"objects": [{"label": "cup", "box": BOX} | changes]}


def mask(rows: slice, columns: slice, height: int = HEIGHT, width: int = WIDTH) -> dict[str, Any]:
    pixels = np.zeros((height, width), dtype=bool)
    pixels[rows, columns] = True
    return encode_mask(pixels)


GOOD_MASK = mask(slice(20, 50), slice(10, 30))


def detection(**changes: Any) -> dict[str, Any]:
    things = [{"label": "cup", "box": BOX}, {"label": "jug", "box": [40, 20, 60, 50]}]
    asked = {"task": "ovd", "question": "cup, dog", "answer": ..., "objects": things}
    return row(**(asked | changes))


def reasoning(**changes: Any) -> dict[str, Any]:
    asked = {"task": "isr", "question": "how many cups?", "answer": 1}
    return row(**(asked | changes))


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "not JSON": (b'{"id": "a", ', "not JSON"),
    "nested too deep": (b"[" * 100_000, "not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "not UTF-8"),
    "a list": ([1, 2], "not a JSON object"),
    "no id": (row(id=...), "has no id"),
    "null answer": (row(answer=None), "has no answer"),
    "number as id": (row(id=3), "id is 3, not a text"),
    "empty question": (row(question="  "), "question is"),
    "special token": (row(question="the <|image_pad|> cup"), "special tokens"),
    "half a surrogate": (row(question="cup \ud800"), "not valid Unicode"),
    "NUL in the id": (row(id="a\0b"), "id 'a\\x00b' holds the character NUL"),
    "NUL in the question": (row(question="cup\0"), "holds the character NUL"),
    "NUL in a label": (row(**thing(label="cup\0")), "objects[0].label 'cup\\x00' holds"),
    "NUL in a column": (row(columns={"a": [{"b": "\0"}]}), "columns '\\x00' holds"),
    "half a surrogate in a column": (row(columns={"a\udc00": 1}), "columns 'a\\udc00' is not"),
    "half a surrogate in the parent": (row(parent="\udc00"), "parent or description"),
    "column is not finite": (row(columns={"a": float("nan")}), "columns holds nan"),
    "column nested too deep": (row(columns={"a": nested(60)}), "columns is nested more than 50"),
    "unknown key": (row(boxes=[]), "unknown keys ['boxes']"),
    "unknown task": (row(task="depth"), "task 'depth' is unknown"),
    "columns is a list": (row(columns=[1]), "columns is [1], not a JSON object"),
    "depth is a text": (row(depth="1"), "depth is '1', not a whole number"),
    "depth below 0": (row(depth=-1), "depth is -1"),
    "missing image": (row(image="gone.png"), "gone.png does not exist"),
    "unreadable image": (row(image="text.png"), "cannot be read"),
    "folder as image": (row(image="folder.png"), "cannot be read"),
    "absolute path": (row(image="/etc/passwd"), "leaves the image folder"),
    "path upwards": (row(image="../x.png"), "leaves the image folder"),
    "path through a link": (row(image="link/x.png"), "leaves the image folder"),
    "NUL in path": (row(image="a\0b.png"), "holds the character NUL"),
    "NUL in the answer": (reasoning(answer="a\0"), "answer 'a\\x00' holds the character NUL"),
    "URL": (row(image="https://a.org/b.png"), "is a URL; download the images"),
    "no box": (row(answer=[]), "holds 0 boxes; a phrase that fits no object or several"),
    "two boxes": (row(answer=[BOX, BOX]), "holds 2 boxes; a phrase that fits no object or several"),
    "answer of three": (row(answer=[1, 2, 3]), "is not a box"),
    "answer of texts": (row(answer=["1", 2, 3, 4]), "not a finite number"),
    "answer of booleans": (row(answer=[True, 2, 3, 4]), "not a finite number"),
    "NaN": (row(answer=[float("nan"), 2, 3, 4]), "not a finite number"),
    "infinity": (row(answer=[1, 2, 3, float("inf")]), "not a finite number"),
    "enormous": (row(answer=[1, 2, 3, 10**400]), "not a finite number"),
    "negative area": (row(answer=[30, 20, 10, 50]), "has no area"),
    "no area": (row(answer=[10, 20, 10, 50]), "has no area"),
    "outside right": (row(answer=[10, 20, WIDTH + 1, 50]), "leaves the 80x60 image"),
    "outside below": (row(answer=[10, 20, 30, HEIGHT + 1]), "leaves the 80x60 image"),
    "outside left": (row(answer=[-1, 20, 30, 50]), "leaves the 80x60 image"),
    "in the rounding margin": (row(answer=[80.1, 20, 80.4, 50]), "edge of the image"),
    "answer is no object": (row(answer=[40, 20, 60, 50]), "none of the objects"),
    "no objects": (row(objects=[]), "objects is empty; label what must stay"),
    "object without label": (row(objects=[{"box": BOX}]), "objects[0] has no label"),
    "object is a box": (row(objects=[BOX]), "objects[0] is"),
    "label is a number": (row(**thing(label=3)), "objects[0].label is 3"),
    "object outside": (row(**thing(box=[0, 0, 999, 9])), "objects[0].box"),
    "object key": (row(**thing(score=1)), "objects[0] has unknown keys"),
    "mask is a text": (row(**thing(mask="abc")), "objects[0].mask is not"),
    "mask of other size": (
        row(**thing(mask=mask(slice(0, 9), slice(0, 9), 30, 40))),
        "objects[0].mask.size is [30, 40], but the image is [60, 80]",
    ),
    "mask cannot be decoded": (
        row(**thing(mask={"size": [HEIGHT, WIDTH], "counts": "zzzz"})),
        "objects[0].mask.counts is not a run-length code",
    ),
    "mask cut off": (
        row(**thing(mask=GOOD_MASK | {"counts": GOOD_MASK["counts"][:-3]})),
        "objects[0].mask.counts is not a run-length code",
    ),
    "empty mask": (row(**thing(mask=mask(slice(0, 0), slice(0, 0)))), "covers no pixel"),
    "detection of nothing": (detection(objects=...), "has no answer and no objects"),
    "detection, a class twice": (detection(question="cup, Cup"), "asks for a class twice"),
    "detection, an empty class": (detection(question="cup,, dog"), "not class names"),
    "detection, unasked answer": (
        detection(answer=[{"label": "jug", "box": [40, 20, 60, 50]}]),
        "no object of an asked class",
    ),
    "detection, an object forgotten": (detection(answer=[]), "answer lacks the 'cup'"),
    "detection, answer is a box": (detection(answer=BOX), "answer[0] is 10, not an object"),
    "reasoning without objects": (reasoning(objects=...), "the row has no objects"),
    "reasoning about nothing": (reasoning(objects=[]), "objects is empty"),
    "reasoning without answer": (reasoning(answer=None), "has no answer"),
    "reasoning with a list": (reasoning(answer=[1]), "answer"),
    "reasoning, kind is a number": (reasoning(columns={"kind": 3}), "columns.kind"),
    "reasoning about a text": (reasoning(columns={"about": "cup"}), "columns.about"),
    "mask elsewhere": (row(**thing(mask=mask(slice(0, 9), slice(60, 70)))), "covers no pixel"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_one_line_with_file_and_line_number(folder: Path, name: str) -> None:
    os.symlink("/usr", folder / "link")
    bad, message = BAD_ROWS[name]
    path = write(folder, row(), bad)
    with pytest.raises(InputError) as caught:
        read_data(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:2: ") and message in text and "\n" not in text


def test_good_rows_become_samples(folder: Path) -> None:
    rows = (
        row(columns={"n": 1}, **thing(mask=GOOD_MASK)),
        b"",
        row(id="b", image="good.jpg", objects=..., parent="a", description="brick walls"),
        row(id="c", answer=[-0.3, 20, 80.2, 50], objects=None, parent=None),
    )
    first, second, third = read_data(write(folder, *rows), check_images=True)
    assert first.answer == tuple(map(float, BOX)) and first.columns == {"n": 1}
    assert first.objects[0].mask == GOOD_MASK
    assert (first.image.width, first.image.height) == (WIDTH, HEIGHT)
    assert (first.depth, first.parent) == (0, None)
    assert (second.depth, second.parent, second.description) == (1, "a", "brick walls")
    assert second.objects[0].label == "the red cup" and second.objects[0].box == second.answer
    assert third.answer == (0.0, 20.0, 80.0, 50.0)


def test_rows_of_every_task_become_samples(folder: Path) -> None:
    answer = [{"label": "cup", "box": BOX}]
    samples = read_data(
        write(
            folder,
            detection(),
            detection(id="b", answer=answer),
            detection(id="c", answer=answer, objects=...),
            detection(id="d", question="dog, cat", answer=[], objects=[]),
            reasoning(id="e", columns={"kind": "count", "about": ["cup"]}),
            reasoning(id="f", answer="to the left", task="isr"),
            detection(id="g", task="ovd-vlm-r1"),
        )
    )
    boxes = tuple(map(float, BOX))
    assert [s.answer for s in samples[:3]] == 3 * [({"label": "cup", "box": boxes},)]
    assert [len(s.objects) for s in samples] == [2, 2, 1, 0, 1, 1, 2]
    assert samples[3].answer == () and samples[4].answer == 1
    assert samples[5].answer == "to the left" and samples[6].task == "ovd-vlm-r1"
    write_data(samples, folder / "out" / "copy.jsonl")
    copies = read_data(folder / "out" / "copy.jsonl")
    assert [without_image(copy) for copy in copies] == [without_image(each) for each in samples]


def test_ids_are_unique_among_all_files(folder: Path) -> None:
    first = write(folder, row())
    second = folder / "second.jsonl"
    second.write_bytes(first.read_bytes())
    with pytest.raises(InputError) as caught:
        read_data([first, second], "jsonl")
    assert str(caught.value) == f"{second}:1: id 'a' is taken by {first}:1; ids must be unique"


def test_several_files_have_a_folder_each_or_look_in_all(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "other" / "good.png")
    first = write(folder, row())
    second = folder / "second.jsonl"
    second.write_text(json.dumps(row(id="b")))
    each = (folder, tmp_path / "other")
    paths = [sample.image.path for sample in read_data([first, second], images=each)]
    assert paths == [folder / "good.png", tmp_path / "other" / "good.png"]
    both = (tmp_path / "other", folder)
    assert read_data(first, images=both)[0].image.path == tmp_path / "other" / "good.png"
    (tmp_path / "other" / "good.png").unlink()
    assert read_data(first, images=both)[0].image.path == folder / "good.png"


def test_a_limit_takes_the_first_samples_of_all_files(folder: Path) -> None:
    path = write(folder, row(), row(id="b"), b"{")
    assert [s.id for s in read_data(path, limit=2)] == ["a", "b"]
    second = folder / "second.jsonl"
    second.write_text("{")
    assert len(read_data([path, second], limit=1)) == 1


def test_many_ids_of_two_files_are_counted(folder: Path) -> None:
    path = write(folder, *(row(id=f"{n}") for n in range(9)))
    problems = Problems()
    samples = read_data([path, path, path], problems=problems)
    assert len(samples) == 9 and problems.bad_rows() == 18
    assert problems.lines() == [f"{path} is read twice; name it in one source only"]
    other = path.with_name("other.jsonl")
    other.write_bytes(path.read_bytes())
    problems = Problems()
    assert len(read_data([path, other], problems=problems)) == 9
    assert problems.lines() == [
        f"{other}: 9 rows (1, 2, 3, 4, 5 and 4 more) have ids that are taken in {path} (are they "
        f"the same data?); the first: {other}:1: id '0' is taken by {path}:1; ids must be unique"
    ]
    problems = Problems()
    read_data(write(folder, *(row(id=f"{n % 7}") for n in range(14))), problems=problems)
    assert problems.lines()[0].startswith(
        f"{path}: 7 rows (8, 9, 10, 11, 12 and 2 more) have ids that are taken earlier in the file"
    )


def test_files_of_other_editors_are_read(folder: Path) -> None:
    rows = [row(), row(id="b", question="杯子 ☕ كوب")]
    text = "".join(json.dumps(one, ensure_ascii=False) + "\r\n" for one in rows)
    for name, content in (
        ("bom.jsonl", b"\xef\xbb\xbf" + text.encode()),
        ("list.json", json.dumps(rows, indent=1).encode()),
        ("bom.json", b"\xef\xbb\xbf \n" + json.dumps(rows).encode()),
        ("rows.json", text.encode()),
    ):
        (folder / name).write_bytes(content)
        samples = read_data(folder / name)
        assert [sample.question for sample in samples] == [one["question"] for one in rows], name
    (folder / "windows.jsonl").write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"windows\.jsonl is UTF-16; save it as UTF-8"):
        read_data(folder / "windows.jsonl")


def test_huge_images_are_refused_before_they_are_decoded(folder: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 8
    picture = bytearray((folder / "good.png").read_bytes())
    picture[16:24] = side.to_bytes(4, "big") * 2
    picture[29:33] = zlib.crc32(picture[12:29]).to_bytes(4, "big")
    (folder / "huge.png").write_bytes(picture)
    with pytest.raises(InputError, match=f"claims {side}x{side} pixels"):
        read_data(write(folder, row(image="huge.png")))


FIXTURES = ROOT / "tests" / "fixtures"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("jsonl/data.jsonl", "jsonl"),
        ("vlm_r1/rec.jsonl", "vlm-r1"),
        ("coco/annotations/instances_rooms2026.json", "coco"),
        ("refcoco", "refcoco"),
        ("hf/expressions.parquet", "hf"),
        ("hf/detection", "hf"),
    ],
)
def test_formats_are_told_apart(path: str, name: str) -> None:
    assert recognised_format(FIXTURES / path).name == name


def test_rows_keep_their_task_and_a_note_says_so(folder: Path) -> None:
    path, problems = write(folder, row()), Problems()
    (sample,) = read_dataset(source_from_keys({"path": path, "task": "isr"}), problems)
    assert sample.task == "rec" and not problems.lines()
    assert "no row has the task isr" in problems.notes[0]


def test_what_is_no_known_format_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="in no known format; it holds images and no labels"):
        read_data(folder)
    with pytest.raises(InputError, match="needs format: hf"):
        read_data(folder / "gone")
    (folder / "table.txt").write_text("a|b\n")
    with pytest.raises(InputError, match=r"table\.txt is in no known format; set format"):
        read_data(folder / "table.txt")
    (folder / "list.json").write_text("[{}]")
    with pytest.raises(InputError, match=r"list\.json\[0\]: the row has no id, task"):
        read_data(folder / "list.json")
    with pytest.raises(InputError, match="format 'xml' is unknown"):
        read_data(folder, "xml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES: list[tuple[Any, ...]] = [
    *((key,) for key in (*REQUIRED_KEYS, *OPTIONAL_KEYS)),
    *(("objects", 0, key) for key in OBJECT_KEYS),
    *(("objects", 0, "mask", key) for key in ("size", "counts")),
    *(("answer", place) for place in (0, 3)),
    *(("columns", key) for key in ("kind", "about")),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), JSON, st.sampled_from(TASKS.names()))
def test_no_json_value_in_any_place_raises_anything_else(
    place: tuple[Any, ...], value: Any, task: str
) -> None:
    good = row(
        image="images/room-0.png", task=task, columns={"kind": "count"}, **thing(mask=GOOD_MASK)
    )
    inner = good = json.loads(json.dumps(good))
    *parents, last = place
    for key in parents:
        inner = inner[key]
    inner[last] = value
    try:
        sample = row_to_sample(json.loads(json.dumps(good)), FIXTURE_IMAGES)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(sample.question, str) and sample.image.width == 112


FIXTURE_IMAGES = ImageFolder(FIXTURES / "jsonl")


def test_duplicate_ids_name_the_first_line(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.jsonl:3: id 'a' is taken by .*data\.jsonl:1; "):
        read_data(write(folder, row(), row(id="b"), row()))


@pytest.mark.parametrize("name", ["truncated.png", "truncated.jpg"])
def test_a_truncated_image_is_found_by_decoding(folder: Path, name: str) -> None:
    path = write(folder, row(), row(id="b", image=name), row(id="c", image=name))
    assert len(read_data(path)) == 3
    with pytest.raises(InputError, match="cannot be decoded") as caught:
        read_data(path, check_images=True)
    assert str(caught.value).startswith(f"{path}: 2 rows (2, 3): image {folder / name} cannot be")


def test_first_twenty_lines_are_listed_and_all_counted() -> None:
    lines = [f"line {number}" for number in range(25)]
    told = "; ".join(f"({number}) line {number - 1}" for number in range(1, 21))
    assert first_of(lines) == (
        f"the data have 25 errors: {told}; and 5 more, see syngrpo data check"
    )
    assert first_of(lines[:1]) == "line 0"


def test_defects_that_repeat_are_one_line(folder: Path) -> None:
    rows = [row(id=f"r{n}", task="x") for n in range(25)]
    rows += [{k: v for k, v in row().items() if k != "id"} for _ in range(7)]
    rows += [row(id="b", answer=[1, 2, 9000, 8]), row(id="c", answer=[1, 2, 9001, 8])]
    path = write(folder, *rows)
    problems = Problems()
    read_data(path, problems=problems)
    lines = problems.lines()
    assert lines[0].startswith(f"{path}: 25 rows (1, 2, 3, 4, 5 and 20 more): task 'x' is unknown")
    assert lines[1].startswith(f"{path}: 7 rows (26, 27, 28, 29, 30 and 2 more): the row has no id")
    assert [line.split()[0] for line in lines[2:]] == [f"{path}:33:", f"{path}:34:"]
    assert problems.bad_rows() == 34


def test_images_that_cannot_be_read_are_one_line_with_their_names(folder: Path) -> None:
    for n in range(7):
        (folder / f"cut{n}.png").write_bytes((folder / "good.png").read_bytes()[:90])
    path = write(folder, *(row(id=f"{n}", image=f"cut{n}.png") for n in range(7)))
    with pytest.raises(InputError) as caught:
        read_data(path, check_images=True)
    assert str(caught.value).startswith(
        f"{path}: 7 rows (images cut0.png, cut1.png, cut2.png, cut3.png, cut4.png and 2 more); the "
        f"first: image {folder / 'cut0.png'} cannot be decoded"
    )


def test_skipping_is_never_silent(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(folder, row(), row(id="b", task="x"), b"{", row(id="c"))
    with caplog.at_level(logging.WARNING):
        samples = read_data(path, on_bad_row="skip")
    assert [sample.id for sample in samples] == ["a", "c"]
    assert "skipped 2 bad rows" in caplog.text and f"{path}:3" in caplog.text
    with pytest.raises(InputError, match="not JSON"):
        read_data(write(folder, b"{"), on_bad_row="skip")


def test_files_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_data(folder / "gone.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_data(folder, "jsonl")
    (folder / "empty.jsonl").write_bytes(b"\n \n")
    with pytest.raises(InputError, match="is empty"):
        read_data(folder / "empty.jsonl")


def test_images_in_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("rows")
    path = write(elsewhere, row())
    assert read_data(path, images=folder)[0].image.path == folder / "good.png"
    with pytest.raises(InputError, match="does not exist"):
        read_data(path)


def test_what_is_written_is_read_back(folder: Path) -> None:
    samples = read_data(
        write(
            folder,
            row(columns={"kind": "ordinal"}, **thing(mask=GOOD_MASK)),
            row(id="b", image="good.jpg", parent="a", description="brick – walls", depth=2),
            row(id="c"),
        )
    )
    write_data(samples, folder / "out" / "copy.jsonl")
    copies = read_data(folder / "out" / "copy.jsonl", check_images=True)
    assert [without_image(copy) for copy in copies] == [without_image(each) for each in samples]
    for copy, original in zip(copies, samples, strict=True):
        assert copy.image.read() == original.image.read()
    assert {path.suffix for path in (folder / "out" / "images").iterdir()} == {".png", ".jpg"}
    assert len(list((folder / "out" / "images").iterdir())) == 2


def test_a_key_that_is_there_twice_is_refused_with_its_row(tmp_path: Path) -> None:
    twice = '{"id": "b", "columns": {"a": 1, "b": 2, "a": 3}}'
    lines = tmp_path / "lines.jsonl"
    lines.write_text(f'{{"id": "a"}}\n{twice}\n{{"id": "c"}}\n')
    problems = Problems()
    assert [row["id"] for _, row in data_rows(lines, problems)] == ["a", "c"]
    told = "the key 'a' is there twice in one object; keep one of them"
    assert [(one.place, one.message) for one in problems.found] == [(f"{lines}:2", told)]
    whole = tmp_path / "list.json"
    whole.write_text(f"[{twice}]")
    with pytest.raises(InputError, match=r"list\.json: the key 'a' is there twice"):
        list(data_rows(whole, problems))


def test_schema_and_reader_know_the_same_keys(folder: Path) -> None:
    assert tuple(SCHEMA["required"]) == REQUIRED_KEYS
    assert SCHEMA["properties"]["task"]["examples"] == list(TASKS.names())
    with_answer = set(SCHEMA["allOf"][1]["if"]["properties"]["task"]["enum"])
    assert with_answer == {n for n in TASKS.names() if get_task(n).asks_for != "classes"}
    assert set(SCHEMA["properties"]) == {*REQUIRED_KEYS, *OPTIONAL_KEYS}
    objects = SCHEMA["properties"]["objects"]["items"]["properties"]
    assert tuple(objects) == OBJECT_KEYS
    Image.new("RGB", (96, 64)).save(folder / "kitchen.png")
    assert len(read_data(write(folder, *SCHEMA["examples"]))) == len(SCHEMA["examples"])


def test_the_photographs_of_the_examples_are_good() -> None:
    samples = read_data(ROOT / "examples" / "photos" / "photos.jsonl", check_images=True)
    assert len({sample.image.path for sample in samples}) >= 6


def without_image(sample: Sample) -> dict[str, Any]:
    values = dict(vars(sample))
    image = values.pop("image")
    assert isinstance(image, EncodedImage)
    return values
