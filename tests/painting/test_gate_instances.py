"""Phantoms and recall: what the comparison with the parent's detections excuses, and what not."""

from dataclasses import replace

import numpy as np
import pytest
from rooms_oracle import candidate, raw_generation

from syngrpo.boxes import box_mask
from syngrpo.painting.judges.base import Detection
from syngrpo.painting.judges.instances import (
    REMEMBERED,
    InstanceJudge,
    judge_instances,
    watched_classes,
)
from syngrpo.sample import Box, LabelledObject
from syngrpo.tasks import Constraints, get_task
from syngrpo_rooms.dataset import rooms_samples

CHAIR = LabelledObject("chair", (10, 10, 30, 50))
TABLE = LabelledObject("Dining Table", (40, 30, 80, 50))
KEEP = box_mask(CHAIR.box, 100, 100) | box_mask(TABLE.box, 100, 100)
BOTH: Box = (10, 10, 80, 50)
FAR: Box = (60, 60, 80, 90)
STRICT = Constraints((0, 1), ())
PARENT = [Detection("chair", CHAIR.box, 0.9), Detection("dining table", TABLE.box, 0.8)]


def reason(
    before: list[Detection], after: list[Detection], constraints: Constraints = STRICT
) -> str | None:
    return judge_instances(before, after, [CHAIR, TABLE], KEEP, constraints).reason


def test_the_same_detections_are_no_news() -> None:
    assert reason(PARENT, PARENT) is None
    assert reason([], []) is None  # a detector that knows none of it cannot lose it


@pytest.mark.parametrize(
    ("label", "box", "excused"),
    [
        ("chair", FAR, False),
        ("table", TABLE.box, True),  # another name for what was kept
        ("chair", (12, 12, 28, 28), True),  # a part of it
        ("chair", (30, 10, 50, 50), False),  # beside it, touching what was kept
    ],
)
def test_a_detection_is_explained_by_the_kept_pixels_it_shows(
    label: str, box: Box, excused: bool
) -> None:
    assert (reason(PARENT, [*PARENT, Detection(label, box, 0.9)]) is None) == excused


def test_a_detection_of_the_parent_excuses_only_what_still_shows_kept_pixels() -> None:
    pair, gone = Detection("chair", BOTH, 0.5), Detection("chair", FAR, 0.5)
    assert reason(PARENT, [*PARENT, pair]) == "phantom_instance"
    assert reason([*PARENT, pair], [*PARENT, pair]) is None
    # The unlabelled chair of the parent was erased: one at its place has been painted.
    assert reason([*PARENT, gone], [*PARENT, gone]) == "phantom_instance"
    assert reason([*PARENT, gone], PARENT) is None


def test_doubtful_phantoms_are_recorded_and_not_counted() -> None:
    faint = Detection("chair", FAR, 0.34)
    verdict = judge_instances(PARENT, [*PARENT, faint], [CHAIR, TABLE], KEEP, STRICT)
    assert verdict == (
        None,
        {"phantoms": 0.0, "phantom_score": 0.34, "recall": 1.0, "lost": 0.0},
    )
    stricter = replace(STRICT, phantom_score=0.3)
    assert reason(PARENT, [*PARENT, faint], stricter) == "phantom_instance"


def test_an_object_is_lost_when_it_was_surely_found_and_is_hardly_found_any_more() -> None:
    harder = [Detection("chair", CHAIR.box, 0.2), PARENT[1]]
    assert reason(PARENT, harder) is None
    assert reason(PARENT, PARENT[1:]) == "recall"
    assert reason(PARENT, [Detection("chair", (10, 10, 30, 28), 0.9), PARENT[1]]) == "recall"
    doubtful = [Detection("chair", CHAIR.box, 0.25), PARENT[1]]
    assert reason(doubtful, PARENT[1:]) is None


def test_what_is_tolerated_differs_by_task() -> None:
    things = [LabelledObject("cup", (10 * n, 0, 10 * n + 8, 8)) for n in range(10)]
    found = [Detection("cup", thing.box, 0.9) for thing in things]
    keep = np.zeros((100, 100), bool)
    keep[:8] = True
    reasons = {}
    for name in ("rec", "ovd", "ovd-vlm-r1", "isr"):
        sample = rooms_samples("train", 1, task=name.removesuffix("-vlm-r1"), size=64)[0]
        constraints = get_task(name).constraints(sample)
        reasons[name] = judge_instances(found, found[1:], things, keep, constraints).reason
    assert reasons == {"rec": "recall", "ovd": None, "ovd-vlm-r1": None, "isr": "recall"}


class Counting:
    """Finds nothing, and says how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def detect(self, image: np.ndarray, names: tuple[str, ...]) -> list[Detection]:
        self.asked.append(tuple(names))
        return []


def test_the_parent_is_looked_at_once_for_all_its_children() -> None:
    sample = rooms_samples("train", 1, task="ovd", size=64)[0]
    detector = Counting()
    judge = InstanceJudge(detector)
    for seed in range(3):
        case = candidate(sample, raw_generation(sample, "blue walls", seed))
        judge.judge(case)
    assert len(detector.asked) == 4
    assert set(detector.asked) == {watched_classes(case)}
    watched = watched_classes(case)
    assert set(watched) == {*sample.question.split(", "), *(o.label for o in sample.objects)}
    assert REMEMBERED > 1
