import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image
from tiny_models import save_tiny_qwen

from syngrpo.cli.main import main
from syngrpo.config import load_config
from syngrpo.formats.source_reading import read_sources
from syngrpo.formats.survey import survey
from syngrpo.sample import InputError

FIXTURES = Path(__file__).parents[1] / "fixtures"
COCO = FIXTURES / "coco" / "annotations" / "instances_rooms2026.json"
BOX = [1, 2, 30, 40]


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


Check = Callable[..., Result]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    """``syngrpo data check`` in this process."""

    def run(*arguments: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["syngrpo", "data", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(int(str(ended.value)), *capsys.readouterr())

    return run


def rec(identifier: str, **changes: Any) -> dict[str, Any]:
    row = {"id": identifier, "task": "rec", "image": "a.png", "question": "the cup", "answer": BOX}
    return row | changes


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    if not (path.parent / "a.png").exists():
        Image.new("RGB", (64, 48), "red").save(path.parent / "a.png")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def samples_of(path: Path, overrides: list[str] | None = None) -> tuple[Any, Any]:
    options = load_config(path, overrides or [])
    return read_sources(options.data, options.evaluation.sets)


def config(folder: Path, sources: str, sets: str = "{}", data: str = "") -> Path:
    path = folder / "run.yaml"
    text = "model: {path: starter}\nmethod: {name: grpo}\n"
    path.write_text(f"{text}data:\n  train: {sources}\n{data}\nevaluation: {{sets: {sets}}}\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([FIXTURES / "jsonl" / "data.jsonl"], ["4 ovd, 4 isr, 2 rec", "10 rows"]),
        ([FIXTURES / "vlm_r1" / "rec.jsonl", FIXTURES / "vlm_r1" / "ovd.jsonl"], ["3 rec, 3 ovd"]),
        ([COCO, "--negatives", "0"], ["3 ovd", "crowd annotations", "without a class to ask for"]),
        ([COCO, "--task", "rec", "--images", FIXTURES / "coco" / "rooms2026"], ["rec", "mask"]),
    ],
    ids=lambda value: "",
)
def test_the_table_says_what_a_data_set_holds(
    check: Check, arguments: list[Any], shown: list[str]
) -> None:
    result = check(*arguments)
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in [*shown, "ok: nothing is wrong"])


def test_everything_that_is_wrong_is_listed_with_its_line(check: Check, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", rec("a"), rec("b"))
    bad = write(tmp_path / "bad.jsonl", *(rec(f"r{n}", task="x") for n in range(30)), rec("a"))
    shutil.copy(tmp_path / "a.png", tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:80])
    write(tmp_path / "cut.jsonl", rec("c", image="cut.png"))
    result = check(good, bad, tmp_path / "cut.jsonl", tmp_path / "gone.jsonl")
    assert result.returncode == 2
    assert f"{bad}: 30 rows (1, 2, 3, 4, 5 and 25 more): task 'x' is unknown" in result.stdout
    assert f"{bad}:31: id 'a' is taken by {good}:1" in result.stdout
    assert f"{tmp_path / 'cut.jsonl'}:1: image {tmp_path / 'cut.png'} cannot be" in result.stdout
    assert "gone.jsonl does not exist" in result.stdout
    assert result.stderr.splitlines() == ["error: the data have 4 errors; they are listed above"]


def test_a_config_is_checked_source_by_source(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", rec("a"))
    write(tmp_path / "two.jsonl", rec("a", task="x"), rec("b"))
    path = config(tmp_path, "[{path: one.jsonl}, {path: two.jsonl}]", "{val: {path: one.jsonl}}")
    result = check(path)
    assert result.returncode == 2 and "two.jsonl:1: task 'x' is unknown" in result.stderr
    assert all(name in result.stdout for name in ("train: one", "train: two", "held out: val"))
    assert check(path, "--task", "rec").stderr.startswith("error: task: a config says that")


def test_wrong_options_are_one_line(check: Check) -> None:
    for arguments, told in (
        ([COCO, "--task", "depth"], "task 'depth' is unknown"),
        ([COCO, "--format", "xml"], "format 'xml' is unknown"),
        ([COCO, "--columns", "a"], "write it as OUR_FIELD=THEIR_COLUMN"),
        ([COCO, "--task", "isr"], "cannot be read as task 'isr'"),
    ):
        result = check(*arguments)
        assert result.returncode == 2 and told in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_boxes_that_look_otherwise_are_drawn(check: Check, tmp_path: Path) -> None:
    rows = [rec(str(n), answer=[0.1 * n, 0.1, 0.1 * n + 0.3, 0.5]) for n in range(4)]
    path, sheet = write(tmp_path / "data.jsonl", *rows), tmp_path / "sheet.png"
    result = check(path, "--sheet", sheet)
    assert (
        result.returncode == 2
        and "set coordinates: 0-1 (--option coordinates=0-1);" in result.stderr
    )
    assert f"note: {sheet} shows images of {path}" in result.stdout
    with Image.open(sheet) as drawn:
        assert drawn.width >= 320
    assert check(path, "--coordinates", "0-1").returncode == 0
    assert not Path("data-check.png").exists()


def test_the_last_line_says_what_to_set_first(check: Check, tmp_path: Path) -> None:
    wrong = [[40, 30, 9 + n, 9] for n in range(9)]
    path = write(tmp_path / "data.jsonl", *(rec(str(n), answer=a) for n, a in enumerate(wrong)))
    result = check(path, "--sheet", tmp_path / "sheet.png")
    cause = (
        f"{path}: the boxes are read as x1, y1, x2, y2 in pixels, and 9 of 9 boxes do not fit; "
        "they look like x, y, width, height in pixels; set boxes: xywh (--option boxes=xywh); "
        "so 9 rows "
        "(1, 2, 3, 4, 5 and 4 more) cannot be used"
    )
    assert result.stderr == f"error: {cause}\n"
    with path.open("a") as file:
        file.write("{}\n")
    result = check(path, "--sheet", tmp_path / "sheet.png")
    assert cause in result.stdout and f"{path}:10: the row has no id" in result.stdout
    assert result.stderr == (
        "error: the data have 2 errors; they are listed above; first set boxes: xywh (--option "
        "boxes=xywh), and check again\n"
    )
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert check(path, "--option", "boxes=xywh").returncode == 0


def test_a_sheet_of_samples_is_drawn_when_it_is_asked_for(check: Check, tmp_path: Path) -> None:
    path, sheet = write(tmp_path / "data.jsonl", rec("a")), tmp_path / "sheet.png"
    result = check(path, "--sheet", sheet)
    assert result.returncode == 0 and f"note: {sheet} shows some images" in result.stdout
    with Image.open(sheet) as drawn:
        assert (0, 255, 0) in {colour for _, colour in drawn.getcolors(1 << 20) or ()}


def test_boxes_of_the_stored_view_are_counted_and_drawn_in_both(
    check: Check, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), "red").save(tmp_path / "turned.jpg", exif=exif)
    rows = [rec(str(n), image="turned.jpg", answer=[n, 5, 55 + n, 40]) for n in range(8)]
    path, sheet = write(tmp_path / "data.jsonl", *rows), tmp_path / "sheet.png"
    result = check(path, "--sheet", sheet)
    assert result.returncode == 2 and f"note: {sheet} shows images of {path}" in result.stdout
    assert result.stderr == (
        f"error: {path}: 8 of 8 boxes on images with an EXIF orientation fit only the images as "
        "they are stored, before it turns them; set exif: stored (--option exif=stored); so 8 rows "
        "(1, 2, 3, 4, 5 and 3 more) cannot be used\n"
    )
    with Image.open(sheet) as drawn:
        assert drawn.width == 2 * 320
    sheet.unlink()
    assert check(path, "--option", "exif=stored").returncode == 0
    write(tmp_path / "data.jsonl", rec("a", image="turned.jpg", answer=[5, 5, 20, 40]))
    result = check(path, "--sheet", sheet)
    assert "the numbers cannot show which view is meant, so compare the two" in result.stdout
    assert result.stdout.endswith("1 row; but see the notes on its boxes\n") and sheet.exists()
    write(tmp_path / "data.jsonl", rec("a", image="turned.jpg", answer=[5, 50, 20, 60]))
    assert check(path).returncode == 0, "a box fits only the turned image"
    assert not Path("data-check.png").exists()


def test_images_that_the_model_refuses_are_found(tmp_path: Path, check: Check) -> None:
    rows = [rec(f"r{n}", image="thin.png" if n % 2 else "a.png") for n in range(14)]
    Image.new("RGB", (2048, 9)).save(tmp_path / "thin.png")
    rows = [row | ({"answer": [1, 2, 30, 8]} if row["image"] == "thin.png" else {}) for row in rows]
    data = write(tmp_path / "data.jsonl", *rows)
    config = tmp_path / "config.yaml"
    model = save_tiny_qwen(tmp_path / "model")
    config.write_text(
        f"model: {{path: {model}}}\nmethod: {{name: grpo}}\ndata: {{train: [{{path: {data}}}]}}\n"
    )
    result = check(config)
    assert result.returncode == 2
    assert "7 samples (r1, r3, r5, r7, r9 and 2 more): image of sample r1 is 2048x9" in (
        result.stderr
    )
    config.write_text(config.read_text().replace(str(model), str(tmp_path / "gone")))
    (tmp_path / "thin.png").unlink()
    write(data, rows[0])
    result = check(config)
    assert result.returncode == 0
    assert "the sizes of images were not compared with those the model takes" in result.stdout


def test_a_data_yaml_of_yolo_is_no_configuration(check: Check, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (64, 48), "red").save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cup, pot]\n")
    result = check(tmp_path / "data.yaml")
    assert result.returncode == 0 and "1 ovd" in result.stdout, result.stderr


def test_a_folder_of_parts_is_checked_part_by_part(check: Check, tmp_path: Path) -> None:
    for part in ("test", "train", "valid"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (64, 48)).save(tmp_path / part / f"{part}.png")
        content = {
            "images": [{"id": 1, "file_name": f"{part}.png"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}],
            "categories": [{"id": 1, "name": "cup"}],
        }
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(content))
    result = check(tmp_path)
    assert result.returncode == 0 and "ok: nothing is wrong with 3 rows" in result.stdout
    assert "note: checked one by one: train, valid, test; a source of a configuration names" in (
        result.stdout
    )
    (tmp_path / "valid" / "valid.png").unlink()
    result = check(tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert f"{tmp_path / 'valid' / '_annotations.coco.json'}: image 1: image" in result.stderr
    assert check(tmp_path, "--split", "train").returncode == 0


def test_the_files_in_a_folder_are_checked_one_by_one(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "val.jsonl", rec("a"))
    write(tmp_path / "train.jsonl", rec("a"), rec("b"))
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "notes.txt").write_text("x")
    result = check(tmp_path)
    assert result.returncode == 0 and "ok: nothing is wrong with 3 rows" in result.stdout
    assert "checked one by one: train.jsonl, val.jsonl; a source of a configuration names one" in (
        result.stdout
    )
    (tmp_path / "empty").mkdir()
    assert "is in no known format" in check(tmp_path / "empty").stderr


def test_turned_pictures_are_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "data.jsonl", rec("a"), rec("b", image="turned.jpg"))
    Image.new("RGB", (64, 48)).save(tmp_path / "turned.jpg", exif=exif)
    samples = read_data(path)
    assert (samples[1].image.width, samples[1].image.height) == (48, 64)
    assert samples[1].image.decode().shape == (64, 48, 3)
    assert survey(samples).rotated == 1


def test_the_survey_counts_each_object_once() -> None:
    found = survey(read_data(FIXTURES / "jsonl" / "data.jsonl"))
    samples = read_data(FIXTURES / "jsonl" / "data.jsonl")
    by_image = {s.image.path: len(s.objects) for s in samples}
    assert sorted(found.boxes_per_image) == sorted(by_image.values())
    assert found.classes.total() == found.masks == sum(by_image.values())
    assert (
        found.rows == 10
        and found.nothing_to_find == 2
        and found.kinds == {"count": 2, "room_type": 2}
    )
    assert all(0 < share < 1 for share in found.area_shares)


def test_training_finds_every_defect_of_every_source_in_one_report(tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", rec("a"), rec("b", answer=[1, 2, 3]))
    write(tmp_path / "two.jsonl", rec("a"), rec("c", image="gone.png"))
    write(tmp_path / "val.jsonl", rec("a"), rec("d", question=" "))
    sources = "[{path: one.jsonl}, {path: two.jsonl}, {path: gone.jsonl}]"
    path = config(tmp_path, sources, "{val: {path: val.jsonl}}")
    with pytest.raises(InputError) as caught:
        samples_of(path)
    text = str(caught.value)
    start = f"the data have 5 errors: (1) data file {tmp_path / 'gone.jsonl'} does not exist"
    assert "\n" not in text and text.startswith(start)
    assert "one.jsonl:2: " in text and "two.jsonl:2: " in text and "val.jsonl:2: " in text
    assert f"two.jsonl:1: id 'a' is taken by {tmp_path / 'one.jsonl'}:1" in text
    assert "val.jsonl:1" not in text, "an evaluation set may hold ids of the training data"
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        samples_of(path, ["data.on_bad_row=skip"])


def test_skipping_prints_the_count_and_sources_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "one.jsonl", rec("a"), rec("b", answer=[1, 2, 3]))
    write(tmp_path / "two.jsonl", rec("a"), rec("c"))
    sources = (
        "[{path: one.jsonl}, {path: two.jsonl, name: second}, "
        "{format: rooms, split: test, count: 2, size: 64}]"
    )
    path = config(tmp_path, sources, "{val: {path: one.jsonl}}", "  on_bad_row: skip")
    train, held_out = samples_of(path)
    names = [[(sample.dataset, sample.id) for sample in samples] for samples in train]
    assert names[:2] == [[("one", "a")], [("second", "c")]]
    assert {name for name, _ in names[2]} == {"rooms-rec-test"} and len(names[2]) == 2
    assert [(s.dataset, s.id) for s in held_out["val"]] == [("val", "a")]
    assert "skipped 3 bad rows" in caplog.text


def test_what_to_set_first_is_said_for_each_file(check: Check, tmp_path: Path) -> None:
    wrong = [[40, 30, 9 + n, 9] for n in range(9)]
    write(tmp_path / "one.jsonl", *(rec(f"a{n}", answer=box) for n, box in enumerate(wrong)))
    shares = [[0.1, 0.2, 0.3, 0.4 + n / 10] for n in range(4)]
    write(tmp_path / "two.jsonl", *(rec(f"b{n}", answer=box) for n, box in enumerate(shares)))
    path = config(tmp_path, "[{path: one.jsonl}, {path: two.jsonl}]")
    result = check(path, "--sheet", tmp_path / "sheet.png")
    assert result.stderr == (
        "error: the data have 2 errors; they are listed above; first set boxes: xywh (--option "
        f"boxes=xywh) for {tmp_path / 'one.jsonl'}, and set coordinates: 0-1 (--option "
        f"coordinates=0-1) for {tmp_path / 'two.jsonl'}, and check again\n"
    )
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "sheet-2.png").exists()


def test_converting_lists_every_error_on_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(tmp_path / "data.jsonl", rec("a", question=""), rec("b", task="x"), rec("c"))
    arguments = ["convert", str(path), "--to", "coco", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["syngrpo", "data", *arguments])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{path}:1: question is '', not a text"
    assert lines[1].startswith(f"{path}:2: task 'x' is unknown")
    assert lines[2:] == ["error: the data have 2 errors; they are listed above"]
    assert not (tmp_path / "out").exists()
