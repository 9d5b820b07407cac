"""The keys ``boxes`` and ``coordinates``, and how other layouts are recognised."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from syngrpo.formats import Problems
from syngrpo.formats.box_layout import BoxLayout, BoxReader
from syngrpo.formats.box_recognition import doubt_about
from syngrpo.formats.label_sheet import label_sheet
from syngrpo.formats.source import SourceError, source_from_keys
from syngrpo.sample import EncodedImage, InputError

WIDTH, HEIGHT = 200, 100
BOX = (20.0, 10.0, 60.0, 50.0)
WRITTEN: dict[tuple[str, str], list[float]] = {
    ("xyxy", "pixels"): [20, 10, 60, 50],
    ("xywh", "pixels"): [20, 10, 40, 40],
    ("cxcywh", "pixels"): [40, 30, 40, 40],
    ("yxyx", "pixels"): [10, 20, 50, 60],
    ("xyxy", "0-1"): [0.1, 0.1, 0.3, 0.5],
    ("cxcywh", "0-1"): [0.2, 0.3, 0.2, 0.4],
    ("xywh", "0-1000"): [100, 100, 200, 400],
    ("yxyx", "0-1000"): [100, 100, 500, 300],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT), "gray").save(tmp_path / "a.png")
    return tmp_path


def jsonl(folder: Path, *boxes: list[float]) -> Path:
    rows = [
        {"id": f"{n}", "task": "rec", "image": "a.png", "question": "the cup", "answer": box}
        | {"objects": [{"label": "cup", "box": box}]}
        for n, box in enumerate(boxes)
    ]
    return lines(folder / "data.jsonl", rows)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vlm_r1(folder: Path, *boxes: list[float]) -> Path:
    turns = [[{"from": "human", "value": "the cup"}, {"from": "gpt", "value": b}] for b in boxes]
    return lines(
        folder / "vlm.jsonl",
        [{"id": str(n), "image": "a.png", "conversations": t} for n, t in enumerate(turns)],
    )


def coco(folder: Path, *boxes: list[float]) -> Path:
    path = folder / "coco.json"
    annotations = [
        {"id": n, "image_id": 1, "category_id": n, "bbox": box} for n, box in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": annotations,
        "categories": [{"id": n, "name": f"cup {n}"} for n in range(len(boxes))],
    }
    path.write_text(json.dumps(content))
    return path


def hf(folder: Path, *boxes: list[float]) -> Path:
    datasets = pytest.importorskip("datasets")
    path = folder / "data.parquet"
    rows = [
        {"image": "a.png", "question": "the cup", "boxes": [b], "labels": ["cup"]} for b in boxes
    ]
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("layout", WRITTEN, ids=" ".join)
@pytest.mark.parametrize("write", [jsonl, vlm_r1, coco, hf])
def test_every_format_reads_every_layout(folder: Path, write: Any, layout: tuple[str, str]) -> None:
    path = write(folder, WRITTEN[layout])
    order, coordinates = layout
    (sample,) = read_data(path, task="rec", boxes=order, coordinates=coordinates)
    assert sample.answer == pytest.approx(BOX) and sample.objects[0].box == pytest.approx(BOX)


def test_a_box_may_be_an_object_that_names_its_numbers(folder: Path) -> None:
    boxes: list[Any] = [
        {"x1": 20, "y1": 10, "x2": 60, "y2": 50},
        {"xmin": 20, "ymin": 10, "xmax": 60, "ymax": 50, "rotation": 0},
        {"x": 20, "y": 10, "width": 40, "height": 40},
    ]
    assert {sample.answer for sample in read_data(jsonl(folder, *boxes))} == {BOX}


def test_answers_of_classes_are_converted_and_other_values_refused(folder: Path) -> None:
    row = {"id": "a", "task": "ovd", "image": "a.png", "question": "cup"}
    answer: list[dict[str, Any]] = [{"label": "cup", "box": [0.1, 0.1, 0.3, 0.5]}]
    path = lines(folder / "rows.jsonl", [row | {"answer": answer}])
    (sample,) = read_data(path, coordinates="0-1")
    assert sample.answer[0]["box"] == pytest.approx(BOX)
    for bad in ([0.1, 0.1, "0.3", 0.5], [0.1, 0.1, 0.3], [0.1, 0.1, 0.3, 1.5], [True, 0, 1, 1]):
        answer[0]["box"] = bad
        path = lines(folder / "rows.jsonl", [row | {"answer": answer}])
        with pytest.raises(InputError, match=r"rows\.jsonl:1: "):
            read_data(path, coordinates="0-1")


def test_keys_that_a_format_cannot_use_are_refused(folder: Path) -> None:
    (folder / "mine.lines").write_text("a.png;the cup;20;10;60;50\n")
    keys = {"path": folder / "mine.lines", "format": "user_extensions:Lines"}
    assert len(read_data(**keys)) == 1
    with pytest.raises(InputError, match="does not use the keys boxes and coordinates; remove"):
        read_data(**keys, boxes="xywh")
    with pytest.raises(SourceError, match="coordinates: format rooms generates its samples"):
        source_from_keys({"format": "rooms", "split": "test", "coordinates": "0-1"})
    with pytest.raises(SourceError, match=r"boxes: 'ltrb' is not allowed"):
        source_from_keys({"path": "a.jsonl", "boxes": "ltrb"})


def drawn_boxes(seed: int, count: int, sizes: list[tuple[int, int]]) -> list[Any]:
    """Random boxes in pixels with their images, as objects lie in photographs."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        width, height = draw.choice(sizes)
        w, h = draw.uniform(0.05, 0.5) * width, draw.uniform(0.05, 0.5) * height
        x, y = draw.uniform(0, width - w), draw.uniform(0, height - h)
        found.append(((x, y, x + w, y + h), EncodedImage(width, height, data=b"")))
    return found


def written(box: Any, image: EncodedImage, layout: BoxLayout) -> list[float]:
    x1, y1, x2, y2 = box
    numbers = {
        "xyxy": (x1, y1, x2, y2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
        "yxyx": (y1, x1, y2, x2),
    }[layout.order]
    if layout.coordinates == "pixels":
        return [round(number) for number in numbers]
    across, down = image.width, image.height
    sides = (down, across) * 2 if layout.order == "yxyx" else (across, down) * 2
    shares = [number / side for number, side in zip(numbers, sides, strict=True)]
    return shares if layout.coordinates == "0-1" else [round(1000 * share) for share in shares]


PHOTOS = [(640, 480), (480, 640), (500, 375)]
LARGE = [(4000, 3000), (3000, 4000), (1920, 1080)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["xyxy", "xywh", "cxcywh", "yxyx"]),
    st.sampled_from(["pixels", "0-1", "0-1000"]),
    st.sampled_from([PHOTOS, LARGE]),
)
def test_the_layout_is_recognised(seed: int, order: Any, coordinates: Any, sizes: Any) -> None:
    true = BoxLayout(order, coordinates)
    reader = BoxReader()
    for box, image in drawn_boxes(seed, 60, sizes):
        reader.corners(written(box, image, true), image)
    doubt = doubt_about(reader, "data.jsonl")
    looks_like = doubt.looks_like if doubt is not None else reader.layout
    if order == "yxyx" and (coordinates != "pixels" or sizes == LARGE):
        return  # without pixels nothing tells x from y
    assert looks_like == true
    if doubt is not None and sizes == PHOTOS and order != "yxyx":  # of which too many may fit
        assert doubt.sure


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.sampled_from([PHOTOS, LARGE, PHOTOS + LARGE]))
def test_boxes_in_pixels_are_not_doubted(seed: int, count: int, sizes: Any) -> None:
    reader = BoxReader()
    for number, (box, image) in enumerate(drawn_boxes(seed, count, sizes)):
        wrong = count > 30 and number == 7  # one typing error among many
        reader.corners((9000, 1, 2, 3) if wrong else written(box, image, BoxLayout()), image)
    assert doubt_about(reader, "data.jsonl") is None


def test_what_the_user_says_is_believed_as_long_as_it_fits() -> None:
    image = EncodedImage(640, 480, data=b"")
    reader = BoxReader(BoxLayout(), given=True)
    reader.corners([0, 0, 1, 1], image)
    assert doubt_about(reader, "data.jsonl") is None
    reader = BoxReader(BoxLayout("xyxy", "0-1"), given=True)
    reader.corners([10, 20, 300, 400], image)
    doubt = doubt_about(reader, "data.jsonl")
    assert doubt is not None and doubt.looks_like == BoxLayout() and not doubt.sure


def test_boxes_from_0_to_1_stop_reading_with_the_key_to_set(folder: Path) -> None:
    path = jsonl(folder, [0.1, 0.1, 0.3, 0.5], [0.2, 0.2, 0.6, 0.9])
    with pytest.raises(InputError) as caught:
        read_data(path)
    assert str(caught.value) == (
        f"{path}: the boxes are read as x1, y1, x2, y2 in pixels, and no number is larger than 1; "
        "they look like x1, y1, x2, y2 in the range 0-1; set coordinates: 0-1 (--option "
        "coordinates=0-1); if they are right, set boxes: xyxy, coordinates: pixels; "
        "these numbers cannot show whether x or y comes first: look at the sheet of data check"
    )
    assert len(read_data(path, coordinates="pixels")) == 2


def test_boxes_that_end_before_they_begin_are_recognised(folder: Path) -> None:
    wrong = [[120, 60, 40, 30], [150, 20, 30, 70], [100, 50, 99, 49]]
    path = jsonl(folder, *wrong, [20, 10, 40, 40])
    with pytest.raises(InputError) as caught:
        read_data(path)
    assert str(caught.value) == (
        f"{path}: the boxes are read as x1, y1, x2, y2 in pixels, and 3 of 4 boxes do not fit; "
        "they look like x, y, width, height in pixels; set boxes: xywh (--option boxes=xywh); "
        "so 3 rows "
        "(1, 2, 3) cannot be used"
    )
    assert len(read_data(path, boxes="xywh")) == 4


def test_one_or_two_wrong_boxes_are_no_reason_to_doubt_the_others(folder: Path) -> None:
    problems = Problems()
    read_data(jsonl(folder, [120, 60, 40, 30], [20, 10, 40, 40]), problems=problems)
    assert not problems.doubts and len(problems.found) == 1
    assert "set boxes: xywh (--option boxes=xywh) if it is" in problems.lines()[0]


def test_labels_of_the_stored_view_are_no_other_layout(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (640, 480), "gray").save(tmp_path / "a.jpg", exif=exif)
    image = EncodedImage.from_file(tmp_path / "a.jpg")
    assert (image.width, image.height) == (480, 640)
    reader, draw = BoxReader(), random.Random(0)
    for _ in range(40):
        x1, y1 = draw.uniform(0, 560), draw.uniform(0, 400)
        reader.corners([x1, y1, x1 + 79, y1 + 79], image)
    assert doubt_about(reader, "x") is None
    upright = EncodedImage(480, 640, b"")
    plain = BoxReader()
    for box in reader.seen:
        plain.corners(list(box.numbers), upright)
    doubt = doubt_about(plain, "x")
    assert doubt is not None and doubt.looks_like.order == "yxyx"


def test_some_wrong_boxes_of_small_images_are_a_note_and_no_refusal() -> None:
    image, reader = EncodedImage(300, 300, b""), BoxReader()
    for number in range(26):
        reader.corners([number, number, number + 200, number + 200], image)
    for number in range(4):
        reader.corners([number, number, 400 + number, 400], image)
    doubt = doubt_about(reader, "x")
    assert doubt is None or not doubt.sure


def test_the_sheet_shows_boxes_as_read_and_as_meant(folder: Path) -> None:
    problems = Problems()
    path = jsonl(folder, *([150, 50, 40, 40 + n] for n in range(3)), [20, 10, 40, 40])
    read_data(path, problems=problems)
    (doubt,) = problems.doubts
    sheet = label_sheet(doubt)
    assert sheet is not None and sheet.width >= 320
    colours = {colour for _, colour in sheet.getcolors(1 << 20) or ()}
    assert {(255, 0, 255), (0, 255, 0)} <= colours


def read_by(reader: BoxReader, *boxes: Any) -> BoxReader:
    for box, image in boxes:
        reader.corners(box, image)
    return reader


def test_two_scales_in_a_file_are_told(folder: Path) -> None:
    pixels = [[20, 10, 60, 50 + n] for n in range(17)]
    path = jsonl(folder, *pixels, [0.1, 0.1, 0.3, 0.5], [0.2, 0.2, 0.6, 0.9])
    with pytest.raises(InputError) as caught:
        read_data(path)
    assert str(caught.value) == (
        f"{path}: two scales are mixed: 2 of 19 boxes look like x1, y1, x2, y2 in the range 0-1, "
        "the others like pixels or 0-1000; boxes are read as x1, y1, x2, y2 in pixels; write all "
        "boxes of a file on one scale, or make a file of those in the range 0-1, with coordinates: "
        "0-1; these are [0.1, 0.1, 0.3, 0.5] (row 18, a.png), [0.2, 0.2, 0.6, 0.9] (row 19, a.png)"
    )
    problems = Problems()
    assert len(read_data(path, coordinates="pixels", problems=problems)) == 19
    assert "two scales are mixed" in problems.notes[0]


@pytest.mark.parametrize("coordinates", ["pixels", "0-1", "0-1000"])
def test_two_scales_are_told_however_the_boxes_are_read(coordinates: Any) -> None:
    image = EncodedImage(640, 480, data=b"")
    boxes = [([100, 80, 300, 400 + n], image) for n in range(30)]
    boxes += [([0.2, 0.1, 0.5, 0.9 + n / 100], image) for n in range(5)]
    doubt = doubt_about(read_by(BoxReader(BoxLayout("xyxy", coordinates)), *boxes), "x")
    odd = 30 if coordinates == "0-1" else 5
    assert doubt is not None and doubt.sure and len(doubt.seen) == odd and doubt.of == 35


def test_a_second_scale_is_found_at_the_end_of_a_large_file() -> None:
    image = EncodedImage(640, 480, data=b"")
    pixels, shares = ([100, 80, 300, 400], image), ([0.2, 0.1, 0.5, 0.9], image)
    reader = read_by(BoxReader(), *[pixels] * 30_000, *[shares] * 3)
    doubt = doubt_about(reader, "x")
    assert doubt is not None and doubt.of == 30_003 and len(reader.seen) < 20_000


def test_one_tiny_box_among_many_is_a_note() -> None:
    image = EncodedImage(640, 480, data=b"")
    pixels = (([n, 80, 300, 400], image) for n in range(99))
    reader = read_by(BoxReader(), *pixels, ([0, 0, 1, 1], image))
    doubt = doubt_about(reader, "x")
    assert doubt is not None and not doubt.sure
    reader = read_by(BoxReader(BoxLayout("cxcywh", "0-1")), ([0.5, 0.5, 1.0004, 1.0], image))
    assert doubt_about(reader, "x") is None, "rounded"


@pytest.mark.parametrize("seed", range(8))
def test_a_few_large_images_show_that_boxes_end_at_1000(seed: int) -> None:
    sizes = [(1000, 1000)] * 9 + [(2000, 1500)]
    boxes = drawn_boxes(seed, 100, sizes)
    true = BoxLayout("xyxy", "0-1000")
    doubt = doubt_about(read_by(BoxReader(), *((written(*b, true), b[1]) for b in boxes)), "x")
    assert doubt is not None and doubt.looks_like == true
    pixels = ((written(*b, BoxLayout()), b[1]) for b in boxes)
    assert doubt_about(read_by(BoxReader(), *pixels), "x") is None


def test_boxes_that_name_their_numbers_are_converted_in_large_files(folder: Path) -> None:
    image, reader = EncodedImage.from_file(folder / "a.png"), BoxReader()
    read_by(reader, *[([20, 10, 60, 50], image)] * 20_001)
    assert reader.corners({"x": 20, "y": 10, "w": 40, "h": 40}, image) == list(BOX)


SMALL = [(320, 240), (320, 240), (240, 320)]
XYXY, XYWH, OF_1000 = BoxLayout(), BoxLayout("xywh"), BoxLayout("xyxy", "0-1000")


def two_ways(odd: BoxLayout, reader: BoxReader, seed: int) -> BoxReader:
    """Boxes of small images, every second in another layout."""
    for number, (box, image) in enumerate(drawn_boxes(seed, 24, SMALL)):
        reader.corners(written(box, image, odd if number % 2 else XYXY), image)
    return reader


@pytest.mark.parametrize("seed", range(5))
def test_pixels_and_0_to_1000_in_a_file_are_two_scales(seed: int) -> None:
    doubt = doubt_about(two_ways(OF_1000, BoxReader(), seed), "x")
    assert doubt is not None and doubt.sure and doubt.looks_like == OF_1000 and doubt.of == 24
    assert "two scales are mixed" in doubt.message() and "set coordinates" not in doubt.message()
    assert 8 <= len(doubt.seen) <= 12 and len(doubt.others) == 24 - len(doubt.seen)
    doubt = doubt_about(two_ways(OF_1000, BoxReader(OF_1000, given=True), seed), "x")
    assert doubt is not None and not doubt.sure and "two scales are mixed" in doubt.message()


WIDE = [(320, 240), (240, 320), (640, 480), (1024, 600)]


def of_several_sizes(odd_every: int, number: int, given: bool, seed: int) -> str:
    """Return what is said about boxes from 0 to 1000, of which all but each ``odd_every``-th image
    have them in pixels; 1: none has."""
    reader = BoxReader(OF_1000, given=True) if given else BoxReader()
    for index, (box, image) in enumerate(drawn_boxes(seed, number, WIDE)):
        reader.corners(written(box, image, XYXY if index % odd_every else OF_1000), image)
    doubt = doubt_about(reader, "x")
    return "" if doubt is None else doubt.message()


def test_a_mixture_that_may_be_chance_is_told_before_boxes_are_set_to_1000() -> None:
    told = [of_several_sizes(2, 16, given=False, seed=seed) for seed in range(20)]
    assert sum("set coordinates: 0-1000" in one for one in told) >= 5  # the advice was this alone
    assert sum("mixed" in one for one in told) >= 18
    followed = [of_several_sizes(2, 16, given=True, seed=seed) for seed in range(20)]
    assert sum("two scales" in one for one in followed) >= 18


def test_boxes_that_are_all_from_0_to_1000_are_no_mixture() -> None:
    told = [of_several_sizes(1, 40, given=False, seed=seed) for seed in range(20)]
    assert all("set coordinates: 0-1000" in one for one in told)
    assert sum("mixed" in one for one in told) <= 2
    followed = [of_several_sizes(1, 40, given=True, seed=seed) for seed in range(20)]
    assert sum("two scales" in one for one in followed) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_two_orders_in_a_file_are_two_kinds(seed: int) -> None:
    doubt = doubt_about(two_ways(XYWH, BoxReader(), seed), "x")
    assert doubt is not None and doubt.sure and doubt.looks_like == XYWH
    assert "boxes of two kinds are mixed" in doubt.message() and "1000" not in doubt.message()


@pytest.mark.parametrize("seed", range(5))
def test_boxes_of_images_twice_as_large_are_no_0_to_1000(seed: int) -> None:
    reader, given = BoxReader(), BoxReader(OF_1000, given=True)
    for box, image in drawn_boxes(seed, 24, SMALL):
        for one in (reader, given):
            one.corners([round(2 * number) for number in box], image)
    doubt = doubt_about(reader, "x")
    assert doubt is not None and doubt.sure and doubt.looks_like == XYXY
    assert 1.7 < doubt.factor <= 2.01 and "images 320 x 320" in doubt.message()
    assert doubt.advice.startswith("name the folder of the images that were labelled")
    doubt = doubt_about(given, "x")
    assert (
        doubt is not None
        and not doubt.sure
        and "none of 24 boxes reaches beyond" in doubt.message()
    )


def test_two_broken_boxes_among_many_say_nothing_about_the_file() -> None:
    reader = BoxReader()
    for box, image in drawn_boxes(1, 20, SMALL):
        reader.corners(written(box, image, XYXY), image)
    reader.corners([10, 10, 900, 900], image)
    reader.corners([5, 5, 5, 50], image)
    assert doubt_about(reader, "x") is None


def test_a_centre_that_is_called_x_and_y_is_one_if_the_user_says_so() -> None:
    image = EncodedImage(width=200, height=100, data=b"never decoded")
    named = {"x": 60, "y": 50, "width": 40, "height": 40}
    centred = BoxReader(BoxLayout("cxcywh"), given=True)
    assert centred.corners(named, image) == [40, 30, 80, 70]
    assert BoxReader(BoxLayout("cxcywh")).corners(named, image) == [60, 50, 100, 90]
    assert BoxReader(BoxLayout("xyxy"), given=True).corners(named, image) == [60, 50, 100, 90]
