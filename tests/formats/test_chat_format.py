"""Rows of other trainers, as their documentation and their published data write them."""

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from syngrpo.formats import Problems, recognised_format
from syngrpo.sample import InputError, Sample

WIDTH, HEIGHT = 200, 100
BOX = (20.0, 10.0, 60.0, 50.0)
OTHER = (100.0, 50.0, 150.0, 90.0)
THOUSANDTHS = [100, 100, 300, 500]


def read(folder: Path, *rows: Any, problems: Problems | None = None, **keys: Any) -> list[Sample]:
    Image.new("RGB", (WIDTH, HEIGHT), "gray").save(folder / "a.png")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_data(path, problems=problems, **keys)


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
QWEN = json.dumps([{"bbox_2d": list(BOX), "label": "sheep"}])
FIND = "<image>Find the <ref-object> in the image"
POSITION = str([{"Position": THOUSANDTHS, "Confidence": 1}])
DETECT = (
    "<image>Detect all objects belonging to the category 'sheep' in the image, and provide the "
    "bounding boxes (between 0 and 1000, integer) and confidence (between 0 and 1, with two "
    "decimal places).\nIf no object belonging to the category 'sheep' in the image, return "
    "'No Objects'."
)

ONE_BOX: dict[str, dict[str, Any]] = {
    "ms-swift": {
        "messages": [SYSTEM, user(FIND), assistant("<bbox>")],
        "images": ["a.png"],
        "objects": {"ref": ["sheep"], "bbox": [BOX]},
    },
    "ms-swift, from 0 to 1": {
        "messages": [user(FIND), assistant("<bbox>")],
        "images": [{"bytes": None, "path": "a.png"}],
        "objects": {"ref": ["sheep"], "bbox": [[0.1, 0.1, 0.3, 0.5]], "bbox_type": "norm1"},
    },
    "ms-swift 2": {
        "query": "Find <ref-object>",
        "response": "<bbox>",
        "images": ["a.png"],
        "objects": json.dumps([{"caption": "sheep", "bbox": BOX, "bbox_type": "real", "image": 0}]),
    },
    "Qwen2-VL's notation": {
        "messages": [
            user("Locate the sheep in this image"),
            assistant(
                "<|object_ref_start|>sheep<|object_ref_end|>"
                "<|box_start|>(100,100),(300,500)<|box_end|>"
            ),
        ],
        "images": ["a.png"],
    },
    "LLaMA-Factory": {
        "messages": [user("<image>Locate the sheep in this image."), assistant(QWEN)],
        "images": ["a.png"],
    },
    "LLaMA-Factory, sharegpt": {
        "conversations": [
            {"from": "human", "value": "<image>Locate the sheep in this image."},
            {"from": "gpt", "value": QWEN},
        ],
        "images": ["a.png"],
    },
    "OpenAI": {
        "messages": [
            user([{"type": "image", "image": "a.png"}, {"type": "text", "text": "the sheep"}]),
            assistant([{"type": "text", "text": QWEN}]),
        ]
    },
    "GRPO of ms-swift": {"messages": [user("<image>sheep")], "images": ["a.png"], "solution": QWEN},
    "EasyR1": {"problem": "<image>sheep", "images": ["a.png"], "answer": json.dumps(BOX)},
    "R1-V": {"problem": "sheep", "image": "a.png", "solution": f"<answer> {list(BOX)} </answer>"},
    "Visual-RFT": {
        "image": "a.png",
        "problem": "Output the bounding box in the image corresponding to the instruction: sheep. "
        "Output the thinking process in <think> </think> and your grounding box. Following "
        '"<think> thinking process </think>\n<answer>(x1,y1),(x2,y2)</answer>" format.',
        "solution": str(BOX),
    },
    "Visual-RFT, points": {"image": "a.png", "problem": "sheep", "solution": "(20,10),(60,50)"},
}


@pytest.mark.parametrize("program", ONE_BOX)
def test_a_phrase_with_one_box(tmp_path: Path, program: str) -> None:
    (sample,) = read(tmp_path, ONE_BOX[program])
    assert sample.task == "rec" and sample.question in ("sheep", "the sheep")
    assert sample.answer == pytest.approx(BOX) and len(sample.objects) == 1
    assert sample.id == "rows-line-1" and not sample.columns


CLASSES: dict[str, dict[str, Any]] = {
    "ms-swift": {
        "messages": [SYSTEM, user(FIND), assistant("<bbox><bbox>")],
        "images": ["a.png"],
        "objects": {"ref": ["sheep"], "bbox": [BOX, OTHER]},
    },
    "LLaMA-Factory": {
        "messages": [
            user("<image>Detect the following objects: ['sheep', 'dog']."),
            assistant(json.dumps([{"bbox_2d": b, "label": "sheep"} for b in (BOX, OTHER)])),
        ],
        "images": ["a.png"],
    },
    "Visual-RFT": {
        "image": "a.png",
        "problem": DETECT,
        "solution": str(
            [{"Position": THOUSANDTHS, "Confidence": 1}, {"Position": [500, 500, 750, 900]}]
        ),
    },
}


@pytest.mark.parametrize("program", CLASSES)
def test_classes_with_two_boxes(tmp_path: Path, program: str) -> None:
    (sample,) = read(tmp_path, CLASSES[program])
    assert sample.task == "ovd" and sample.question.split(", ")[0] == "sheep"
    assert [one["box"] for one in sample.answer] == [pytest.approx(b) for b in (BOX, OTHER)]
    assert {one["label"] for one in sample.answer} == {"sheep"}


def test_one_box_of_a_class_and_none(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "problem": DETECT, "solution": POSITION},
        {"image": "a.png", "problem": DETECT, "solution": "<answer>No Objects</answer>"},
    ]
    samples = read(tmp_path, *rows)
    assert [(sample.task, len(sample.answer)) for sample in samples] == [("ovd", 1), ("ovd", 0)]
    assert samples[0].answer[0]["box"] == pytest.approx(BOX)
    assert read(tmp_path, rows[0], coordinates="pixels", boxes="xywh", problems=Problems()) == []


def test_captions_give_a_phrase_for_each_object(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "messages": [
            user("<image>Describe the image."),
            assistant("<ref-object><bbox> and <ref-object><bbox> are playing"),
        ],
        "images": ["a.png"],
        "objects": {"ref": ["a dog", "a woman"], "bbox": [BOX, OTHER]},
        "channel": "web",
    }
    samples = read(tmp_path, row)
    assert [(s.id, s.task, s.question) for s in samples] == [
        ("rows-7-0", "rec", "a dog"),
        ("rows-7-1", "rec", "a woman"),
    ]
    assert [sample.answer for sample in samples] == [BOX, OTHER]
    assert all(len(s.objects) == 2 and s.columns == {"channel": "web"} for s in samples)
    (classes,) = read(tmp_path, row, task="ovd")
    assert classes.question == "a dog, a woman" and len(classes.answer) == 2


def test_a_json_list_is_read_and_its_items_are_named(tmp_path: Path) -> None:
    read(tmp_path, SWIFT)
    path = tmp_path / "train.json"
    bad = ONE_BOX["EasyR1"] | {"answer": "none of your business"}
    path.write_text(json.dumps([ONE_BOX["LLaMA-Factory"], bad, 3]))
    assert recognised_format(path).name == "chat"
    problems = Problems()
    (sample,) = read_data(path, problems=problems)
    assert sample.id == "train-line-0"
    assert [defect.place for defect in problems.found] == [f"{path}[1]", f"{path}[2]"]


SWIFT = ONE_BOX["ms-swift"]
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "two images": (SWIFT | {"images": ["a.png", "a.png"]}, "lists 2 images"),
    "no image": (SWIFT | {"images": []}, "lists 0 images"),
    "image is bytes": (SWIFT | {"images": [{"bytes": "eA=="}]}, "image is {'bytes'"),
    "URL": (SWIFT | {"images": ["https://a.org/a.png"]}, "is a URL; download"),
    "several turns": (
        SWIFT | {"messages": [user("a"), assistant("b")] * 2},
        "write one from human",
    ),
    "no answer": ({"messages": [user("the sheep")], "images": ["a.png"]}, "the row has no answer"),
    "text": (ONE_BOX["R1-V"] | {"solution": "<answer> 3 </answer>"}, "holds no box"),
    "a region": (SWIFT | {"messages": [user("What is <bbox>?")]}, "the question has a <bbox>"),
    "a point": (SWIFT | {"objects": {"ref": ["sheep"], "bbox": [[1, 2]]}}, "is not a box"),
    "refs": (SWIFT | {"objects": {"ref": ["a", "b"], "bbox": [BOX] * 3}}, "2 ref and 3 bbox"),
    "no refs": (SWIFT | {"objects": {"ref": [], "bbox": []}}, "objects has no ref"),
    "unit": (SWIFT | {"objects": {"ref": [], "bbox": [], "bbox_type": "x"}}, "bbox_type"),
    "objects": (SWIFT | {"objects": "sheep"}, "neither JSON nor an object"),
    "marks": (SWIFT | {"messages": [user("<image><image>a")]}, "the question has 2 images"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    row, message = BAD[name]
    with pytest.raises(InputError) as caught:
        read(tmp_path, SWIFT, row)
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}:2: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["左边的红杯子", "الكوب الأحمر على اليسار", "🐑🐑", "das größte Schäfchen"]
)
def test_questions_of_any_language(tmp_path: Path, text: str) -> None:
    (sample,) = read(tmp_path, ONE_BOX["EasyR1"] | {"problem": f"<image>\n{text}"})
    assert sample.question == text and sample.objects[0].label == text
    (classes,) = read(tmp_path, ONE_BOX["EasyR1"] | {"problem": text}, task="ovd")
    assert classes.question == text
    with pytest.raises(InputError, match=text[:4]):
        read(tmp_path, ONE_BOX["EasyR1"] | {"problem": text, "answer": text})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside of a JSON value."""
    keys: Any = value if isinstance(value, dict) else ()
    if isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield (*above, key)
        yield from places(value[key], (*above, key))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_json_value_in_any_place_raises_anything_else(data: st.DataObject) -> None:
    whole = copy.deepcopy(data.draw(st.sampled_from([*ONE_BOX.values(), *CLASSES.values()])))
    inner = whole
    *parents, last = data.draw(st.sampled_from(list(places(whole))))
    for key in parents:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    problems = Problems()
    with tempfile.TemporaryDirectory() as folder:
        task = data.draw(st.sampled_from([None, "rec", "ovd"]))
        samples = read(Path(folder), whole, problems=problems, format="chat", task=task)
    assert samples or problems.bad_rows() or problems.refused
    assert "\n" not in "".join(problems.lines())
