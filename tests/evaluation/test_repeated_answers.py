"""pass@k, best@k and the most frequent answer, against every draw of k answers."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.repeated_answers import best_at, draws, majority, pass_at
from syngrpo.tasks import get_task


def answered(task: str, answers: list[tuple[Any, float]]) -> Prediction:
    drawn = tuple(Answer("", said, accuracy, True) for said, accuracy in answers)
    return Prediction(f"{task}-{id(answers)}", task, "q", "t", None, drawn[0], drawn, 0.0)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_estimates_are_the_means_over_every_draw(count: int) -> None:
    accuracies = np.random.default_rng(count).random(count).round(1).tolist()
    for k in range(1, count + 1):
        every = list(combinations(accuracies, k))
        assert best_at(accuracies, k) == pytest.approx(np.mean([max(one) for one in every]))
        hits = np.mean([any(value >= 0.5 for value in one) for one in every])
        assert pass_at(accuracies, k, 0.5) == pytest.approx(hits)


def test_powers_of_two_and_all_answers_are_drawn() -> None:
    assert [draws(n) for n in (0, 1, 2, 4, 6, 8)] == [[], [], [2], [2, 4], [2, 4, 6], [2, 4, 8]]


def test_the_majority_counts_answers_that_say_the_same() -> None:
    task = get_task("isr")
    same = [("the Sofa", 1.0), ("sofa.", 1.0), ("table", 0.0), (None, 0.0), (None, 0.0)]
    assert majority(answered("isr", same).sampled, task) == 1.0
    numbers = [(2, 0.5), (2.0, 0.5), (3, 1.0)]
    assert majority(answered("isr", numbers).sampled, task) == 0.5
    tied = [("a", 1.0), ("b", 0.0), (None, 0.0)]
    assert majority(answered("isr", tied).sampled, task) == 0.5
    assert majority(answered("isr", [(None, 0.0)] * 2).sampled, task) == 0.0


def test_each_task_has_the_metrics_that_make_sense_for_it() -> None:
    box = (0, 0, 1, 1)
    rec = summarise([answered("rec", [(box, 0.6), (box, 0.2)]), answered("rec", [(box, 0.0)] * 2)])
    assert rec.metrics["sampled/pass@2"] == 0.5 and rec.metrics["sampled/best@2"] == 0.3
    assert "sampled/majority" not in rec.metrics
    isr = [answered("isr", [("yes", 1.0), ("no", 0.0), ("yes", 1.0)])]
    found = summarise(isr).metrics
    assert found["sampled/majority"] == found["sampled/pass@3"] == found["sampled/best@2"] == 1.0
    mixed = summarise([*isr, answered("rec", [(box, 0.6), (box, 0.2)])]).metrics
    assert mixed["sampled/best@2"] == pytest.approx(0.8) and "sampled/pass@2" not in mixed
    assert mixed["rec/sampled/pass@2"] == 1.0 and mixed["isr/sampled/majority"] == 1.0
    once = summarise([answered("rec", [(box, 0.6)])]).metrics
    assert not [name for name in once if name.startswith(("sampled/best", "sampled/pass"))]
