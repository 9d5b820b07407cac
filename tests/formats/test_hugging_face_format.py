"""Hugging Face datasets of the forms in use, read against what the library itself says of them."""

import io
import json
import pickle
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_sets import read_data, read_file
from PIL import Image

from syngrpo.boxes import encode_mask
from syngrpo.formats import Problems, recognised_format
from syngrpo.formats.image_files import ImageFolder
from syngrpo.formats.mapped_columns import OWN_FIELDS, ClassQuestions, ColumnMapping
from syngrpo.formats.sample_rows import row_to_sample
from syngrpo.sample import InputError, Sample, with_pixels
from syngrpo.tasks import get_task

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hf"
EXPRESSIONS = FIXTURES / "expressions.parquet"
DETECTION = FIXTURES / "detection"
REC_COLUMNS = {"question": "problem", "answer": "solution"}
OVD_COLUMNS = {"boxes": "objects.bbox", "labels": "objects.category"}
SIZE = (32, 24)
BOX = [4.0, 5.0, 20.0, 15.0]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What ``load_dataset`` prepares goes to the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def read(path: Path, **options: Any) -> list[Sample]:
    return read_data(path, "hf", **options)


def picture(number: int = 0) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def png(number: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture(number).save(buffer, format="PNG")
    return buffer.getvalue()


def saved(folder: Path, columns: dict[str, list[Any]], **features: Any) -> Path:
    """A dataset of our own on the disk; columns without a feature are inferred."""
    table = datasets.Dataset.from_dict(columns)
    for name, feature in features.items():
        table = table.cast_column(name, feature)
    table.save_to_disk(folder / "saved")
    return folder / "saved"


def rec_table(**columns: list[Any]) -> dict[str, list[Any]]:
    base = {"image": [png()], "question": ["the cup"], "answer": [BOX]}
    return {name: values for name, values in (base | columns).items() if values is not ...}


def test_expressions_of_a_parquet_file() -> None:
    source = datasets.Dataset.from_parquet(str(EXPRESSIONS))
    samples = read(EXPRESSIONS, task="rec", columns=REC_COLUMNS | {"number": "row"})
    assert len(samples) == len(source) == 3
    for sample, row in zip(samples, source, strict=True):
        assert (sample.question, sample.answer) == (row["problem"], tuple(row["solution"]))
        assert np.array_equal(sample.image.decode(), np.asarray(row["image"].convert("RGB")))
        assert sample.columns == {"number": row["row"]}
        assert sample.id == f"expressions-{row['row']}"
        assert sample.objects[0].box == sample.answer


def test_boxes_in_the_notation_of_qwen2_vl_count_thousandths(tmp_path: Path) -> None:
    answers = ["<|box_start|>(100,200),(300,400)<|box_end|>"]
    path = saved(tmp_path, rec_table(answer=answers), image=datasets.Image())
    (sample,) = read(path, task="rec", columns={"answer": "answer"})
    width, height = sample.image.width, sample.image.height
    wanted = (0.1 * width, 0.2 * height, 0.3 * width, 0.4 * height)
    assert sample.answer == pytest.approx(wanted, abs=0.01)


def test_detection_with_class_numbers_and_xywh() -> None:
    source = datasets.load_from_disk(str(DETECTION))["train"]
    names = source.features["objects"]["category"].feature.names
    columns = OVD_COLUMNS | {"question": "classes", "id": "image_id"}
    samples = read(DETECTION, task="ovd", split="train", columns=columns, boxes="xywh")
    for sample, row in zip(samples, source, strict=True):
        assert sample.id == str(row["image_id"])
        assert sample.question == ", ".join(row["classes"])
        boxes = [(x, y, x + w, y + h) for x, y, w, h in row["objects"]["bbox"]]
        assert np.allclose([thing.box for thing in sample.objects], boxes)
        assert [t.label for t in sample.objects] == [names[c] for c in row["objects"]["category"]]
        expected = [t for t in sample.objects if t.label in row["classes"]]
        assert [found["label"] for found in sample.answer] == [thing.label for thing in expected]
        assert expected


def test_detection_without_a_question_asks_for_what_is_there_and_what_is_not() -> None:
    source = datasets.load_from_disk(str(DETECTION))["train"]
    names = source.features["objects"]["category"].feature.names
    ovd: dict[str, Any] = {"columns": OVD_COLUMNS, "boxes": "xywh", "negatives": 3}
    read_twice = [
        read(DETECTION, task="ovd", split="train", seed=seed, **ovd) for seed in (0, 0, 1)
    ]
    first, again, other = ([sample.question for sample in samples] for samples in read_twice)
    assert first == again != other
    for question, row in zip(first, source, strict=True):
        asked = question.split(", ")
        present = {names[number] for number in row["objects"]["category"]}
        assert present < set(asked) <= set(names) and len(asked) == len(present) + 3


def test_detection_with_labels_as_texts(tmp_path: Path) -> None:
    labels = {"boxes": [[BOX], [BOX]], "labels": [["a, cup"], ["pot"]]}
    table = {"image": [png(), png(1)], **labels}
    first, second = read(saved(tmp_path, table), task="ovd", negatives=1)
    assert sorted(first.question.split(", ")) == sorted(second.question.split(", "))
    assert [thing["label"] for thing in first.answer + second.answer] == ["a cup", "pot"]


def test_a_split_must_be_named_when_there_are_several() -> None:
    columns = OVD_COLUMNS | {"question": "classes"}
    with pytest.raises(InputError, match="has the splits train, test; name one with split"):
        read_file(DETECTION, "hf", Problems(), task="ovd", columns=columns)
    with pytest.raises(InputError, match="has no split val; it has train, test"):
        read(DETECTION, task="ovd", columns=columns, split="val")
    assert len(read(DETECTION, task="ovd", columns=columns, split="test", boxes="xywh")) == 1


def test_images_as_bytes_as_pil_in_lists_and_as_paths(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    picture().save(tmp_path / "files" / "a.png")
    forms: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "bytes": ([png()], {}),
        "bytes as the feature": ([{"bytes": png(), "path": None}], {"image": datasets.Image()}),
        "PIL": ([picture()], {}),
        "list": ([[picture()]], {}),
        "path": (["a.png"], {}),
        "absolute path": ([str(tmp_path / "files" / "a.png")], {}),
        "path as the feature": ([str(tmp_path / "files/a.png")], {"image": datasets.Image()}),
    }
    for name, (images, features) in forms.items():
        path = saved(tmp_path / name, rec_table(image=images), **features)
        (sample,) = read(path, task="rec", images=(tmp_path / "files",))
        assert (sample.image.width, sample.image.height) == SIZE, name
        assert np.array_equal(sample.image.decode(), np.asarray(picture())), name


def test_reading_decodes_nothing_and_keeps_no_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, rec_table(image=[picture()]))
    decoded: list[str] = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: decoded.append("x") or load(self))
    (sample,) = read(path, task="rec")
    assert not decoded and sample.image.data is None and sample.image.path is None
    assert sample.image.decode().shape == (SIZE[1], SIZE[0], 3)
    assert sample.image.read() == png()


def test_a_folder_of_images_with_metadata(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "train").mkdir(parents=True)
    picture(1).save(folder / "train" / "a.png")
    picture(2).save(folder / "train" / "b.png")
    rows = [
        {"file_name": "a.png", "question": "the cup", "answer": BOX},
        {"file_name": "b.png", "question": "the plant", "answer": BOX},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train" / "metadata.jsonl").write_text(text)
    samples = read(folder, task="rec")
    assert [sample.question for sample in samples] == ["the cup", "the plant"]
    assert np.array_equal(samples[1].image.decode(), np.asarray(picture(2)))


def test_a_list_of_phrases_is_a_sample_each(tmp_path: Path) -> None:
    table = rec_table(question=[["the cup", "what one drinks from"]], answer=..., bbox=[BOX])
    path = saved(tmp_path, table)
    samples = read(path, task="rec", columns={"answer": "bbox"}, boxes="xywh")
    assert [sample.question for sample in samples] == ["the cup", "what one drinks from"]
    assert [sample.id for sample in samples] == ["saved-0-0", "saved-0-1"]
    assert samples[1].answer == (4.0, 5.0, 24.0, 20.0)


def test_objects_as_a_list_of_structs(tmp_path: Path) -> None:
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[6:10, 6:10] = True
    objects = [{"label": "cup", "box": BOX, "mask": encode_mask(mask)}]
    objects.append({"label": "pot", "box": [0.0, 0.0, 3.0, 3.0], "mask": None})
    path = saved(tmp_path, rec_table(objects=[objects]))
    (sample,) = read(path, task="rec")
    assert [thing.label for thing in sample.objects] == ["cup", "pot"]
    assert sample.objects[0].mask == encode_mask(mask) and sample.objects[1].mask is None


@pytest.mark.parametrize("box_name", ["box", "bbox"])
@pytest.mark.parametrize("label_name", ["label", "category"])
def test_objects_as_structs_and_as_lists_with_class_numbers(
    tmp_path: Path, box_name: str, label_name: str
) -> None:
    other = [0.0, 0.0, 3.0, 3.0]
    names = datasets.ClassLabel(names=["cup", "pot", "pan"])
    numbers = datasets.List(datasets.Value("float64"))
    structs = [{box_name: BOX, label_name: 0, "area": 160}, {box_name: other, label_name: 1}]
    lists = {box_name: [BOX, other], label_name: [0, 1]}
    forms: dict[str, tuple[Any, Any]] = {
        "structs": (structs, datasets.List({box_name: numbers, label_name: names})),
        "lists": (lists, {box_name: datasets.List(numbers), label_name: datasets.List(names)}),
    }
    for name, (value, feature) in forms.items():
        features = datasets.Features({"image": datasets.Image(), "objects": feature})
        for struct in structs:
            struct.pop("area", None)
        table = {"image": [{"bytes": png(), "path": None}], "objects": [value]}
        path = tmp_path / name
        datasets.Dataset.from_dict(table, features=features).save_to_disk(path)
        (sample,) = read(path, task="ovd", negatives=1)
        assert [thing.label for thing in sample.objects] == ["cup", "pot"], name
        assert sample.objects[0].box == tuple(BOX)
        assert set(sample.question.split(", ")) == {"cup", "pot", "pan"}


def test_columns_of_other_trainers_need_no_mapping(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "<image>the cup"}]
    forms: dict[str, dict[str, list[Any]]] = {
        "EasyR1": {"images": [[png()]], "problem": ["<image>the cup"], "answer": [str(BOX)]},
        "R1-V": {
            "image": [png()],
            "problem": ["the cup"],
            "solution": [f"<answer> {BOX} </answer>"],
        },
        "ms-swift": {
            "messages": [[*turns, {"role": "assistant", "content": str(BOX)}]],
            "images": [[{"bytes": png(), "path": None}]],
        },
        "GRPO of ms-swift": {
            "messages": [turns],
            "images": [[{"bytes": png(), "path": None}]],
            "solution": [json.dumps([{"bbox_2d": BOX, "label": "cup"}])],
        },
    }
    for name, columns in forms.items():
        (sample,) = read(saved(tmp_path / name, columns))
        assert (sample.task, sample.question, sample.answer) == ("rec", "the cup", tuple(BOX)), name
        assert sample.id == "saved-line-0"
    mapped = {"image": "images", "question": "problem"}
    (sample,) = read(tmp_path / "EasyR1" / "saved", task="rec", columns=mapped)
    assert (sample.question, sample.answer) == ("the cup", tuple(BOX))


def test_streaming_fetches_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table = rec_table(image=[png(n) for n in range(5)], question=list("abcde"), answer=[BOX] * 5)
    dataset = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    dataset.to_parquet(path)
    samples = read(path, task="rec", streaming=True, limit=2)
    assert [sample.question for sample in samples] == ["a", "b"]
    assert np.array_equal(samples[1].image.decode(), np.asarray(picture(1)))
    with pytest.raises(InputError, match="streaming fetches the first rows only; set limit"):
        read(path, task="rec", streaming=True)


def test_paths_that_to_parquet_writes(tmp_path: Path) -> None:
    """Without its bytes, an image is known by the path that it had when the table was written."""
    (tmp_path / "images").mkdir()
    picture().save(tmp_path / "images" / "a.png")
    old = "/home/somebody/project/images/a.png"
    for name, image in (("text", old), ("struct", {"bytes": None, "path": old})):
        path = tmp_path / f"{name}.parquet"
        datasets.Dataset.from_dict(rec_table(image=[image])).to_parquet(path)
        (sample,) = read(path, task="rec")
        assert sample.image.path == tmp_path / "images" / "a.png"


def test_closed_questions(tmp_path: Path) -> None:
    objects = [[{"label": "cup", "box": BOX}]] * 3
    table = {
        "image": [png(n) for n in range(3)],
        "question": ["how many cups?", "what room?", "how wide?"],
        "answer": ["2", "kitchen", "1.5"],
        "objects": objects,
        "type": ["count", "room_type", "attribute"],
    }
    path = saved(tmp_path, table)
    samples = read(path, task="isr", columns={"kind": "type"})
    assert [sample.answer for sample in samples] == [2, "kitchen", 1.5]
    assert samples[1].columns == {"kind": "room_type"}


def test_the_task_may_be_a_column(tmp_path: Path) -> None:
    path = saved(tmp_path, rec_table(task=["rec"]))
    assert read(path)[0].task == "rec"
    with pytest.raises(InputError, match="the task is not known; set task"):
        read(saved(tmp_path / "other", rec_table()))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no bytes": ({"image": [b"x"]}, "an image of 1 bytes cannot be read: it is no readable PNG"),
    "no image": ({"image": [None, png()], "question": ["a", "b"], "answer": [BOX] * 2}, "None"),
    "two images": ({"image": [[png(), png(1)]]}, "the row has 2 images"),
    "path upwards": ({"image": ["../a.png"]}, "leaves the image folder"),
    "foreign path": ({"image": ["/etc/hostname"]}, "leaves the image folder"),
    "box outside": ({"answer": [[0.0, 0.0, 99.0, 9.0]]}, "leaves the 32x24 image"),
    "not a box": ({"answer": ["left"]}, "the answer 'left' is neither JSON nor None"),
    "URL": ({"image": ["https://a.org/a.png"]}, "is a URL; download the images"),
    "class without a name": (
        {"objects": [[{"label": 3, "box": BOX}]]},
        "the label 3 is a number, and its column declares no class names",
    ),
    "NUL": ({"question": ["a\0b"]}, "holds the character NUL"),
    "special token": ({"question": ["<|x|>"]}, "special tokens"),
    "labels": ({"boxes": [[BOX]], "labels": [["a", "b"]]}, "are not lists of equal length"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_with_its_number(tmp_path: Path, name: str) -> None:
    changes, message = BAD[name]
    path = saved(tmp_path, rec_table(**changes))
    with pytest.raises(InputError) as caught:
        read(path, task="rec")
    assert str(caught.value).startswith(f"{path}: row 0: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_without_bytes_is_called_empty(tmp_path: Path) -> None:
    feature = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    path = saved(tmp_path, rec_table(image=[{"bytes": b"", "path": "a.png"}]), image=feature)
    with pytest.raises(InputError, match=r"row 0: an image of 0 bytes cannot be read: it is empty"):
        read(path, task="rec")


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    table = rec_table(image=[png(), b"x", png(2)], question=["a", "b", "c"], answer=[BOX] * 3)
    path = saved(tmp_path, table)
    assert [s.question for s in read(path, task="rec", on_bad_row="skip")] == ["a", "c"]
    assert [s.question for s in read(path, task="rec", limit=1)] == ["a"]


def test_duplicate_ids_are_found(tmp_path: Path) -> None:
    table = rec_table(image=[png()] * 2, question=["a"] * 2, answer=[BOX] * 2, id=["x", "x"])
    with pytest.raises(InputError, match=r"row 1: id 'x' is taken by .*row 0"):
        read(saved(tmp_path, table), task="rec")


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, rec_table())
    with pytest.raises(InputError, match=r"has no column prompt; it has image, question, answer"):
        read(path, task="rec", columns={"question": "prompt"})
    with pytest.raises(InputError, match="is now a key of the source; set boxes: cxcywh"):
        read(path, task="rec", columns={"box_format": "cxcywh"})
    path = saved(tmp_path / "other", {"picture": [png()]})
    with pytest.raises(InputError, match="the columns picture: no column holds image, and none"):
        read(path, task="rec")


TASK_UNKNOWN = "the task is not known; set task (--task), or map a column to it"
NEEDED = {
    "only the image mapped": (
        None,
        {"image": "image"},
        f"{TASK_UNKNOWN}; no column holds question, and none holds answer or objects",
    ),
    "no task": (None, REC_COLUMNS, TASK_UNKNOWN),
    "no columns": (
        "rec",
        {"image": "image"},
        "no column holds question, and none holds answer or objects; map each, as in",
    ),
    "no answer": ("rec", {"question": "problem"}, "no column holds answer or objects; map each"),
    "no question": ("isr", {"objects": "solution"}, "no column holds question, and none holds an"),
    "nothing labelled": (
        "isr",
        {"question": "problem", "answer": "row"},
        "no column holds objects (labelled boxes, which task isr needs); map each",
    ),
    "nothing to ask for": ("ovd", {"image": "image"}, "no column holds question; map each"),
}


@pytest.mark.parametrize("name", NEEDED)
def test_columns_that_are_needed_are_told_with_those_there_are(name: str) -> None:
    task, columns, told = NEEDED[name]
    start = f"^{EXPRESSIONS} has the columns image, problem, solution, row: "
    with pytest.raises(InputError, match=start + re.escape(told)):
        read(EXPRESSIONS, task=task, columns=columns)


@pytest.mark.parametrize("column", ["objects", "annotations"])
def test_labelled_boxes_without_questions_are_asked_for_their_classes(
    tmp_path: Path, column: str
) -> None:
    boxes = {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": ["cup"]}
    path = saved(tmp_path, {"image": [png()], "width": [8], column: [boxes]})
    for task in (None, "ovd"):
        (sample,) = read(path, task=task)
        assert (sample.task, sample.question) == ("ovd", "cup")
        assert [(thing.label, thing.box) for thing in sample.objects] == [("cup", (1, 2, 3, 4))]
    keys, options = "set task: ovd", "--task ovd"
    if column != "objects":
        keys += f" and columns: {{objects: {column}}}"
        options += f" --columns objects={column}"
    with pytest.raises(InputError) as caught:
        read(path, task="rec")
    assert str(caught.value) == (
        f"{path} has the columns image, width, {column}: it has labelled boxes ({column}) and no "
        f"questions; {keys} ({options}) to ask for the classes of each image, or map the column of "
        "the questions, as in --columns question=THEIR_COLUMN"
    )


def test_a_decoded_image_of_a_data_set_has_the_bytes_that_are_in_its_files(tmp_path: Path) -> None:
    (sample,) = read(saved(tmp_path, rec_table(question=["cup"])), task="rec")
    decoded = with_pixels(sample).image
    assert (decoded.read(), decoded.digest()) == (sample.image.read(), sample.image.digest())
    sent = pickle.loads(pickle.dumps(decoded))
    assert np.array_equal(sent.decode(), sample.image.decode())


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_rows_of_json_with_other_keys_are_mapped(tmp_path: Path, ending: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(png())
    mine = [{"img": "photos/a.png", "caption": "the cup", "bbox": [1, 2, 3, 4], "height": 9}] * 2
    path = tmp_path / f"rows.{ending}"
    lines = "".join(json.dumps(row) + "\n" for row in mine)
    path.write_text(lines if ending == "jsonl" else json.dumps(mine, indent=1))
    with pytest.raises(InputError, match=r"its keys are img, .*\(--columns question=THEIR_KEY\)"):
        read_data(path)
    columns = {"image": "img", "question": "caption", "answer": "bbox"}
    samples = read_data(path, task="rec", columns=columns, boxes="xywh")
    assert [(one.question, one.answer) for one in samples] == [("the cup", (1, 2, 4, 6))] * 2
    assert samples[0].image.path == tmp_path / "photos" / "a.png"


def test_a_single_file_has_no_splits() -> None:
    with pytest.raises(InputError, match="is one file; leave out split, which is for folders"):
        read(EXPRESSIONS, split="test")


def test_a_table_of_counts_is_told_with_what_is_missing(tmp_path: Path) -> None:
    path = saved(tmp_path, {"image": [png()] * 9, "problem": ["how many?"] * 9, "count": [3] * 9})
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(
        f"{path} has the columns image, problem, count: none holds the answer (solution, answer, "
    )
    with pytest.raises(InputError, match=r"no column holds question, and none holds answer, and n"):
        read(path, task="isr")
    columns = {"question": "problem", "answer": "count"}
    with pytest.raises(InputError, match=r"no column holds objects \(labelled boxes, which"):
        read(path, task="isr", columns=columns)


def test_reading_shows_no_progress_bar_of_the_library(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.parquet"
    datasets.Dataset.from_dict(rec_table(question=["cup"])).to_parquet(path)
    capfd.readouterr()
    assert read(path, task="rec")
    assert capfd.readouterr().err == ""


def test_how_to_map_a_column_is_told_for_a_configuration_and_the_command_line() -> None:
    with pytest.raises(InputError) as caught:
        read(EXPRESSIONS, task="rec", columns={"question": "problem"})
    how = "as in columns: {answer: THEIR_COLUMN} or --columns answer=THEIR_COLUMN"
    assert str(caught.value).endswith(how)


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for path in ("broken.parquet", "broken", "empty", "nobody/has-this-dataset"):
        where = Path(path) if path.startswith("nobody") else tmp_path / path
        with pytest.raises(InputError, match="cannot be read as a Hugging Face dataset") as caught:
            read(where, task="rec")
        assert "\n" not in str(caught.value)


def test_without_the_library_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'syngrpo\[hf\]'"):
        read(EXPRESSIONS, task="rec")


def test_the_format_is_recognised() -> None:
    for path in (EXPRESSIONS, DETECTION, DETECTION / "train"):
        assert recognised_format(path).name == "hf"


NONSENSE = (None, "", "x", "[1, 2", "[[]]", "{}", 0, -1, 2.5, True, float("nan"), [], [[]], {})
NESTED = (*NONSENSE, [BOX], [BOX, "x"], [None], ["cup", 3], {"label": []}, [{"label": "cup"}])
OBJECTS = (*NESTED, [{"label": "cup", "box": BOX}], [{"label": {}, "box": [BOX]}], {"box": BOX})


def test_no_value_of_any_column_raises_anything_but_one_line() -> None:
    rng = random.Random(0)
    images = ImageFolder(FIXTURES.parent / "refcoco" / "images")
    (name,) = {path.name for path in images.roots[0].glob("*1000.jpg")}
    good = 0
    for _ in range(4000):
        fields = [field for field in OWN_FIELDS if rng.random() < 0.6]
        row = {field: rng.choice(OBJECTS) for field in fields} | {"image": None}
        row |= {field: value for field, value in GOOD.items() if rng.random() < 0.7}
        mapping = ColumnMapping.of(list(row), {}, "here")
        wanted = rng.choice(("rec", "ovd", "isr", None))
        task = get_task(wanted) if wanted is not None else None
        try:
            for ours in mapping.rows(row, "row", task, ClassQuestions(["pot"], 1, 0)):
                row_to_sample(ours | {"image": name}, images)
                good += 1
        except InputError as error:
            assert "\n" not in str(error)
    assert good > 100


GOOD: dict[str, Any] = {
    "id": "a",
    "task": "rec",
    "question": "cup",
    "answer": BOX,
    "objects": [{"label": "cup", "box": BOX}],
    "boxes": None,
    "labels": None,
    "columns": None,
    "parent": None,
    "depth": None,
    "description": None,
    "lineage": None,
}
