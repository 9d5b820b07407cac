import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_average_precision import coco_ap

from syngrpo.boxes import CoordinateFrame, iou
from syngrpo.method.response import parse_response
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.labels import asked_classes
from syngrpo.tasks.ovd import Instance

OVD, VLM_R1 = get_task("ovd"), get_task("ovd-vlm-r1")
IMAGE = EncodedImage(width=80, height=60, data=b"never decoded")
CHAIR, OTHER_CHAIR, LAMP = (10.0, 20.0, 30.0, 50.0), (40.0, 20.0, 60.0, 50.0), (1.0, 1.0, 9.0, 9.0)
OBJECTS = (
    LabelledObject("chair", CHAIR),
    LabelledObject("lamp", LAMP),
    LabelledObject("chair", OTHER_CHAIR),
)


def instance(label: str, box: Box) -> Instance:
    return Instance(label=label, box=box)


CHAIRS = (instance("chair", CHAIR), instance("chair", OTHER_CHAIR))


def sample(answer: tuple[Instance, ...] = CHAIRS, question: str = "chair, bed") -> Sample:
    return Sample("s", "ovd", IMAGE, question, answer, OBJECTS)


@pytest.mark.parametrize(
    "text",
    [
        "None",
        " none.",
        '"None"',
        "```json\nNone\n```",
        "None of these objects is here.",
        "There are none",
        '{"answer": "None"}',
        "[]",
        "```json\n[ ]\n```",
        "null",
    ],
)
def test_absence_is_an_empty_prediction(text: str) -> None:
    assert OVD.read(text) == ()
    assert OVD.score((), sample(())) == 1.0
    assert OVD.score((), sample()) == 0.0


@pytest.mark.parametrize(
    "text", ["", "nonesuch", "[[1, 2, 3, 4]]", "None or [1, 2, 3, 4]", "[", "a [] b", "chair"]
)
def test_what_is_neither_boxes_nor_none_is_unreadable(text: str) -> None:
    assert OVD.read(text) is None
    assert OVD.score(None, sample()) == 0.0
    assert OVD.score(None, sample(())) == 0.0


def test_instances_count_more_than_the_word_none() -> None:
    text = 'None is hidden: [{"bbox_2d": [10, 20, 30, 50], "label": "chair"}]'
    assert OVD.read(text) == (instance("chair", CHAIR),)


def test_score_is_coco_ap_times_the_penalty_for_too_many() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        names = np.array(["chair", "lamp", "bed", "owl"])
        truth, label = rng.uniform(0, 40, (6, 2)), rng.integers(0, 2, 6)
        truth = np.concatenate([truth, truth + rng.uniform(5, 20, (6, 2))], axis=1)
        found = int(rng.integers(1, 12))
        source = rng.integers(0, 6, found)
        boxes = truth[source] + rng.normal(0, 1, (found, 4))
        guess = np.where(rng.random(found) < 0.7, label[source], rng.integers(0, 4, found))
        made = tuple(instance(names[c], tuple(b)) for c, b in zip(guess, boxes, strict=True))
        answer = tuple(instance(names[c], tuple(b)) for c, b in zip(label, truth, strict=True))
        precision = coco_ap(boxes, guess, truth, label)
        one = sample(answer, "chair, lamp, bed")
        assert OVD.score(made, one) == pytest.approx(precision * min(1, 6 / found), abs=1e-12)
        assert VLM_R1.score(made, one) == OVD.score(made, one)


def test_unknown_and_absent_labels_are_too_many() -> None:
    for extra in ("owl", "bed"):  # never asked for; asked for and absent
        prediction = (*CHAIRS, instance(extra, LAMP), instance(extra, LAMP))
        assert OVD.score(prediction, sample()) == 0.5  # 2 of 4
        assert VLM_R1.score(prediction, sample()) == 0.5
    assert OVD.score((instance("bed", LAMP),), sample(())) == 0.0
    assert VLM_R1.score((instance("bed", LAMP),), sample(())) == 0.0
    assert VLM_R1.score((instance("owl", LAMP),), sample()) == 0.0


def test_case_of_labels_matters_only_with_vlm_r1_labels() -> None:
    prediction = tuple(instance(" Chair", one["box"]) for one in CHAIRS)
    assert OVD.score(prediction, sample()) == 1.0
    assert VLM_R1.score(prediction, sample()) == 0.0


def test_answers_are_written_as_json_does_and_read_back() -> None:
    frame = CoordinateFrame(80, 60, 80, 60)
    text = OVD.answer_text(sample(), frame)
    assert text == (
        '[{"bbox_2d": [10, 20, 30, 50], "label": "chair"}, '
        '{"bbox_2d": [40, 20, 60, 50], "label": "chair"}]'
    )
    assert OVD.read(text) == CHAIRS
    assert OVD.answer_text(sample(()), frame) == "None"
    assert OVD.answer_text(sample((instance("café", CHAIR),)), frame).endswith('"café"}]')


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 79), st.floats(0, 59), st.floats(0.01, 80), st.floats(0.01, 60),
    st.sampled_from([(80, 60), (1000, 1000), (24, 18), (81.5, 60)]),
)  # fmt: skip
def test_the_truth_written_as_an_answer_is_readable_and_close(
    x: float, y: float, w: float, h: float, size: tuple[float, float]
) -> None:
    frame = CoordinateFrame(*size, original_width=80, original_height=60)
    truth = (x, y, min(x + w, 80.0), min(y + h, 60.0))
    (read,) = OVD.read(OVD.answer_text(sample((instance("chair", truth),)), frame))
    (back,) = OVD.to_original((read,), frame)
    pixel = max(80 / size[0], 60 / size[1])
    assert all(abs(a - b) <= 1.5 * pixel for a, b in zip(back["box"], truth, strict=True))


def test_full_prompt_teaches_the_format_and_does_not_tell_what_is_there() -> None:
    one = sample(question="chair, {bed}, owl")
    prompt = OVD.prompt(one, "full")
    example = parse_response(prompt[prompt.index("<think>") : prompt.index("</scene>") + 8])
    assert example.well_formed
    assert OVD.read(example.answer) is None  # a copied example is no answer
    assert "chair, {bed}, owl" in prompt and "None" in prompt and '"label"' in prompt
    assert "lamp" not in prompt
    assert prompt == OVD.prompt(replace(one, answer=(), objects=OBJECTS[1:2]), "full")
    assert OVD.prompt(one, "brief") == "detect chair, {bed}, owl"


def test_synthesis_keeps_all_objects_and_forbids_asked_and_labelled_classes() -> None:
    constraints = OVD.constraints(sample())
    assert constraints.keep == (0, 1, 2)
    assert sorted(constraints.forbidden_labels) == ["bed", "chair", "lamp"]
    assert constraints.phrase is None


def test_asked_classes_are_the_names_between_commas() -> None:
    assert asked_classes("chair, desk  lamp,bed") == ("chair", "desk lamp", "bed")
    for question in ("", " ", "chair,", "chair, , bed"):
        with pytest.raises(InputError, match="class names joined by commas"):
            asked_classes(question)
    with pytest.raises(InputError, match="twice"):
        asked_classes("chair, Chair")


def test_without_an_answer_it_is_the_objects_of_the_asked_classes() -> None:
    assert OVD.ground_truth(None, IMAGE, OBJECTS, "chair, bed") == CHAIRS
    assert OVD.ground_truth(None, IMAGE, OBJECTS, "bed") == ()
    assert OVD.ground_truth(None, IMAGE, (), "bed") == ()


def test_an_answer_is_checked_against_the_objects() -> None:
    rows = json.loads(json.dumps(CHAIRS[::-1]))
    rows[0]["box"][0] += 0.4
    truth = OVD.ground_truth(rows, IMAGE, OBJECTS, "chair, bed")
    assert [one["label"] for one in truth] == ["chair", "chair"]
    assert truth[0]["box"] == (40.4, 20.0, 60.0, 50.0) and iou(truth[1]["box"], CHAIR) == 1.0
    assert OVD.ground_truth([], IMAGE, OBJECTS, "bed") == ()


def test_an_answer_of_thousands_of_objects_that_overlap_is_checked_against_them() -> None:
    """All boxes overlap nearly completely, and each instance has an object of its own; every second
    one is moved a little, so that it has to be looked for."""
    image = EncodedImage(width=1000, height=1000, data=b"never decoded")
    rows = [[0.0, 0.0, 500.0, 500 + n / 100] for n in range(4000)]
    objects = [LabelledObject("chair", (x1, y1, x2, y2)) for x1, y1, x2, y2 in rows]
    moved = [[*row[:3], row[3] + (n % 2) / 1000] for n, row in enumerate(rows)]
    value = [{"label": "Chair", "box": box} for box in reversed(moved)]
    truth = OVD.ground_truth(value, image, objects, "chair")
    assert [list(one["box"]) for one in truth] == moved[::-1]
    with pytest.raises(InputError, match=r"answer lacks the 'chair' at \[0.0, 0.0, 500.0, 539.99"):
        OVD.ground_truth(value[1:], image, objects, "chair")
    with pytest.raises(InputError, match=r"answer\[4000\], 'Chair' at .* no object"):
        OVD.ground_truth([*value, value[0]], image, objects, "chair")


def test_an_instance_that_is_an_object_is_never_taken_for_another() -> None:
    """The first instance overlaps both objects; the second one is one of them exactly."""
    near, far = (10.0, 10.0, 30.0, 30.0), (10.0, 10.0, 30.0, 30.5)
    objects = (LabelledObject("chair", near), LabelledObject("chair", far))
    value = [{"label": "chair", "box": [10, 10, 30, 29.8]}, {"label": "chair", "box": list(near)}]
    assert len(OVD.ground_truth(value, IMAGE, objects, "chair")) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("None", "not a list of instances"),
        ([{"label": "chair"}], r"answer\[0\] is .* not an object with label and box"),
        ([{"label": 3, "box": [1, 1, 9, 9]}], r"answer\[0\].label is 3, not a text"),
        ([{"label": "chair", "box": [1, 1, 90, 9]}], r"answer\[0\].box .* leaves the 80x60 image"),
        (
            [{"label": "lamp", "box": LAMP}],
            r"answer\[0\], 'lamp' at .* no object of an asked class",
        ),
        ([{"label": "chair", "box": LAMP}], r"answer\[0\], 'chair' at .* no object"),
        ([CHAIRS[0], CHAIRS[0]], r"answer\[1\], 'chair' at .* no object"),
        ([CHAIRS[0]], "answer lacks the 'chair' at"),
        ([], "answer lacks the 'chair' at"),
    ],
)
def test_an_answer_that_is_not_the_objects_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        OVD.ground_truth(value, IMAGE, OBJECTS, "chair, bed")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("answer")
