"""Metrics of predictions, and the files that keep both."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from syngrpo.evaluation.evaluation_result import (
    append_evaluation,
    summarise,
)
from syngrpo.evaluation.predictions import (
    Answer,
    Prediction,
    read_predictions,
    write_predictions,
)
from syngrpo.serving.json_lines import remove_after

NUMBERS = itertools.count()


def prediction(
    accuracy: float, sampled: Sequence[float] = (), kind: str | None = None, task: str = "rec"
) -> Prediction:
    def answer(a: float) -> Answer:
        return Answer("", (0, 0, 1, 1) if a else None, a, well_formed=a > 0)

    diversity = 4 * float(np.var(sampled)) if sampled else 0.0
    drawn = tuple(map(answer, sampled))
    own = f"id-{next(NUMBERS)}"
    return Prediction(own, task, "q", (0, 0, 1, 1), kind, answer(accuracy), drawn, diversity)


def test_thresholds_and_kinds() -> None:
    result = summarise(
        [
            prediction(0.95, (1.0, 0.0), kind="attribute"),
            prediction(0.5, (0.6, 0.6), kind="relation"),
            prediction(0.8, (0.5, 0.2), kind="relation"),
            prediction(0.0, (0.0, 0.0)),
        ]
    )
    assert result.metrics["greedy/acc@0.5"] == 0.75
    assert result.metrics["greedy/acc@0.75"] == 0.5
    assert result.metrics["greedy/acc@0.9"] == 0.25
    assert result.metrics["sampled/acc@0.5"] == (0.5 + 1 + 0.5 + 0) / 4
    assert result.metrics["diversity/response"] == pytest.approx((1 + 0 + 0.09 + 0) / 4)
    assert result.metrics["greedy/unreadable"] == 1
    assert set(result.kinds) == {"attribute", "relation"}
    assert result.kinds["relation"]["greedy/acc@0.75"] == 0.5
    assert result.kinds["relation"]["samples"] == 2


def test_greedy_alone_has_no_sampled_metrics() -> None:
    result = summarise([prediction(1.0), prediction(0.0)])
    assert not [name for name in result.metrics if "sampled" in name or "diversity" in name]


def test_mixed_tasks_have_their_own_metrics_and_kinds() -> None:
    result = summarise(
        [
            prediction(0.6, kind="attribute"),
            prediction(0.2, kind="attribute"),
            prediction(1.0, kind="attribute", task="isr"),
            prediction(0.0, kind="count", task="isr"),
        ]
    )
    assert result.metrics["greedy/accuracy"] == pytest.approx(0.45)
    assert result.metrics["rec/greedy/accuracy"] == pytest.approx(0.4)
    assert result.metrics["rec/greedy/acc@0.5"] == 0.5
    assert result.metrics["isr/greedy/accuracy"] == 0.5
    assert "greedy/acc@0.5" not in result.metrics and "isr/greedy/acc@0.5" not in result.metrics
    assert (result.metrics["samples"], result.metrics["isr/samples"]) == (4, 2)
    assert (result.metrics["greedy/unreadable"], result.metrics["rec/greedy/unreadable"]) == (1, 0)
    assert set(result.kinds) == {"rec/attribute", "isr/attribute", "isr/count"}
    assert result.kinds["isr/attribute"]["greedy/accuracy"] == 1
    assert result.kind_intervals["isr/count"]["greedy/accuracy"] == (0, 0)


def test_evaluation_lines_are_appended(tmp_path: Path) -> None:
    result = summarise([prediction(1.0, (1.0, 0.0), kind="attribute")])
    path = tmp_path / "evaluation.jsonl"
    append_evaluation(path, result, 0, "test")
    append_evaluation(path, result, 40, "test")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["set"]) for row in rows] == [(0, "test"), (40, "test")]
    assert rows[0]["metrics"] == result.metrics
    assert rows[0]["intervals"]["greedy/acc@0.5"] == [1.0, 1.0]
    (name,), (sampled,) = (rows[0]["per_sample"][key] for key in ("id", "sampled/accuracy"))
    assert (name, sampled) == (result.predictions[0].id, 0.5)
    (asked,) = result.predictions
    answered = summarise([replace(asked, greedy=asked.sampled[1])])
    assert answered.record(0, "test")["samples"] == rows[0]["samples"]
    other = summarise([replace(asked, question="another")])
    assert other.record(0, "test")["samples"] != rows[0]["samples"]
    with path.open("a") as file:
        file.write('{"step": 60, "se')
    assert [row["step"] for row in remove_after(path, 20)] == [0]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0]


def test_predictions_are_plain_json(tmp_path: Path) -> None:
    write_predictions([prediction(0.5, (1.0,))], tmp_path / "deep" / "p.jsonl")
    path = tmp_path / "deep" / "p.jsonl"
    row = json.loads(path.read_text())
    assert row["greedy"] == {
        "text": "",
        "prediction": [0, 0, 1, 1],
        "accuracy": 0.5,
        "well_formed": True,
    }
    one = prediction(0.5, (1.0,))
    rewarded = replace(one, greedy=replace(one.greedy, rewards={"own": 0.25, "other": None}))
    write_predictions([rewarded], path)
    assert read_predictions(path) == [rewarded]
