"""Loose JSON in answers: forgiving where models vary, linear in time, never raising."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.boxes import CoordinateFrame
from syngrpo.method.response import parse_response
from syngrpo.sample import EncodedImage, LabelledObject, Sample
from syngrpo.tasks import TASKS, get_task
from syngrpo.tasks.answer_reading import find_boxes, written_box
from syngrpo.tasks.answer_spelling import LONGEST, plain_spelling

OVD = get_task("ovd")
IMAGE = EncodedImage(width=80, height=60, data=b"never decoded")
CHAIR = {"label": "chair", "box": (10.0, 20.0, 30.0, 50.0)}
LAMP = {"label": "desk lamp", "box": (1.0, 2.0, 3.0, 4.0)}
ONE = '{"bbox_2d": [10, 20, 30, 50], "label": "chair"}'
TWO = f'[{ONE}, {{"bbox_2d": [1, 2, 3, 4], "label": "desk lamp"}}]'


@pytest.mark.parametrize(
    "text",
    [
        TWO,
        f"```json\n{TWO}\n```",
        f"```\n{TWO}```",
        f"I see both: {TWO}. That is all.",
        TWO.replace("}]", "},]").replace('"}', '",}').replace("50]", "50,]"),
        TWO.replace("[10, 20, 30, 50]", "[10.0, 2e1, +30., 50.000]"),
        TWO.replace("bbox_2d", "bbox"),
        TWO.replace("bbox_2d", "BBox_2D").replace("label", "Label"),
        TWO.replace('"label"', '"category"'),
        TWO.replace('"', "'"),
        TWO.replace(" ", "").replace("desklamp", "desk lamp"),
        TWO.replace(" ", "  ").replace("desk  lamp", "desk lamp").replace(",", " ,\n"),
        '[{"label": "chair", "bbox_2d": [10, 20, 30, 50]}, '
        '{"label": "desk lamp", "bbox_2d": [1, 2, 3, 4]}]',
        TWO[:-1],
        TWO[:-2],
        TWO[:-1] + ', {"bbox_2d": [5, 6, 7, 8], "lab',
        TWO[:-1] + ', {"bbox_2d": [5, 6, 7, 8], "label": "chai',
        TWO[:-1] + ', {"label": "chair", "bbox_2d": [5, 6, 7, 8',
        f'{{"objects": {TWO}, "count": 2}}',
        TWO.replace("[10, 20, 30, 50]", "[[10, 20, 30, 50]]"),
        TWO.replace('"label": "chair"', '"confidence": 0.9, "label": "chair", "id": [1, 2, 3, 4]'),
        TWO.replace("}, {", "}\n{"),
        TWO.replace("}, {", ", {"),
        TWO.replace("desk lamp", "desk\\u0020lamp"),
        TWO.replace("[10, 20, 30, 50]", '["10", 20, "30", 50]'),
    ],
)
def test_lists_are_read_in_every_usual_spelling(text: str) -> None:
    assert OVD.read(text) == (CHAIR, LAMP)


def test_signs_of_a_comment_inside_a_label_are_kept() -> None:
    first, second = (
        '{"bbox_2d": [1, 2, 3, 4], "label": "a/*b"}',
        '{"bbox_2d": [5, 6, 7, 8], "label": "c*/ // d"}',
    )
    plain = OVD.read(f"[{first}, {second}]")
    assert plain is not None and [one["label"] for one in plain] == ["a/*b", "c*/ // d"]
    commented = f"[/* two */ {first}, // one\n  // more\n {second}] // end"
    assert OVD.read(commented) == plain


def test_a_quote_at_the_very_start_does_not_keep_the_comments_below_it() -> None:
    (found,) = find_boxes('"\n/* [1, 2, 3, 4] */ [10, 20, 30, 50]')
    assert found.box == (10, 20, 30, 50)


@pytest.mark.parametrize("key", ["attributes", "properties", "details", "bndbox"])
def test_a_box_among_the_attributes_of_an_object_has_its_label(key: str) -> None:
    inside = '{"bbox_2d": [10, 20, 30, 50], "id": 1}'
    assert OVD.read(f'[{{"label": "chair", "{key}": {inside}}}]') == (CHAIR,)
    assert OVD.read(f'[{{"{key}": {inside}, "label": "chair"}}]') == (CHAIR,)


def test_a_single_object_is_a_list_of_one() -> None:
    assert OVD.read(ONE) == (CHAIR,)
    assert OVD.read(ONE[1:-1]) == (CHAIR,)


@pytest.mark.parametrize(
    "item",
    [
        '{"bbox_2d": [10, 20, 30, 50]}',
        '{"label": "chair"}',
        '{"bbox_2d": [10, 20, 30], "label": "chair"}',
        '{"bbox_2d": [10, 20, 30, 50, 60], "label": "chair"}',
        '{"bbox_2d": [30, 20, 10, 50], "label": "chair"}',
        '{"bbox_2d": [10, 20, 10, 50], "label": "chair"}',
        '{"bbox_2d": [NaN, 20, 30, 50], "label": "chair"}',
        '{"bbox_2d": [10, 20, 1e999, 50], "label": "chair"}',
        '{"bbox_2d": [10, 20, ' + "9" * 400 + ', 50], "label": "chair"}',
        '{"bbox_2d": [10, 20, ٣٠, 50], "label": "chair"}',
        '{"bbox_2d": ["10", 20, "thirty", 50], "label": "chair"}',
        '{"bbox_2d": null, "label": "chair"}',
        '{"bbox_2d": [10, 20, 30, 50], "label": 7}',
        '{"bbox_2d": [10, 20, 30, 50], "label": " "}',
        '{"bbox_2d": [10, 20, 30, 50], "sublabel": "chair"}',
        '{"label": "a [10, 20, 30, 50] chair"}',
    ],
)
def test_what_is_no_labelled_box_is_left_out(item: str) -> None:
    assert OVD.read(item) is None
    assert OVD.read(f"[{item}, {ONE}]") == (CHAIR,)


@pytest.mark.parametrize("text", ["\\ud800", "caf\\u00e9", "a\\\\b", "a \\x b", 'a \\" b'])
def test_labels_are_text_that_can_be_stored(text: str) -> None:
    (instance,) = OVD.read(f'{{"bbox": [1, 2, 3, 4], "label": "{text}"}}')
    assert instance["label"].encode("utf-8").decode("utf-8") == instance["label"]
    try:
        expected = json.loads(f'"{text}"')
        expected.encode("utf-8")
    except ValueError:
        expected = text
    assert instance["label"] == expected


LABELS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
COORDINATES = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LABELS, COORDINATES), max_size=6), st.booleans(), st.data())
def test_json_is_read_back_and_a_cut_loses_only_what_it_cuts(
    items: list[tuple[str, list[float]]], ascii_only: bool, data: st.DataObject
) -> None:
    rows = [{"bbox_2d": box, "label": label} for label, box in items]
    text = json.dumps(rows, ensure_ascii=ascii_only)
    usable = tuple(
        {"label": label, "box": tuple(box)}
        for label, box in items
        if box[0] < box[2] and box[1] < box[3]
    )
    assert OVD.read(text) == (usable if usable or not items else None)
    cut = text[: data.draw(st.integers(0, len(text)))]
    whole = cut.count("}, {") if not any("}, {" in label for label, _ in items) else 0
    part = OVD.read(cut) or ()
    assert part == usable[: len(part)]
    complete = [box for _, box in items[:whole] if box[0] < box[2] and box[1] < box[3]]
    assert len(part) >= len(complete)


PIECES = ["[", "]", "{", "}", ",", ":", '"', "'", "\\", "-", ".", "e", "```json", "None", "null"]
PIECES += ["NaN", "Infinity", "1", "7.5", "9" * 30, "٣", "²", "bbox_2d", '"bbox": ', "label"]
PIECES += ['"label": "chair"', "[10, 20, 30, 50]", "answer", '{"answer": ', "three", "\n", "\x00"]
LOOSE = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=24).map("".join)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from([TWO, ONE, '{"answer": "kitchen"}', "[1, 2, 3, 4]", "None"]))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 3))
        text = text[:place] + draw(st.sampled_from(["", *PIECES])) + text[place + gone :]
    return text


RANDOM_BYTES = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def sample(task: str) -> Sample:
    answers = {"rec": CHAIR["box"], "ovd": (CHAIR,), "ovd-vlm-r1": (CHAIR,), "isr": 3}
    objects = (LabelledObject("chair", CHAIR["box"]),)
    return Sample("s", task, IMAGE, "chair, lamp", answers[task], objects)


@settings(max_examples=300, deadline=None)
@given(st.one_of(LOOSE, mutated(), RANDOM_BYTES))
def test_no_text_makes_reading_or_scoring_raise(text: str) -> None:
    frame = CoordinateFrame(96, 96, 80, 60)
    for task in map(get_task, TASKS.names()):
        prediction = task.read(text)
        if prediction is not None:
            prediction = task.to_original(prediction, frame)
            json.dumps(prediction, allow_nan=False)
        assert 0.0 <= task.score(prediction, sample(task.name)) <= 1.0


HOSTILE = {
    "brackets": "[",
    "braces": '{"a":',
    "digits": ("[", "9"),
    "number": ("", "9", "."),
    "number with an exponent": ("[1e", "9"),
    "half boxes": "[1, 2, ",
    "half numbers": "[1e",
    "spaces": ("[1", " "),
    "key and spaces": "bbox_2d:" + " " * 20,
    "key and one space": ("{bbox", " "),
    "letters": "a",
    "letters in braces": ("{", "a"),
    "keys": "label",
    "open strings": 'label: "',
    "open strings in braces": '{"label": "',
    "escapes": ('label: "', "\\"),
    "escaped quotes": ('label: "', '\\"label: '),
    "quotes of both kinds": "label: '\"label: \"'",
    "values": ("{", '"a": '),
    "values without quotes": ("{", "a="),
    "fences": "```",
    "answers": "the answer is ",
    "thousands": "1,000",
    "words": "three none ",
    "empty": ("[", " ", "{"),
    "round brackets": "(",
    "points": "(1,2),",
    "pairs of points": "(1,2),(3,4) ",
    "tags": "<box>",
    "names": "a: ",
    "names of boxes": "dog: [1,2,3,4]; ",
    "open names": 'name: "',
    "lists of names": ('names: ["', 'a", "'),
    "names in names": "name: \"name: '",
    "sides": "x1:1,",
    "comments": "/*",
    "closed comments": "/**/",
    "comments of lines": ",  //",
    "lines of comments": ", # x\n",
    "pointers": "<points ",
    "references": "<ref>a</ref>",
    "no": "no ",
    "not any": "not a ",
    "boxed": "\\boxed{",
    "special tokens": "<|",
    "braces alone": "{",
    "closing braces": "}",
    "bars": "|",
    "rows": ("| label | bbox |\n|--|--|\n", "| a | [1, 2, 3, 4] |\n"),
    "rules": "|-",
    "dashes": "- ",
    "items": "- label: a\n",
    "columns of numbers": "a:\n- 1\n",
    "deeper and deeper": "".join(f"{' ' * n}label:\n" for n in range(200)),
    "wide brackets": "［",
    "wide digits": "１",
    "typographic quotes": "“",
    "typographic keys": "“a”:",
    "escaped braces": '{\\"',
    "escaped values": '"a": "{\\"',
    "nested boxed": "\\boxed{{",
    "far names": ("[1,2,3,4]", " x", "[1,2,3,4]"),
    "escaped quotes and wide signs": '\\"。',
    "escaped quotes and typographic ones": 'a[\\"“',
    "escaped quotes in brackets": '[\\"。',
    "escaped quotes and numbers": 'a[\\"1e+nan“',
    "typographic apostrophes": "’a",
    "apostrophes in labels": "label:'a'b",
    "rows without brackets": "a: 1, 2, 3, 4\n",
    "from here to there": "from (1,2) to ",
    "corners": "top-left (1,2), bottom-",
    "pairs": '["a", [1,2,3,4], ',
    "items without a colon": ("- ", "a "),
    "counts": "a: 0, ",
    "per cent": "10%, ",
    "per cent and spaces": ("10%", " "),
    "per cent and digits": ("%:", "0"),
    "sides in per cent": "x1: 10%, ",
    "absent": "keine kein aucun pas de ne vois ",
    "absent points": "a polygon: 1, 2, 3, 4\n",
    "polygons": " polygon",
}
"""A piece that is repeated, or start, piece and end."""


def seconds(text: str) -> float:
    """Return the least processor time of two readings by every task and of the response."""
    best = float("inf")
    for _ in range(2):
        plain_spelling.cache_clear()
        before = time.process_time()
        parse_response(text)
        for task in map(get_task, TASKS.names()):
            task.read(text)
        best = min(best, time.process_time() - before)
    return best


def assert_linear(start: str, piece: str, end: str = "") -> None:
    """Four times the text takes some four times the processor time; quadratic would be sixteen. A
    busy machine may measure one pair wrongly, not three."""

    def text(length: int) -> str:
        return start + (piece * length)[:length] + end

    assert any(seconds(text(16_000)) < 9 * seconds(text(4_000)) + 0.02 for _ in range(3))


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_takes_time_linear_in_the_text(name: str) -> None:
    parts = HOSTILE[name]
    assert_linear(*(("", parts) if isinstance(parts, str) else parts))


def test_a_long_head_does_not_make_a_table_grow_with_each_row() -> None:
    head = f"| label | bbox {'a' * 9000} |\n|--|--|\n"
    text = head + "| dog | [1, 2, 3, 4] |\n" + "| cat | 5 |\n" * 900
    assert len(plain_spelling(text)) <= LONGEST
    assert get_task("ovd").read(text) == ({"label": "dog", "box": (1, 2, 3, 4)},)


@settings(max_examples=15, deadline=None)
@given(st.text('"\\“”。[{(|-:0123456789a\n', min_size=2, max_size=6))
def test_reading_any_repeated_piece_takes_time_linear_in_the_text(piece: str) -> None:
    assert_linear("", piece)


def test_a_model_that_writes_from_0_to_1_writes_thousandths() -> None:
    frame = CoordinateFrame(1.0, 1.0, 640, 480)
    assert written_box((64, 48, 320.2, 480), frame) == [0.1, 0.1, 0.5, 1.0]
    assert written_box((640, 100, 640, 100), frame) == [0.999, 0.208, 1.0, 0.209]
    assert written_box((64, 48, 320.2, 480), replace(frame, width=1000, height=1000)) == [
        100,
        100,
        500,
        1000,
    ]
