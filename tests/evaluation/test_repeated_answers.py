"""pass@k, best@k and the most frequent answer, against every draw of k answers."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_directory import EvaluationDirectory
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.evaluation.repeated_answers import best_at, draws, majority, pass_at
from syngrpo.pages.evaluation_tables import comparison_table, results_table
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


def printed(table: Table) -> dict[str, list[str]]:
    """Return the words of each line of a table of 80 columns that has one of the metrics."""
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return {
        title: line.split()
        for line in lines
        for title in ("pass@2", "best@2", "pass@3", "best@3", "pass@4", "best@4", "majority")
        if f"sampled {title} " in line
    }


def test_the_tables_show_the_largest_k_and_the_majority() -> None:
    box = (0, 0, 1, 1)
    isr = [answered("isr", [("yes", 1.0), ("no", 0.0), ("yes", 1.0)])]
    rec = [answered("rec", [(box, 0.6), (box, 0.2)])]
    of_one = printed(results_table({"test": summarise(isr)}))
    assert set(of_one) == {"pass@3", "best@3", "majority"}
    assert "1" in of_one["majority"] or "1.000" in of_one["majority"]
    of_two = printed(results_table({"test": summarise([*isr, *rec])}))
    assert set(of_two) == {"pass@3", "best@3", "majority", "pass@2", "best@2"}
    once = results_table({"test": summarise([answered("rec", [(box, 0.6)])])})
    assert printed(once) == {}


def test_comparisons_show_the_largest_k_that_all_have(tmp_path: Path) -> None:
    def evaluated(name: str, answers: list[tuple[Any, float]]) -> Path:
        drawn = tuple(Answer("", said, accuracy, True) for said, accuracy in answers)
        predictions = [
            Prediction(str(i), "isr", "q", "t", None, drawn[0], drawn, 0.0) for i in range(3)
        ]
        result = summarise(predictions)
        directory = EvaluationDirectory(tmp_path / name, {"model": name}, restart=False)
        directory.complete("test", result)
        directory.write_metrics({"test": result}, {})
        return tmp_path / name

    right, wrong = ("yes", 1.0), ("no", 0.0)
    first = evaluated("first", [right, wrong, wrong, wrong])
    second = evaluated("second", [right, right, wrong])
    comparison = compare([first, second], allow_different=True)
    (one,) = comparison.sets
    rows = {row.metric: row for row in one.rows}
    names = [name for name in rows if "@" in name or "majority" in name]
    assert names == ["sampled/pass@2", "sampled/best@2", "sampled/majority"]
    assert rows["sampled/pass@2"].values == (0.5, 1.0)
    assert rows["sampled/majority"].differences[0].value == 1.0
    assert set(printed(comparison_table(comparison))) == {"pass@2", "best@2", "majority"}
