"""Answers in other units than the model's coordinates, and boxes that reach out of the image."""

import pytest

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import EncodedImage, LabelledObject, Sample
from syngrpo.tasks.asking import scored_answer

WIDE = EncodedImage(width=1380, height=245, data=b"never decoded")
BOX = (690.0, 49.0, 1035.0, 196.0)
THOUSANDTHS, SHARES = CoordinateFrame(1000, 1000, 1380, 245), CoordinateFrame(1, 1, 1380, 245)
RESIZED = CoordinateFrame(1400, 252, 1380, 245)  # whole patches of 28 pixels


def sample(task: str) -> Sample:
    objects = (LabelledObject("dog", BOX),)
    answer = BOX if task == "rec" else ({"label": "dog", "box": BOX},)
    return Sample("s", task, WIDE, "dog", answer, objects)


def text(*box: float) -> str:
    return f'{{"bbox_2d": {list(box)}, "label": "dog"}}'


@pytest.mark.parametrize("task", ["rec", "ovd"])
@pytest.mark.parametrize(
    ("frame", "box"),
    [
        (THOUSANDTHS, (500, 200, 750, 800)),
        (SHARES, (0.5, 0.2, 0.75, 0.8)),
        (RESIZED, (700, 50.4, 1050, 201.6)),
    ],
)
def test_each_side_has_a_scale_of_its_own(
    task: str, frame: CoordinateFrame, box: tuple[float, ...]
) -> None:
    scored = scored_answer(sample(task), text(*box), frame)
    found = scored.prediction if task == "rec" else scored.prediction[0]["box"]
    assert found == pytest.approx(BOX) and scored.accuracy == pytest.approx(1)
    assert not scored.other_scale and not scored.outside


@pytest.mark.parametrize("frame", [RESIZED, THOUSANDTHS, SHARES])
def test_per_cent_fit_a_model_that_writes_from_0_to_1(frame: CoordinateFrame) -> None:
    scored = scored_answer(sample("rec"), "dog: [50%, 20%, 75%, 80%]", frame)
    assert scored.other_scale == (frame is not SHARES)
    assert scored.accuracy == pytest.approx(float(frame is SHARES))


@pytest.mark.parametrize("task", ["rec", "ovd"])
@pytest.mark.parametrize(
    ("frame", "box"),
    [
        (RESIZED, (0.5, 0.2, 0.75, 0.8)),
        (RESIZED, (0, 0, 1, 1)),
        (THOUSANDTHS, (0.5, 0.2, 0.75, 0.8)),
        (RESIZED, (500, 300, 750, 800)),  # thousandths
        (SHARES, (690, 49, 1035, 196)),
        (THOUSANDTHS, (1035, 49, 1380, 196)),  # pixels
    ],
)
def test_boxes_on_another_scale_are_counted_and_score_nothing(
    task: str, frame: CoordinateFrame, box: tuple[float, ...]
) -> None:
    scored = scored_answer(sample(task), text(*box), frame)
    assert scored.other_scale and scored.accuracy == 0 and scored.prediction is not None


@pytest.mark.parametrize("task", ["rec", "ovd"])
def test_a_box_that_reaches_out_is_clipped_and_counted(task: str) -> None:
    image = EncodedImage(width=100, height=100, data=b"never decoded")
    edge = (50.0, 50.0, 100.0, 100.0)
    answer = edge if task == "rec" else ({"label": "dog", "box": edge},)
    one = Sample("s", task, image, "dog", answer, (LabelledObject("dog", edge),))
    frame = CoordinateFrame(100, 100, 100, 100)
    scored = scored_answer(one, text(50, 50, 130, 160), frame)
    assert scored.outside and not scored.other_scale and scored.accuracy == pytest.approx(1)
    found = scored.prediction if task == "rec" else scored.prediction[0]["box"]
    assert found == edge
    assert not scored_answer(one, text(*edge), frame).outside


def test_one_box_outside_does_not_take_the_others_away() -> None:
    both = f"[{text(500, 200, 750, 800)}, {text(1100, 0, 1200, 10)}]"
    scored = scored_answer(sample("ovd"), both, THOUSANDTHS)
    assert scored.other_scale and scored.accuracy == pytest.approx(0.5)


def test_answers_without_boxes_have_no_scale() -> None:
    one = Sample("s", "isr", WIDE, "how many?", 1, (LabelledObject("dog", BOX),))
    assert scored_answer(one, "1", RESIZED) == (1, 1.0, False, False)
    assert scored_answer(one, None, RESIZED) == (None, 0.0, False, False)
