import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from syngrpo.boxes import CoordinateFrame, iou
from syngrpo.method.response import parse_response
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task

REC = get_task("rec")
IMAGE = EncodedImage.from_pixels(np.zeros((60, 80, 3), dtype=np.uint8))
BOX = (10.0, 20.0, 30.0, 50.0)


def sample(answer: tuple[float, float, float, float] = BOX) -> Sample:
    objects = (
        LabelledObject("lamp", (50.0, 5.0, 70.0, 40.0)),
        LabelledObject("chair", answer),
        LabelledObject("lamp", (0.0, 0.0, 9.0, 9.0)),
    )
    return Sample("s", "rec", IMAGE, "the chair left of the lamp", answer, objects)


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [10, 20, 30, 50]}',
        '{"bbox": [10, 20, 30, 50], "label": "chair"}',
        '[{"bbox_2d": [10, 20, 30, 50]}, {"bbox_2d": [1, 2, 3, 4]}]',
        '```json\n[\n\t{"bbox_2d": [10, 20, 30, 50], "label": "chair"}\n]\n```',
        "[10, 20, 30, 50]",
        "[[10, 20, 30, 50]]",
        "The chair is at [10.0, 20., 3e1, +50.000], I think.",
        "[10,20,30,50,]",
        '{"bbox_2d": [10, 20, 30, 50,],}',
        "{'bbox_2d': [10, 20, 30, 50]}",
        '{"bbox_2d": [[10, 20, 30, 50]]}',
        'in the [0, 0, 80, 60] picture {"bbox_2d": [10, 20, 30, 50]}',
    ],
)
def test_answers_are_read_in_every_usual_spelling(text: str) -> None:
    assert REC.read(text) == BOX


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no box",
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        "[NaN, 2, 3, 4]",
        "[1, 2, Infinity, 4]",
        "[1, 2, 1e999, 4]",
        "[-inf, 2, 3, 4] or [1, 2, 3, 4]",
        "[30, 20, 10, 50]",
        "[10, 50, 30, 20]",
        "[10, 20, 10, 50]",
        '{"bbox_2d": ["a", 2, 3, 4]}',
        '{"bbox_2d": null}',
        "[" * 5000,
        "[1" * 5000,
        "9" * 20000,
    ],
)
def test_unreadable_answers_are_none(text: str) -> None:
    assert REC.read(text) is None


PIECES = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "-",
    "e",
    '"bbox_2d":',
    "bbox",
    "NaN",
    "Infinity",
    "1",
    "7.5",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=24).map("".join))
def test_reading_and_scoring_never_raise(text: str) -> None:
    box = REC.read(text)
    frame = CoordinateFrame(96, 96, 80, 60)
    prediction = None if box is None else REC.to_original(box, frame)
    assert 0.0 <= REC.score(prediction, sample()) <= 1.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_any_box_written_as_json_is_read_back(numbers: list[float]) -> None:
    x1, y1, x2, y2 = numbers
    read = REC.read(json.dumps({"bbox_2d": numbers}))
    assert read == (tuple(numbers) if x1 < x2 and y1 < y2 else None)


def test_score_is_torchvisions_iou_of_the_box_clipped_to_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        x1, y1, x2, y2 = (float(v) for v in np.sort(rng.uniform(-30, 110, (2, 2)), axis=0).ravel())
        clipped = torch.tensor([[x1, y1, x2, y2]]).clamp(min=0).minimum(torch.tensor([80, 60] * 2))
        expected = float(box_iou(clipped, torch.tensor([BOX]))) if clipped.numel() else 0.0
        assert REC.score((x1, y1, x2, y2), sample()) == pytest.approx(expected, abs=1e-5)
    assert REC.score(BOX, sample()) == 1.0
    assert REC.score(None, sample()) == 0.0


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0, 79), st.floats(0, 59), st.floats(0.01, 80), st.floats(0.01, 60),
    st.sampled_from([(80, 60), (1000, 1000), (24, 18), (81.5, 60)]),
)  # fmt: skip
def test_the_truth_written_as_an_answer_is_readable_and_close(
    x: float, y: float, w: float, h: float, size: tuple[float, float]
) -> None:
    frame = CoordinateFrame(*size, original_width=80, original_height=60)
    truth = (x, y, min(x + w, 80.0), min(y + h, 60.0))
    box = REC.read(REC.answer_text(sample(truth), frame))
    assert box is not None
    assert all(abs(a - b) <= 1.5 for a, b in zip(box, frame.to_model(truth), strict=True))
    assert box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] + 0.5 and box[3] <= size[1] + 0.5


def test_an_exact_answer_scores_almost_one_in_every_frame() -> None:
    for frame in (CoordinateFrame(1000, 1000, 80, 60), CoordinateFrame(640, 476, 80, 60)):
        box = REC.read(REC.answer_text(sample(), frame))
        assert REC.score(REC.to_original(box, frame), sample()) > 0.97


def test_full_prompt_teaches_the_format_and_names_what_stays() -> None:
    prompt = REC.prompt(sample(), "full")
    assert sample().question in prompt and "lamp, chair" in prompt
    example = parse_response(prompt[prompt.index("<think>") : prompt.index("</scene>") + 8])
    assert example.well_formed
    scene = prompt[prompt.index("In <scene>") :]
    for word in (
        *("indoors", "outdoors", "materials", "patterns", "colours", "seen", "light", "air"),
        *("weather", "what else stands around"),
    ):
        assert word in scene
    assert REC.prompt(sample(), "brief") == sample().question


def test_questions_with_braces_do_not_break_the_prompt() -> None:
    odd = Sample("s", "rec", IMAGE, "the {red} {0} chair", BOX, sample().objects)
    assert "the {red} {0} chair" in REC.prompt(odd, "full")


def test_synthesis_keeps_all_objects_and_forbids_their_classes() -> None:
    constraints = REC.constraints(sample())
    assert constraints.keep == (0, 1, 2)
    assert constraints.forbidden_labels == ("lamp", "chair")
    assert constraints.phrase is None


def test_ground_truth_has_to_be_one_of_the_objects() -> None:
    objects = sample().objects
    assert iou(REC.ground_truth([10, 20, 30, 50], IMAGE, objects), BOX) == 1.0
    with pytest.raises(InputError, match="none of the objects"):
        REC.ground_truth([10, 20, 30, 35], IMAGE, objects)


def test_unknown_task_is_refused() -> None:
    with pytest.raises(
        InputError, match="task 'segment' is unknown; use one of rec, ovd, ovd-vlm-r1, isr"
    ):
        get_task("segment")
