"""The answers that a run keeps of its evaluations, and ``compare`` over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_reading import read_evaluation
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.run_evaluations import (
    keep_predictions,
    kept_evaluations,
    remove_evaluations_after,
)
from syngrpo.sample import InputError

BOX = (0.0, 0.0, 10.0, 10.0)


def predictions(accuracies: list[float]) -> list[Prediction]:
    return [
        Prediction(
            id=f"s{number}",
            task="rec",
            question="the cup",
            truth=BOX,
            kind=None,
            greedy=Answer("<answer>…</answer>", BOX, accuracy, True),
            sampled=(),
            diversity=0.0,
            image=f"image {number}",
        )
        for number, accuracy in enumerate(accuracies)
    ]


def keep(run: Path, step: int, accuracies: list[float], name: str = "test", seed: int = 0) -> None:
    result = summarise(predictions(accuracies))
    keep_predictions(run, step, name, result, {"seed": seed}, {"device": "cpu"})


def test_the_first_and_the_newest_evaluation_are_kept(tmp_path: Path) -> None:
    for step in (0, 10, 20, 100):
        keep(tmp_path, step, [0.0, 1.0])
        keep(tmp_path, step, [0.5], "far/ood")
    found = kept_evaluations(tmp_path)
    assert list(found) == [0, 100]
    sets, content = read_evaluation(found[100])
    assert sets == {"test": predictions([0.0, 1.0]), "far/ood": predictions([0.5])}
    assert content["sets"]["test"]["metrics"]["greedy/accuracy"] == 0.5
    assert content["settings"] == {"seed": 0} and content["conditions"] == {"device": "cpu"}


def test_a_run_that_is_set_back_has_no_answers_of_later_steps(tmp_path: Path) -> None:
    for step in (0, 30):
        keep(tmp_path, step, [1.0])
    remove_evaluations_after(tmp_path, 29)
    assert list(kept_evaluations(tmp_path)) == [0]
    remove_evaluations_after(tmp_path / "no run", 0)
    assert kept_evaluations(tmp_path / "no run") == {}


def test_runs_are_compared_sample_by_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 0.5, 40)
    keep(tmp_path / "a", 20, before.tolist())
    keep(tmp_path / "b", 30, (before + 0.25).tolist())
    places = [kept_evaluations(tmp_path / name) for name in "ab"]
    compared = compare([places[0][20], places[1][30]])
    (row,) = [row for row in compared.sets[0].rows if row.metric == "greedy/accuracy"]
    low, high = row.differences[0].interval or (0, 0)
    # Every sample gained the same, so that there is no doubt about the difference.
    assert (low, row.differences[0].value, high) == pytest.approx((0.25, 0.25, 0.25))
    keep(tmp_path / "b", 30, before.tolist(), seed=1)
    with pytest.raises(InputError, match=r"seed 0 .*, 1 "):
        compare([places[0][20], places[1][30]])


def test_an_id_that_stands_for_two_samples_is_refused(tmp_path: Path) -> None:
    keep(tmp_path / "a", 1, [1.0])
    other = [replace(one, question="the lamp") for one in predictions([1.0])]
    keep_predictions(tmp_path / "b", 1, "test", summarise(other), {"seed": 0}, {"device": "cpu"})
    with pytest.raises(InputError, match="is not the same"):
        compare([kept_evaluations(tmp_path / name)[1] for name in "ab"])
