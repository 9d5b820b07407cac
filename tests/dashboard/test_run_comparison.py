"""Differences of runs: settings, and evaluations against ``syngrpo evaluate compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syngrpo.dashboard.metrics.run_comparison import MISSING, compare_runs, compared_keys
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_reading import read_evaluation
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.run_evaluations import (
    keep_predictions,
    kept_evaluations,
    remove_evaluations_after,
)
from syngrpo.pages.run_data import RunData, read_run


def write_evaluated(
    run: Path, seed: int, step: int = 20, count: int = 30, **config: Any
) -> RunData:
    """A run with one evaluation of ``count`` samples, whose answers are kept."""
    rng = np.random.default_rng(seed)
    predictions = [
        Prediction(
            id=f"s{number}",
            task="rec",
            question="the cup",
            truth=(0.0, 0.0, 9.0, 9.0),
            kind="colour" if number % 3 else "place",
            greedy=Answer("…", (0.0, 0.0, 9.0, 9.0), float(rng.uniform()), True),
            sampled=(),
            diversity=0.0,
            image=f"image {number}",
        )
        for number in range(count)
    ]
    result = summarise(predictions)
    run.mkdir(parents=True)
    keep_predictions(run, step, "test", result, {"prompt_style": "brief"}, {"device": "cpu"})
    (run / "evaluation.jsonl").write_text(json.dumps(result.record(step, "test")) + "\n")
    (run / "config.yaml").write_text(json.dumps(config))
    return read_run(run)


def test_every_key_stands_beside_that_of_the_other_run() -> None:
    first = {
        "trainer": {"steps": 5, "seed": 0},
        "data": {"train": [{"format": "rooms"}], "rewards": []},
    }
    other = {"trainer": {"steps": 5, "seed": 1, "new": None}, "data": {"train": [], "rewards": []}}
    keys = {one.key: one for one in compared_keys([first, other])}
    assert {name: one.values for name, one in keys.items()} == {
        "trainer.steps": ("5", "5"),
        "trainer.seed": ("0", "1"),
        "data.train.0.format": ("rooms", MISSING),
        "data.rewards": ("[]", "[]"),
        "trainer.new": (MISSING, "null"),
        "data.train": (MISSING, "[]"),
    }
    assert [name for name, one in keys.items() if not one.differs] == [
        "trainer.steps",
        "data.rewards",
    ]


def test_differences_are_those_of_evaluate_compare(tmp_path: Path) -> None:
    runs = {name: write_evaluated(tmp_path / name, seed) for seed, name in enumerate("abc")}
    compared = compare_runs(runs)
    (on_set,) = compared.sets
    assert compared.lines == () and on_set.steps == (20, 20, 20)
    places = [kept_evaluations(tmp_path / name)[20] for name in "abc"]
    (expected,) = compare(places).sets
    assert [row.title for row in on_set.metrics] == [row.title for row in expected.rows]
    for row, other in zip(on_set.metrics, expected.rows, strict=True):
        assert row.values == pytest.approx(other.values)
        assert row.differences == other.differences
    accuracy = next(row for row in on_set.metrics if row.title == "mean IoU")
    assert accuracy.intervals[1] == runs["b"].evaluations[0].intervals["greedy/accuracy"]
    of_kind = next(row for row in on_set.metrics if row.title == "colour, Acc@0.5")
    kept = json.loads((tmp_path / "b" / "evaluation.jsonl").read_text())["kind_intervals"]
    assert of_kind.intervals[1] == tuple(kept["colour"]["greedy/acc@0.5"])


def test_without_answers_the_numbers_stand_alone_and_a_line_says_what_differs(
    tmp_path: Path,
) -> None:
    first = write_evaluated(tmp_path / "first", 0, data={"prompt_style": "brief"})
    old = write_evaluated(tmp_path / "old", 1, step=30, data={"prompt_style": "full"})
    for file in (tmp_path / "old" / "evaluations").rglob("*.json*"):
        file.unlink()
    compared = compare_runs({"first": first, "old": old})
    assert [line.split(",")[0] for line in compared.lines] == [
        "The answers of old are not kept",
        "data.prompt_style brief (first)",
        "test was evaluated at step 20 (first)",
    ]
    (on_set,) = compared.sets
    assert all(row.differences == (None,) for row in on_set.metrics)
    assert on_set.metrics[0].values[1] == old.evaluations[0].metrics["greedy/acc@0.5"]


def test_answers_of_another_step_than_the_numbers_are_not_paired(tmp_path: Path) -> None:
    """As after a run was set back: it keeps the answers of its first and of its newest evaluation,
    and the newest ones are removed."""
    other = write_evaluated(tmp_path / "other", 1)
    run = write_evaluated(tmp_path / "run", 0, step=0)
    result = summarise(read_evaluation(kept_evaluations(run.directory)[0])[0]["test"])
    for step in (10, 20):
        keep_predictions(run.directory, step, "test", result, {}, {})
    remove_evaluations_after(run.directory, 10)
    assert list(kept_evaluations(run.directory)) == [0]
    with (run.directory / "evaluation.jsonl").open("a") as file:
        file.write(json.dumps(result.record(10, "test")) + "\n")
    compared = compare_runs({"run": read_run(run.directory), "other": other})
    assert compared.sets[0].steps == (10, 20)
    assert compared.lines[0].startswith("The answers of run are not kept")
    assert all(row.differences == (None,) for row in compared.sets[0].metrics)


def test_a_run_is_compared_with_the_out_of_evaluate(tmp_path: Path) -> None:
    run = write_evaluated(tmp_path / "run", 0)
    write_evaluated(tmp_path / "source", 1, step=0)
    kept_evaluations(tmp_path / "source")[0].rename(tmp_path / "out")
    (tmp_path / "source" / "evaluation.jsonl").rename(tmp_path / "out" / "evaluation.jsonl")
    followed = FollowedRun("out", tmp_path / "out")
    compared = compare_runs({"run": run, "out": followed.data()})
    assert compared.lines == () and compared.sets[0].steps == (20, None)
    assert all(row.differences[0] is not None for row in compared.sets[0].metrics)
    assert followed.activity().state == "finished" and followed.problems() == []


def test_what_cannot_be_compared_is_a_line(tmp_path: Path) -> None:
    first = write_evaluated(tmp_path / "first", 0)
    fewer = write_evaluated(tmp_path / "fewer", 1, count=10)
    compared = compare_runs({"first": first, "fewer": fewer})
    assert compared.lines == ("number of samples of test 30 (first), 10 (fewer)",)
    broken = write_evaluated(tmp_path / "broken", 1)
    (kept_evaluations(tmp_path / "broken")[20] / "predictions-test.jsonl").write_text("no\n")
    compared = compare_runs({"first": first, "broken": broken})
    assert "first and broken: " in compared.lines[0] and "is not a prediction" in compared.lines[0]
    nothing = RunData(tmp_path, [], [], {})
    assert compare_runs({"first": nothing, "other": nothing}).sets == ()


def test_a_run_without_a_configuration_has_no_keys() -> None:
    found = compared_keys([{"trainer": {"steps": 3, "more": {}}}, {}])
    assert [(one.key, one.values) for one in found] == [
        ("trainer.steps", ("3", "–")),
        ("trainer.more", ("{}", "–")),
    ]
