"""The notations in which models write boxes and labels, each with the value that it means."""

import json

import pytest
from grounding_forms import FORMS, GLM_BRACKETS
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.tasks import TASKS, get_task
from syngrpo.tasks.answer_reading import LONGEST

REC, OVD, ISR = get_task("rec"), get_task("ovd"), get_task("isr")
A, B = (10.0, 20.0, 30.0, 50.0), (1.0, 2.0, 3.0, 4.0)
DOG, CAT = {"label": "dog", "box": A}, {"label": "cat", "box": B}
DOGS = (DOG, {"label": "dog", "box": B})

TWO_DOGS = [
    '{"bbox_2d": [[10, 20, 30, 50], [1, 2, 3, 4]], "label": "dog"}',
    '[{"label": "dog", "bbox_2d": [[10, 20, 30, 50],\n [1, 2, 3, 4]]}]',
    '{"boxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "label": "dog"}',
    '{"bboxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "labels": ["dog", "dog"]}',
    '{"dog": [[10, 20, 30, 50], [1, 2, 3, 4]]}',
    '{"dog": [{"bbox_2d": [10, 20, 30, 50]}, {"bbox_2d": [1, 2, 3, 4]}]}',
    '{"dog": [{"x1": 10, "y1": 20, "x2": 30, "y2": 50}, {"x1": 1, "y1": 2, "x2": 3, "y2": 4}]}',
    '{"label": "dog", "boxes": [{"x1": 10, "y1": 20, "x2": 30, "y2": 50}, '
    '{"x1": 1, "y1": 2, "x2": 3, "y2": 4}]}',
    "dog: [10, 20, 30, 50]; dog: [1, 2, 3, 4]",
    "dog: [10, 20, 30, 50], [1, 2, 3, 4]",
    "dog: [[10, 20, 30, 50], [1, 2, 3, 4]]",
    "1. dog: [10, 20, 30, 50]\n2. dog: [1, 2, 3, 4]",
    "- **dog**: [10, 20, 30, 50] and [1, 2, 3, 4]",
    "<ref>dog</ref><box>[[10, 20, 30, 50], [1, 2, 3, 4]]</box>",
    "<ref>dog</ref><box>(10,20),(30,50)</box><box>(1,2),(3,4)</box>",
    "<ref>dog</ref><box>10 20 30 50</box> <box>1 2 3 4</box>",
    "<|ref|>dog<|/ref|><|det|>[[10, 20, 30, 50], [1, 2, 3, 4]]<|/det|>",
    "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(10,20),(30,50)<|box_end|>"
    "<|box_start|>(1,2),(3,4)<|box_end|>",
    "dog(10,20),(30,50)(1,2),(3,4)",
]


@pytest.mark.parametrize("text", TWO_DOGS)
def test_all_boxes_of_one_label_are_read(text: str) -> None:
    assert OVD.read(text) == DOGS
    assert REC.read(text) == A
    assert ISR.read(text) == "dog"


TWO = [
    '[{"bbox_2d": [10, 20, 30, 50], "name": "dog"}, {"name": "cat", "bbox_2d": [1, 2, 3, 4]}]',
    *(
        f'[{{"{key}": [10, 20, 30, 50], "label": "dog"}}, '
        f'{{"label": "cat", "{key}": [1, 2, 3, 4]}}]'
        for key in ("bbox_2d", "box_2d", "bbox", "box", "coordinates", "bounding_box", "position")
    ),
    '[{"label": "dog", "attributes": {"hue": "red", "name": "Rex"}, "bbox_2d": [10, 20, 30, 50]}, '
    '{"bbox_2d": [1, 2, 3, 4], "attributes": {"pose": {"kind": "sits"}}, "label": "cat"}]',
    '{"bbox_2d": [10, 20, 30, 50], "label": "dog", '
    '"parts": [{"box": [1, 2, 3, 4], "name": "cat"}]}',
    '{"dog": [10, 20, 30, 50], "cat": [1, 2, 3, 4]}',
    '{"dog": [[10, 20, 30, 50]], "cat": [[1, 2, 3, 4]], "bird": []}',
    '{"objects": {"dog": {"bbox_2d": [10, 20, 30, 50], "score": 0.9}, '
    '"cat": {"box": [1, 2, 3, 4]}}}',
    "{'dog': [(10, 20, 30, 50)], 'cat': [(1, 2, 3, 4)]}",
    '[{"bbox_2d": ["10", "20", "30", "50"], "label": "dog"}, '
    '{"bbox_2d": ["1", "2", "3", "4"], "label": "cat"}]',
    '[{"bbox_2d": "[10, 20, 30, 50]", "label": "dog"}, {"bbox_2d": "1, 2, 3, 4", "label": "cat"}]',
    '[{"bbox_2d": "10 20 30 50", "label": "dog"}, {"bbox_2d": [1 2 3 4], "label": "cat"}]',
    '[{"x1": 10, "y1": 20, "x2": 30, "y2": 50, "label": "dog"}, '
    '{"label": "cat", "xmin": "1", "ymin": "2", "xmax": "3", "ymax": "4"}]',
    '[{"label": "dog", "bbox": {"x1": 10, "y1": 20, "x2": 30, "y2": 50}}, '
    '{"label": "cat", "box": {"x": 1, "y": 2, "width": 2, "height": 2}}]',
    '[{"label": "dog", "bbox_2d": [[10, 20], [30, 50]]}, '
    '{"label": "cat", "box": [(1, 2), (3, 4)]}]',
    '[{"bbox_2d": [10, 20, 30, 50, 0.93], "label": "dog"}, '
    '{"bbox_2d": [1, 2, 3, 4, 1.0], "label": "cat"}]',
    "dog: [10, 20, 30, 50, 0.9]\ncat: [1, 2, 3, 4, .5]",
    "dog: [10, 20, 30, 50]; cat: [1, 2, 3, 4]",
    "dog = (10, 20, 30, 50), cat = (1, 2, 3, 4)",
    "dog: (10,20),(30,50)\ncat: (1,2),(3,4)",
    'dog: [10, 20, 30, 50], and "cat": [1, 2, 3, 4].',
    "<box>[10, 20, 30, 50]</box>".join(
        ["<label>dog</label>", "<label>cat</label><box>1,2,3,4</box>"]
    ),
    "~~~\ndog: [10, 20, 30, 50]\ncat: [1, 2, 3, 4]\n~~~",
    '{"bboxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "labels": ["dog", "cat"]}',
    'label: "dog", bbox: [10, 20, 30, 50]\nlabel: "cat", bbox: [1, 2, 3, 4]',
    '[\n  // the first\n  {"bbox_2d": [10, 20, // x1, y1 [0, 0, 9, 9]\n  30, 50], '
    '"label": "dog",},\n'
    '  {"bbox_2d": [1, 2, 3, 4], /* "label": "bird", */ "label": "cat",},\n]',
    '{"detections": [{"bbox_2d": [10, 20, 30, 50], "label": "dog"}, '
    '{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6, 7',
    '[{"x": 10, "y": 10, "width": 9, "height": 9, "bbox_2d": [10, 20, 30, 50], "label": "dog"}, '
    '{"box": [5, 6, 7, 8], "bbox_2d": [1, 2, 3, 4], "label": "cat"}]',
]


@pytest.mark.parametrize("text", TWO)
def test_every_label_has_its_own_box(text: str) -> None:
    assert OVD.read(text) == (DOG, CAT)
    assert REC.read(text) == A


@pytest.mark.parametrize(
    "text",
    [
        "(10, 20, 30, 50)",
        "(10,20),(30,50)",
        "[[10, 20], [30, 50]]",
        "<box>10, 20, 30, 50</box>",
        "<|box_start|>(10,20),(30,50)<|box_end|>",
        "[10, 20, 30, 50, 0.87]",
        '["10", "20", "30", "50"]',
        "[10. 20. 30. 50.]",
        "array([[10, 20, 30, 50]])",
        '{"x1": 10, "y1": 20, "x2": 30, "y2": 50}',
        '{"left": 10, "top": 20, "right": 30, "bottom": 50}',
        "x1=10, y1=20, x2=30, y2=50",
        'in the [0, 0, 80, 60] picture {"box": [10, 20, 30, 50]}',
        "in the (80, 60) picture at (0, 0, 9, 9) or [10, 20, 30, 50]",
        '{"thing": {"bbox_2d": [10, 20, 30, 50]}, "boxes": [[1, 2, 3, 4]]}',
        '{"description": "the thing at [10, 20, 30, 50]"}',
        "```xml\n<box>[10, 20, 30, 50]</box>\n```",
        *(form.format("10, 20, 30, 50") for form in GLM_BRACKETS),
    ],
)
def test_one_box_is_read_in_every_notation(text: str) -> None:
    assert REC.read(text) == A


@pytest.mark.parametrize(
    "text",
    [
        "(10, 20)",
        '<points x1="10" y1="20" x2="30" y2="50" alt="dog">dog</points>',
        '<point x="10.5" y="20.5" alt="dog">dog</point>',
        '{"point_2d": [10, 20], "label": "dog"}',
        '{"points": [[10, 20], [30, 50]], "label": "dog"}',
        '{"label": "dog", "x": 10, "y": 20}',
        "(10, 20), (30, 50), (60, 70)",
        "[[1, 2], [3, 4], [5, 6], [7, 8]]",
        '{"polygon": [[1, 2], [3, 4]]}',
        "click(start_box='(10,20)')",
    ],
)
def test_points_are_no_boxes(text: str) -> None:
    assert REC.read(text) is None
    assert OVD.read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "No objects",
        "No objects of these classes are visible.",
        "There are no dogs in this picture.",
        "There is no dog.",
        "I see no dog or cat here",
        "no such objects found",
        "Nothing.",
        "N/A",
        "The image does not contain any dogs.",
        "I can't see any of them.",
        "There aren't any.",
        "They are not present in the image.",
        "zero instances",
        "```json\n[]\n```",
        "```json5\n[ ]\n```",
        "[[]]",
        "[{}]",
        '{"objects": []}',
        '{"dog": [], "cat": null}',
        '{"dog": [], "cat": None,}',
        '[{"bbox_2d": null, "label": "None"}]',
        "<answer>None</answer>",
    ],
)
def test_nothing_is_said_in_many_ways(text: str) -> None:
    assert OVD.read(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "I have no idea",
        "no answer",
        "No, it is a dog.",
        "I cannot see the picture",
        "There are no 3 dogs",
        '{"bbox_2d": null, "label": "dog"}',
        '{"dog": [',
        "{",
        "dog",
        "",
    ],
)
def test_what_does_not_say_that_nothing_is_there_is_unreadable(text: str) -> None:
    assert OVD.read(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|begin_of_box|>kitchen<|end_of_box|>", "kitchen"),
        ("<|begin_of_box|>3<|end_of_box|>", 3),
        ("The answer is $\\boxed{3}$.", 3),
        ("\\boxed{living room}", "living room"),
        ('{"bbox_2d": [10, 20, 30, 50], "label": "kitchen"}', "kitchen"),
        ('{"bbox_2d": [10, 20, 30, 50], "label": "dog", "answer": 3}', 3),
        ("```markdown\n**kitchen**\n```", "kitchen"),
        ("~~~\n3\n~~~", 3),
    ],
)
def test_closed_answers_lose_what_is_around_them(text: str, expected: object) -> None:
    assert ISR.read(text) == expected


WORDS = st.text(st.characters(categories=["Ll", "Lu"], max_codepoint=0x3FF), min_size=1, max_size=8)
LABELS = (
    st.lists(WORDS, min_size=1, max_size=3)
    .map(" ".join)
    .filter(
        lambda label: (
            not any(word in {"and", "or", "the", "all", "no"} for word in label.casefold().split())
        )
    )
)
SIDE = st.tuples(st.integers(0, 999), st.integers(0, 999)).filter(lambda side: side[0] != side[1])
BOXES = st.tuples(SIDE, SIDE).map(
    lambda sides: (min(sides[0]), min(sides[1]), max(sides[0]), max(sides[1]))
)
OBJECTS = st.lists(st.tuples(LABELS, BOXES), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(OBJECTS, st.sampled_from(sorted(FORMS)))
def test_what_a_family_documents_is_read_back_exactly(
    objects: list[tuple[str, tuple[int, int, int, int]]], name: str
) -> None:
    text = FORMS[name](objects)
    assert OVD.read(text) == tuple({"label": label, "box": box} for label, box in objects)
    assert REC.read(text) == objects[0][1]
    assert normal(ISR.read(text)) == normal(objects[0][0])


def normal(label: object) -> str:
    return str(label).casefold().strip()


@settings(max_examples=60, deadline=None)
@given(OBJECTS, st.sampled_from(sorted(FORMS)), st.data())
def test_an_answer_cut_off_keeps_the_objects_before_the_cut(
    objects: list[tuple[str, tuple[int, int, int, int]]], name: str, data: st.DataObject
) -> None:
    whole = FORMS[name](objects)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(FORMS[name](objects[:number])) for number in range(1, len(objects) + 1)]
    complete = sum(end <= cut for end in ends)  # their closing fence or bracket included
    read = OVD.read(whole[:cut]) or ()
    expected = tuple({"label": label, "box": box} for label, box in objects)
    assert read == expected[: len(read)] and len(read) >= complete


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=12), BOXES), max_size=5),
    st.sampled_from(["label", "name", "category_name", "description"]),
)
def test_any_label_survives_json(objects: list[tuple[str, tuple[int, ...]]], key: str) -> None:
    expected = [{"label": label, "box": box} for label, box in objects if label.strip()]
    rows = [{key: label, "attributes": {key: "x"}, "box": box} for label, box in objects]
    assert list(OVD.read(json.dumps(rows)) or ()) == expected


@pytest.mark.parametrize("piece", ["[", "{", '{"a":', "(1,2),", "dog: [1, 2, 3, 4]; ", '"', " "])
def test_a_huge_answer_is_one_cut_off(piece: str) -> None:
    """A megabyte costs no more than the part that is read, and nothing recurses."""
    text = piece * (1_000_000 // len(piece))
    for name in TASKS.names():
        assert get_task(name).read(text) == get_task(name).read(text[:LONGEST])
