"""Planted faults in the rooms world: each is rejected for its own reason; honest pictures pass."""

from dataclasses import replace

import numpy as np
import pytest
from rooms_oracle import (
    Known,
    Oracle,
    candidate,
    grown,
    place,
    raw_generation,
    room,
    shifted,
)

from syngrpo.boxes import decode_mask, encode_mask
from syngrpo.painting.compositing import keep_mask
from syngrpo.painting.gate import Gate, GateResult, GateThresholds
from syngrpo.painting.judges.base import Candidate
from syngrpo.painting.judges.object_extent import continuation
from syngrpo.painting.judges.panel import JudgeOptions, judges_of
from syngrpo.sample import LabelledObject, Sample
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import random_description
from syngrpo_rooms.scenes import LABELS

TASKS = ("rec", "ovd", "isr")
SAMPLES = {task: rooms_samples("train", 8, seed=1, task=task, size=96) for task in TASKS}
DESCRIPTION = "checked purple walls, black stone floor"


def judged(case: Candidate, oracle: Oracle) -> GateResult:
    return Gate(judges=judges_of(oracle, oracle)).judge(case)


def plain(sample: Sample) -> np.ndarray:
    return raw_generation(sample, DESCRIPTION, 3)


def referred(sample: Sample) -> LabelledObject:
    """The object that is asked for; of questions without one, the first."""
    asked = [thing for thing in sample.objects if thing.box == sample.answer]
    return asked[0] if asked else sample.objects[0]


def pixels_of(thing: LabelledObject) -> np.ndarray:
    assert thing.mask is not None
    return decode_mask(thing.mask)


def free_place(mask: np.ndarray, keep: np.ndarray) -> tuple[int, int] | None:
    """A move by which the whole thing lands on the background."""
    rows, columns = np.nonzero(mask)
    for dy in range(-rows.min(), mask.shape[0] - rows.max(), 4):
        for dx in range(-columns.min(), mask.shape[1] - columns.max(), 4):
            if not keep[rows + dy, columns + dx].any():
                return dy, dx
    return None


def twin_of(sample: Sample, thing: LabelledObject, label: str) -> Known | None:
    """The same thing once more, under a name, beside all that is kept."""
    mask, keep = pixels_of(thing), keep_mask(sample)
    move = free_place(mask, keep)
    return Known(label, *shifted(mask, sample.image.decode(), *move)) if move else None


@pytest.mark.parametrize("task", TASKS)
def test_an_added_twin_of_the_referred_object_is_a_phantom(task: str) -> None:
    planted = 0
    for sample in SAMPLES[task]:
        thing = referred(sample)
        twin = twin_of(sample, thing, thing.label)
        if twin is None:
            continue
        planted += 1
        painted = place(plain(sample), twin.mask, twin.picture)
        result = judged(candidate(sample, painted), Oracle.of(sample, twin))
        assert result.reason == "phantom_instance"
        assert result.scores["phantoms"] == 1
        assert result.hash == b""
    assert planted >= 3


def test_an_absent_class_that_was_asked_for_must_stay_absent() -> None:
    planted = 0
    for sample in SAMPLES["ovd"]:
        present = {thing.label for thing in sample.objects}
        asked = [name for name in sample.question.split(", ") if name not in present]
        other = next(name for name in LABELS if name not in (*present, *asked))
        twin = twin_of(sample, sample.objects[0], asked[0] if asked else other)
        harmless = twin_of(sample, sample.objects[0], other)
        if not asked or twin is None or harmless is None:
            continue
        planted += 1
        case = candidate(sample, place(plain(sample), twin.mask, twin.picture))
        assert judged(case, Oracle.of(sample, twin)).reason == "phantom_instance"
        assert judged(case, Oracle.of(sample, harmless)).admitted  # a class nobody speaks of
    assert planted >= 3


def test_a_class_that_a_question_speaks_of_may_not_appear() -> None:
    planted = 0
    for sample in SAMPLES["isr"]:
        present = {thing.label for thing in sample.objects}
        about = next(name for name in LABELS if name not in present)
        asking = replace(sample, columns=sample.columns | {"about": [about]})
        twin = twin_of(sample, sample.objects[0], about)
        if twin is None:
            continue
        planted += 1
        painted = place(plain(sample), twin.mask, twin.picture)
        oracle = Oracle.of(sample, twin)
        assert judged(candidate(asking, painted), oracle).reason == "phantom_instance"
    assert planted >= 3


@pytest.mark.parametrize("task", TASKS)
def test_an_object_that_grew_in_the_raw_generation_is_refused(task: str) -> None:
    for sample in SAMPLES[task]:
        thing = referred(sample)
        wide = Known(thing.label, *grown(pixels_of(thing), sample.image.decode(), 3))
        painted = place(plain(sample), wide.mask, wide.picture)
        result = judged(candidate(sample, painted), Oracle.of(sample, wide))
        if ((wide.mask & ~keep_mask(sample)).sum() / pixels_of(thing).sum()) > 0.25:
            assert result.reason == "object_expansion"
            assert result.scores["expansion"] > 0.2
        honest = judged(candidate(sample, plain(sample)), Oracle.of(sample, wide))
        assert honest.admitted
        assert honest.scores["expansion"] == 0


def test_expansion_is_the_area_that_was_added_in_areas_of_the_object() -> None:
    sample = SAMPLES["rec"][0]
    thing = referred(sample)
    wide = Known(thing.label, *grown(pixels_of(thing), sample.image.decode(), 4))
    oracle = Oracle.of(sample, wide)
    painted = place(plain(sample), wide.mask, wide.picture)
    added = (wide.mask & ~keep_mask(sample)).sum() / pixels_of(thing).sum()
    scores = judged(candidate(sample, painted), oracle).scores
    assert scores["expansion"] == pytest.approx(added)
    # What the segmenter sees beyond the label in the parent's own picture is not the painter's.
    whole_boxes = judges_of(segmenter=Oracle())
    assert whole_boxes.inspect(candidate(sample, plain(sample)))[1]["expansion"] == 0


@pytest.mark.parametrize("task", TASKS)
def test_an_unchanged_background_is_refused(task: str) -> None:
    for sample in SAMPLES[task]:
        result = judged(candidate(sample, sample.image.decode()), Oracle.of(sample))
        assert result.reason == "background_unchanged"


@pytest.mark.parametrize("task", TASKS)
def test_a_label_that_reaches_out_of_the_picture_is_refused(task: str) -> None:
    for sample in SAMPLES[task]:
        thing = sample.objects[-1]
        x1, y1, _, y2 = thing.box
        outside = replace(thing, box=(x1, y1, sample.image.width + 3.0, y2))
        case = candidate(sample, plain(sample))
        case = replace(case, sample=replace(sample, objects=(*sample.objects[:-1], outside)))
        assert judged(case, Oracle.of(sample)).reason == "box_bounds"


@pytest.mark.parametrize("task", TASKS)
def test_a_label_whose_object_was_cut_off_is_refused(task: str) -> None:
    for sample in SAMPLES[task]:
        thing = referred(sample)
        whole = pixels_of(thing)
        rows = np.flatnonzero(whole.any(axis=1))
        cut = whole.copy()
        cut[rows[len(rows) * 2 // 5] :] = False
        index = sample.objects.index(thing)
        objects = list(sample.objects)
        objects[index] = replace(thing, mask=encode_mask(cut))
        case = candidate(replace(sample, objects=tuple(objects)), plain(sample))
        oracle = Oracle.of(sample)
        assert judged(case, oracle).reason == "label_cropped"
        # Without that check the detector misses what it found in the parent.
        if Known(thing.label, whole, sample.image.decode()).shown(case.child) < 0.5:
            lenient = Gate(GateThresholds(min_object_fit=0), judges_of(oracle)).judge(case)
            assert lenient.reason == "recall"
            assert lenient.scores["lost"] == 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_at_least_99_percent_of_honest_children_are_admitted(task: str, count: int) -> None:
    """Honest children show another room than their parent's other children. The few that are
    rejected look like their parent, or another child, by chance."""
    rng = np.random.default_rng(TASKS.index(task))
    honest, refused = 0, []
    for sample in rooms_samples("train", 200, seed=2, task=task, size=64):
        oracle, siblings, seen = Oracle.of(sample), list[bytes](), set[tuple[str | None, ...]]()
        gate = Gate(judges=judges_of(oracle, oracle))
        for seed in range(6):
            description = random_description(rng)
            if room(description) in seen or honest == count:
                continue
            seen.add(room(description))
            painted = raw_generation(sample, description, seed)
            result = gate.judge(candidate(sample, painted, description, siblings))
            honest += 1
            if result.admitted:
                siblings.append(result.hash)
            else:
                refused.append(result.reason)
    assert honest == count
    assert len(refused) <= count / 100, refused
    assert set(refused) <= {"background_unchanged", "near_duplicate"}


def test_without_models_the_gate_decides_on_pixels_alone() -> None:
    sample = SAMPLES["rec"][0]
    result = Gate().judge(candidate(sample, plain(sample)))
    assert result.admitted
    assert set(result.scores) >= {"object_fit", "continuation", "distance_parent"}
    assert not {"expansion", "phantoms", "recall", "similarity"} & set(result.scores)


def test_the_estimate_looks_at_no_pixel_beyond_the_image() -> None:
    """An object that becomes wider up to the edge has pixels there without an inner neighbour."""
    rows, columns = np.mgrid[:60, :60]

    def tent(top: int, turns: int) -> np.ndarray:
        return np.rot90(abs(columns - 30) <= rows - top, turns).astype(np.uint8)

    for turns in range(4):
        owner, larger = tent(40, turns), tent(36, turns)
        original, wider = (np.stack([200 * part] * 3, axis=2) for part in (owner, larger))
        assert continuation(original, np.zeros_like(original), owner) == 0
        assert continuation(original, wider, owner) > 0.9


def test_the_model_free_estimate_refuses_only_when_asked_to() -> None:
    sample = SAMPLES["rec"][0]
    wide, picture = grown(keep_mask(sample), sample.image.decode(), 4)
    case = candidate(sample, place(plain(sample), wide, picture))
    plainly, asked = Gate().judge(case), JudgeOptions(max_continuation=0.05)
    assert plainly.admitted
    assert plainly.scores["continuation"] > 0.05
    assert Gate(judges=judges_of(options=asked)).judge(case).reason == "object_expansion"
