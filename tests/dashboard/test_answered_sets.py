"""Answers that are kept, in order, compared, and with their pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kept_evaluations import COUNT, asked_samples, keep_answers, predicted

from syngrpo.dashboard.evaluations.answered_sets import (
    CHANGES,
    answered_by,
    compared_answers,
    counted_changes,
    in_order,
    kinds_of,
    measured_differences,
    read_answers,
)
from syngrpo.dashboard.evaluations.asked_answers import (
    AT_ONCE,
    AskedAnswers,
    looked_up,
    samples_of,
    shown_cases,
    sources_for,
)
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.run_evaluations import keep_predictions
from syngrpo.sample import InputError


def accuracy(step: int, place: int) -> float:
    """Half of the answers are right before, another half after."""
    return (0.9 if place % 2 else 0.1) if step == 0 else (0.8 if place % 3 else 0.2)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    keep_answers(folder / "run", (0, 40), accuracy)
    return folder


@pytest.fixture
def run(kept: Path) -> Iterator[FollowedRun]:
    followed = FollowedRun("run", kept / "run")
    yield followed
    followed.close()


def test_changes_are_counted_and_each_answer_is_in_one_of_them(run: FollowedRun) -> None:
    newest, oldest = answered_by([run])
    assert (newest.reference, oldest.reference) == ("run@40", "run@0")
    now, before = read_answers(newest, "test"), read_answers(oldest, "test")
    right = [(place % 2 == 1, place % 3 != 0) for place in range(COUNT)]
    expected = {
        "right → wrong": right.count((True, False)),
        "wrong → right": right.count((False, True)),
        "both right": right.count((True, True)),
        "both wrong": right.count((False, False)),
    }
    assert counted_changes(compared_answers(now, before)) == expected
    by_kind = [
        compared_answers(now, before, kind, change) for kind in kinds_of(now) for change in CHANGES
    ]
    ids = [one.now.id for part in by_kind for one in part]
    assert sorted(ids) == sorted(sample.id for sample in asked_samples())


def test_the_worst_come_first_and_the_most_lost_if_two_are_compared(run: FollowedRun) -> None:
    now, before = (read_answers(one, "test") for one in answered_by([run]))
    answers = compared_answers(now, before)

    def accuracies(order: str) -> list[float]:
        return [one.now.greedy.accuracy for one in in_order(answers, order)]

    assert accuracies("worst") == sorted(accuracies("worst"))
    assert accuracies("best") == sorted(accuracies("best"), reverse=True)
    gains = [one.gain for one in in_order(answers, "lost")]
    assert gains == sorted(gains) and gains[0] == pytest.approx(-0.7)
    assert [one.gain for one in in_order(answers, "gained")] == sorted(gains, reverse=True)


def test_metrics_of_two_are_those_of_evaluate_compare(run: FollowedRun) -> None:
    now, before = (read_answers(one, "test") for one in answered_by([run]))
    measured, lines = measured_differences(before, now, "test")
    assert lines == ()
    (expected,) = compare([before.by.directory, now.by.directory]).sets
    assert measured.steps == (0, 40)
    assert [row.differences for row in measured.metrics] == [r.differences for r in expected.rows]
    first = measured.metrics[0]
    assert first.intervals[1] == now.result.intervals["greedy/acc@0.5"]
    kind = next(row for row in measured.metrics if row.title.startswith("attribute"))
    assert kind.intervals[0] == before.result.kind_intervals["attribute"]["greedy/acc@0.5"]


def test_two_models_are_compared_on_the_chosen_set_over_what_both_have(
    kept: Path, tmp_path: Path
) -> None:
    """Another set, in which a question was worded anew, does not matter; what differs is said; and
    the interval over all samples does not stand beside a value over some of them."""
    made = [predicted(sample, 0.5 + place % 2 / 4) for place, sample in enumerate(asked_samples())]
    reworded = [replace(made[0], question="another one"), *made[1:]]
    for run, brief in (("first", True), ("second", False)):
        settings = {"prompt_style": "brief" if brief else "full"}
        on_sets = {"test": made if brief else made[:20], "other": made if brief else reworded}
        for name, predictions in on_sets.items():
            result = summarise(predictions)
            keep_predictions(tmp_path / run, 5, name, result, settings, {"device": "cpu"})
    runs = [FollowedRun(name, tmp_path / name) for name in ("first", "second")]
    before, now = (read_answers(one, "test") for one in answered_by(runs))
    measured, lines = measured_differences(before, now, "test")
    assert lines == (
        "prompt_style brief (first, step 5), full (second, step 5)",
        "number of samples of test 30 (first, step 5), 20 (second, step 5)",
    )
    row = next(row for row in measured.metrics if row.title == "mean IoU")
    assert row.values == (0.625, 0.625) and row.intervals[0] is None
    assert row.intervals[1] == now.result.intervals["greedy/accuracy"]
    with pytest.raises(InputError, match="is not the same"):
        measured_differences(
            read_answers(before.by, "other"), read_answers(now.by, "other"), "other"
        )


def test_a_kind_that_the_set_does_not_have_is_ignored(run: FollowedRun) -> None:
    asked = AskedAnswers(kind="of another set")
    looked = looked_up(asked, run, sources_for(run, [run]))
    assert looked.kind(asked) == "" and len(looked.answers(asked)) == COUNT
    known = AskedAnswers(kind=looked.kinds()[0])
    assert 0 < len(looked.answers(known)) < COUNT
    assert known.changed(page=1).kind == known.kind
    assert known.changed(set="other").kind == known.changed(model="run@0").kind == ""


def view_of(run: FollowedRun) -> Any:
    """What ``shown_cases`` needs of a view."""
    return SimpleNamespace(picture=lambda sample_id, held_out, of: f"{of}/{held_out}/{sample_id}")


def test_cases_have_the_pictures_of_the_configuration(run: FollowedRun) -> None:
    asked = AskedAnswers(before="run@0", page=1)
    looked = looked_up(asked, run, sources_for(run, [run]))
    assert looked.now is not None and looked.problem == ""
    found = samples_of(looked.now, looked.set, [run])
    assert (found.of, found.set, len(found.samples)) == ("run", "test", COUNT)
    cases, number = shown_cases(looked, asked, found, view_of(run))
    assert (len(cases), number) == (COUNT - AT_ONCE, COUNT)
    for case in cases:
        assert case.picture is not None and case.picture.href == f"run/test/{case.id}"
        kinds = {drawn.kind for drawn in case.picture.drawn}
        assert kinds == {"truth", "found", "second"}
        assert [answer.name for answer in case.answers] == ["run, step 40", "run, step 0"]


def test_answers_of_other_data_have_no_pictures_but_are_shown(
    kept: Path, run: FollowedRun, tmp_path: Path
) -> None:
    asked = AskedAnswers()
    looked = looked_up(asked, run, sources_for(run, [run]))
    assert looked.now is not None
    other = FollowedRun("other", tmp_path)
    found = samples_of(looked.now, "test", [other])
    assert "The images of test are not shown" in found.problem and not found.samples
    cases, _ = shown_cases(looked, asked, found, view_of(run))
    assert len(cases) == AT_ONCE and not any(case.picture for case in cases)
    assert all(case.truth for case in cases)

    keep_answers(tmp_path / "changed", (1,), accuracy)
    file = tmp_path / "changed" / "evaluations" / "step-1" / "predictions-test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "image": "0" * 32}) + "\n" for row in rows))
    changed = FollowedRun("changed", tmp_path / "changed")
    looked = looked_up(asked, changed, sources_for(changed, [changed]))
    assert looked.now is not None
    found = samples_of(looked.now, "test", [changed])
    cases, _ = shown_cases(looked, asked, found, view_of(run))
    assert cases[0].picture is None and "has changed since" in cases[0].problem


def test_damaged_evaluations_are_a_line(kept: Path, tmp_path: Path) -> None:
    keep_answers(tmp_path / "run", (3,), accuracy)
    run = FollowedRun("run", tmp_path / "run")
    place = tmp_path / "run" / "evaluations" / "step-3"

    def problem(**asked: str) -> str:
        return looked_up(AskedAnswers(**asked), run, sources_for(run, [run])).problem

    assert problem() == ""
    assert problem(set="train") == "run, step 3 was not evaluated on train"
    assert problem(model="run@9") == problem(model="../run@3").replace("../run@3", "run@9")
    assert "run@9 has no answers here" in problem(before="run@9")
    content = json.loads((place / "metrics.json").read_text())
    for broken in ('{"sets": {"test": {"metrics": 3}}}', '{"sets": []}', "[]", "no"):
        (place / "metrics.json").write_text(broken)
        assert str(place) in problem(set="test") or "was not evaluated" in problem(set="test")
    (place / "metrics.json").write_text(json.dumps(content))
    (place / "predictions-test.jsonl").write_text("no\n")
    assert "is not a prediction" in problem()
    (place / "predictions-test.jsonl").unlink()
    assert problem().endswith("predictions-test.jsonl is missing")
    (place / "metrics.json").unlink()
    assert problem().startswith("run has kept no answers")
    with pytest.raises(InputError):
        read_answers(answered_by([FollowedRun("run", kept / "run")])[0], "nothing")


def test_an_address_can_ask_for_anything() -> None:
    assert AskedAnswers.of({"page": "x", "order": "lost", "change": "both right"}) == AskedAnswers()
    query = {"before": "a", "order": "lost", "change": "both right", "page": "2"}
    assert AskedAnswers.of(query) == AskedAnswers("", "a", "", "", "both right", "lost", 2)
