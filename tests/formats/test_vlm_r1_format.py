import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data, read_file
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.formats.base import Problems
from syngrpo.formats.question_texts import classes_in, phrase_in
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_source
from syngrpo.sample import InputError, Sample

FOLDER = Path(__file__).parents[1] / "fixtures" / "vlm_r1"
IMAGE = "images/room_000000000001.jpg"
DETECT = "Please carefully check the image and detect the following objects: "
DESCRIBE = "Please provide the bounding box coordinate of the region this sentence describes: "
TEMPLATE = """Output the bbox coordinates of detected objects in JSON format in <answer></answer>. \
The bbox coordinate format should be: \n```json\n[{"bbox_2d": [x1, y1, x2, y2], "label": "object \
name"}]\n```\n. If no targets are detected in the image, simply respond with "None"."""
BOX = [3, 8, 79, 53]


def row(human: str, answer: Any, **changes: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>" + human}, {"from": "gpt", "value": answer}]
    base = {"id": 1, "image": IMAGE, "conversations": turns}
    return {key: value for key, value in (base | changes).items() if value is not ...}


def read(folder: Path, *rows: Any, task: str | None = None) -> list[Sample]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return read_data(path, "vlm-r1", images=(FOLDER,), task=task)


def test_the_fixtures_say_what_their_rows_say() -> None:
    samples = read_data([FOLDER / "rec.jsonl", FOLDER / "ovd.jsonl"])
    assert [sample.id for sample in samples] == [
        *("rec-1", "rec-2", "rec-3"),
        *("ovd-1", "ovd-2", "ovd-3"),
    ]
    rows = [json.loads(line) for line in (FOLDER / "rec.jsonl").read_text().splitlines()]
    for one, sample in zip(rows, samples, strict=False):
        human = one["conversations"][0]["value"]
        assert sample.task == "rec" and human.endswith(f"describes: {sample.question}.")
        assert str([round(value) for value in sample.answer]) in str(one["conversations"][1])
    assert samples[3].task == "ovd" and len(samples[3].answer) == 3
    assert {thing["label"] for thing in samples[3].answer} < set(samples[3].question.split(", "))
    assert samples[5].answer == () and samples[5].objects == ()


def test_files_and_folders_are_joined_by_colons_as_in_vlm_r1() -> None:
    source = source_from_keys(
        {"path": f"{FOLDER}/rec.jsonl:{FOLDER}/ovd.jsonl", "images": f"{FOLDER}:{FOLDER}"}
    )
    assert source.path == (FOLDER / "rec.jsonl", FOLDER / "ovd.jsonl")
    samples = read_source(source, source.default_name(), Problems())
    assert [sample.dataset for sample in samples] == ["rec"] * 6


ANSWERS = [
    BOX,
    json.dumps(BOX),
    {"bbox_2d": BOX},
    json.dumps({"bbox_2d": BOX, "label": "cup"}),
    f'```json\n[{{"bbox_2d": {BOX}, "label": "cup"}}]\n```',
    f"<answer> {json.dumps([BOX])} </answer>",
    [{"bbox": [float(value) for value in BOX]}],
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_single_box_answers_a_phrase(tmp_path: Path, answer: Any) -> None:
    (sample,) = read(tmp_path, row(DESCRIBE + "the red cup.", answer))
    assert sample.task == "rec" and sample.question == "the red cup"
    assert sample.answer == tuple(map(float, BOX))
    assert sample.objects[0].label == ("cup" if "cup" in str(answer) else "the red cup")


def test_labelled_boxes_answer_a_list_of_classes(tmp_path: Path) -> None:
    found = [{"bbox_2d": BOX, "label": "dog, lying"}, {"bbox_2d": [1, 2, 9, 8], "label": "cup"}]
    one = found[1:]
    human = DETECT + str(["dog, lying", "rider's helmet", "cup"]) + ". " + TEMPLATE
    samples = read(
        tmp_path,
        row(human, "```json\n" + json.dumps(found) + "\n```"),
        row(human, json.dumps(one), id=2),
        row(human, "None", id=3),
        row("Find everything.", found, id=4),
    )
    assert [sample.task for sample in samples] == ["ovd"] * 4
    assert [sample.question for sample in samples] == [
        *["dog lying, rider's helmet, cup"] * 3,
        "dog lying, cup",
    ]
    assert [len(sample.answer) for sample in samples] == [2, 1, 0, 2]
    assert samples[0].answer[0] == {"label": "dog lying", "box": tuple(map(float, BOX))}


def test_a_phrase_that_fits_no_object_or_several_asks_for_a_class(tmp_path: Path) -> None:
    problems = Problems()
    rows = [(DESCRIBE + "a cup, red.", "None"), ("a cup", [BOX, [1, 2, 9, 8]]), ("a cup", BOX)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(*one, id=n)) + "\n" for n, one in enumerate(rows)))
    samples = read_file(path, "vlm-r1", problems, images=FOLDER)
    assert [(s.task, s.question) for s in samples] == [
        *(("ovd", "a cup red"), ("ovd", "a cup"), ("rec", "a cup"))
    ]
    assert [len(sample.answer) for sample in samples[:2]] == [0, 2]
    assert "fit no object or several, which ask for a class: 2" in problems.notes[0]
    problems = Problems()
    assert len(read_file(path, "vlm-r1", problems, images=FOLDER, task="rec")) == 1
    assert problems.found[1].message.startswith("the answer holds 2 boxes; a phrase")


def test_names_that_lose_their_comma_are_said() -> None:
    problems = Problems()
    (sample,) = read_lines(row(DETECT + "['dog, lying', 'cup'].", "None"), problems)
    assert sample.question == "dog lying, cup" and not problems.found
    assert len(problems.notes) == 1 and "'dog, lying' is called 'dog lying'" in problems.notes[0]


def test_the_task_can_be_said(tmp_path: Path) -> None:
    labelled = [{"bbox_2d": BOX, "label": "cup"}]
    human = DETECT + "cup, dog."
    assert read(tmp_path, row(human, labelled))[0].question == "cup, dog"
    assert read(tmp_path, row(human, labelled), task="rec")[0].answer == tuple(map(float, BOX))
    assert read(tmp_path, row(human, labelled), task="ovd-vlm-r1")[0].task == "ovd-vlm-r1"
    phrase = row(DESCRIBE + "a cup", labelled)
    assert read(tmp_path, phrase)[0].task == "rec"
    assert read(tmp_path, phrase, task="ovd")[0].question == "cup"
    with pytest.raises(InputError, match="label no objects apart from the answer"):
        read(tmp_path, phrase, task="isr")


def test_other_keys_become_columns_and_ids_may_be_missing(tmp_path: Path) -> None:
    samples = read(
        tmp_path,
        row("x", BOX, id=..., accu_reward_method="iou"),
        row("x", BOX, id="own", image=[IMAGE]),
    )
    assert [sample.id for sample in samples] == ["rows-line-1", "own"]
    assert samples[0].columns == {"accu_reward_method": "iou"} and samples[0].question == "x"


TURN = {"from": "human", "value": "x"}
BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "two images": (row("x", BOX, image=[IMAGE, IMAGE]), "lists 2 images; only rows with one"),
    "two image marks": (row("<image>x", BOX), "the question has 2 images"),
    "no image": (row("x", BOX, image=...), "has no image"),
    "no turns": (row("x", BOX, conversations=...), "neither turns (conversations, messages)"),
    "one turn": (row("x", BOX, conversations=[TURN]), "the row has no answer"),
    "four turns": (row("x", BOX, conversations=[TURN] * 4), "write one from human and one"),
    "a number asked": (row("x", BOX, conversations=[TURN | {"value": 3}, 3]), "not a list"),
    "text": (row("how many?", "three"), "neither JSON nor None"),
    "number": (row("how many?", "3"), "holds no box"),
    "boxes of two classes": (row(DETECT + "['a', 'b']", [BOX, BOX]), "has no label"),
    "no bbox": (row("x", {"point_2d": [1, 2]}), "has no bbox_2d"),
    "outside": (row("x", [1, 2, 500, 40]), "leaves the 112x80 image"),
    "unasked": (row(DETECT + "['dog']", [{"bbox_2d": BOX, "label": "cup"}]), "not asked for"),
    "path upwards": (row("x", BOX, image="../x.png"), "leaves the image folder"),
    "special token": (row("the <|image_pad|>", BOX), "special tokens"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    bad, message = BAD_ROWS[name]
    with pytest.raises(InputError) as caught:
        read(tmp_path, row("x", BOX, id=7), bad)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'rows.jsonl'}:2: ") and message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (DESCRIBE + "the cup left of the kettle.", "the cup left of the kettle"),
        (DESCRIBE + '"a man. he waves."', "a man. he waves"),
        (
            DESCRIBE + "lower left First output the thinking process in <think> </think> tags.",
            "lower left First output the thinking process in <think> </think> tags",
        ),
        (DESCRIBE + "lower left. First output the thinking process in <think>.", "lower left"),
        (
            'Please carefully check the image and detect the object this sentence describes: "it".',
            "it",
        ),
        ("Locate the house in this image and output the bbox coordinates in JSON.", "the house"),
        ("the second cup", "the second cup"),
    ],
)
def test_the_phrase_is_taken_out_of_known_wordings(text: str, phrase: str) -> None:
    assert phrase_in(text) == phrase


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Please find the cup and give its bounding box [x1, y1, x2, y2].", "the cup"),
        ("Find the red cup, then output its box.", "the red cup"),
        ("Locate the man in the hat.", "the man in the hat"),
        ("find the cup", "the cup"),
        (
            "Can you identify the cup left of the kettle? Answer with a box.",
            "the cup left of the kettle",
        ),
        ("Where is the person? Give the box as JSON.", "the person"),
        ("Where's the dog in the picture?", "the dog"),
        ("where is the cup in the kitchen sink?", "the cup in the kitchen sink"),
        ("Point to the cup in this image, please", "the cup"),
        ("the man and the dog he wants to find", "the man and the dog he wants to find"),
        ("where the dog is", "where the dog is"),
        ("find", "find"),
        ("the cup. Find it!", "the cup. Find it!"),
    ],
)
def test_find_and_where_is_are_instructions(text: str, phrase: str) -> None:
    assert phrase_in(text) == phrase


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("['a cup', \"rider's helmet\"]. " + TEMPLATE, ("a cup", "rider's helmet")),
        ('["a cup", "b]"].', ("a cup", "b]")),
        (r"['rider\'s helmet']", ("rider's helmet",)),
        ("[a cup, dog]", ("a cup", "dog")),
        ("a cup, dog. " + TEMPLATE, ("a cup", "dog")),
        ("\n- a cup\n- dog running\n\n" + TEMPLATE, ("a cup", "dog running")),
        ("[]", ()),
        ("['open", ()),
    ],
)
def test_the_classes_are_taken_out_of_known_lists(listed: str, names: tuple[str, ...]) -> None:
    assert classes_in(DETECT + listed) == names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES: list[tuple[Any, ...]] = [
    *(("id",), ("image",), ("conversations",), ("conversations", 0), ("syngrpo",)),
    *(("conversations", turn, key) for turn in (0, 1) for key in ("from", "value")),
    *(("conversations", 1, "value", 0), ("conversations", 1, "value", 0, "bbox_2d")),
    ("conversations", 1, "value", 0, "label"),
]
PROMPTS = st.sampled_from(["x", DETECT + "['cup']", DESCRIBE + "a cup"])


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(PLACES), JSON, PROMPTS)
def test_no_json_value_in_any_place_raises_anything_else(
    place: tuple[Any, ...], value: Any, human: str
) -> None:
    inner: Any = row(human, [{"bbox_2d": BOX, "label": "cup"}])
    whole = inner
    *parents, last = place
    for key in parents:
        inner = inner[key]
    inner[last] = value
    problems = Problems()
    samples = read_lines(whole, problems)
    assert len(samples) + problems.bad_rows() == 1
    assert "\n" not in "".join(problems.lines())


def read_lines(content: Any, problems: Problems) -> list[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text(json.dumps(content) + "\n")
        return read_file(path, "vlm-r1", problems, images=FOLDER)


@settings(max_examples=120, deadline=None)
@given(st.text(alphabet="[]'\",. \\\n-:detect describes sentence cup", max_size=80))
def test_no_text_breaks_the_reading_of_questions(text: str) -> None:
    assert isinstance(phrase_in(text), str)
    assert all(name.strip() for name in classes_in("detect: " + text))
