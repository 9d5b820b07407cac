"""Paired comparisons of finished evaluations."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_directory import EvaluationDirectory
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.sample import InputError

NOTHING: Mapping[str, Any] = {}
BOX = (0.0, 0.0, 1.0, 1.0)


def predictions(accuracies: list[float], kinds: str = "") -> list[Prediction]:
    return [
        Prediction(
            id=f"sample-{place}",
            task="rec",
            question=f"object {place}",
            truth=BOX,
            kind=kinds[place % len(kinds)] if kinds else None,
            greedy=Answer("", BOX, accuracy, True),
            sampled=(),
            diversity=0.0,
            image=f"image {place}",
        )
        for place, accuracy in enumerate(accuracies)
    ]


def written(
    directory: Path,
    settings: Mapping[str, Any] = NOTHING,
    conditions: Mapping[str, Any] = NOTHING,
    **sets: list[Prediction],
) -> Path:
    settings = {"model": directory.name, **settings}
    output = EvaluationDirectory(directory, settings, restart=False)
    results = {name: summarise(made) for name, made in sets.items()}
    for name, result in results.items():
        output.complete(name, result)
    output.write_metrics(results, conditions)
    return directory


def test_paired_differences_agree_with_scipy(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first = rng.random(300)
    second = np.clip(first + rng.normal(0.05, 0.1, 300), 0, 1)
    a = written(tmp_path / "a", test=predictions(first.tolist()))
    b = written(tmp_path / "b", test=predictions(second.tolist())[::-1])
    (one,) = compare([a, b]).sets
    assert (one.name, one.shared, one.samples) == ("test", 300, (300, 300))
    rows = {row.metric: row for row in one.rows}
    assert list(rows) == ["greedy/acc@0.5", "greedy/acc@0.75", "greedy/acc@0.9", "greedy/accuracy"]
    row = rows["greedy/accuracy"]
    assert row.title == "mean IoU"
    assert row.values == pytest.approx((first.mean(), second.mean()))
    (difference,) = row.differences
    assert difference.value == pytest.approx((second - first).mean())
    theirs = stats.bootstrap(
        (second, first),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert difference.interval == pytest.approx((theirs.low, theirs.high), abs=2e-3)
    # Unpaired, the spread of the samples would drown the difference.
    assert difference.interval is not None
    assert difference.interval[1] - difference.interval[0] < 0.4 * 2 * 1.96 * np.sqrt(
        2 * first.var() / 300
    )


def test_detection_is_compared_over_the_whole_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def answers(noise: float) -> list[Prediction]:
        made = []
        for place in range(60):
            corners = rng.uniform(0, 50, 2)
            box = (*corners.tolist(), *(corners + 30).tolist())
            truth = ({"label": "lamp", "box": box},)
            moved = tuple(float(v) for v in np.array(box) + rng.normal(0, noise, 4))
            answer = Answer("", ({"label": "lamp", "box": moved},), 0.5, True)
            row = Prediction(f"s{place}", "ovd", "lamp", truth, None, answer, (), 0.0)
            made.append(row)
        return made

    close, far = answers(0.5), answers(6.0)
    far = [replace(f, truth=c.truth) for f, c in zip(far, close, strict=True)]
    (one,) = compare([written(tmp_path / "far", s=far), written(tmp_path / "near", s=close)]).sets
    rows = {row.title: row for row in one.rows}
    assert list(rows) == ["COCO mAP", "AP50", "F1@0.5"]
    for row in rows.values():
        interval = row.differences[0].interval
        assert interval is not None and 0 < interval[0] < row.differences[0].value < interval[1]
    same = compare([tmp_path / "near", tmp_path / "near"]).sets[0].rows[0].differences[0]
    assert (same.value, same.interval) == (0, (0, 0))


def test_kinds_and_samples_that_only_one_has(tmp_path: Path) -> None:
    a = written(tmp_path / "a", test=predictions([0.6] * 10, "xy"), more=predictions([1.0]))
    b = written(tmp_path / "b", test=predictions([0.6, 0.4] * 4, "xy"))
    c = written(tmp_path / "c", test=predictions([0.4] * 9, "xy"))
    with pytest.raises(InputError, match=r"number of samples of test 10 \(a\), 8 \(b\), 9 \(c\);"):
        compare([a, b, c])
    comparison = compare([a, b, c], allow_different=True)
    assert comparison.names == ("a", "b", "c") and comparison.left_out == ("more",)
    (one,) = comparison.sets
    assert (one.shared, one.samples) == (8, (10, 8, 9))
    rows = {row.title: row for row in one.rows}
    assert rows["Acc@0.5"].values == (1, 0.5, 0)
    assert rows["x, Acc@0.5"].values == (1, 1, 0) and rows["y, Acc@0.5"].values == (1, 0, 0)
    assert [d.value for d in rows["x, Acc@0.5"].differences] == [0, -1]
    assert rows["x, Acc@0.5"].metric == "x/greedy/acc@0.5"


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path: Path) -> None:
    made = predictions([0.5, 0.6])
    a = written(tmp_path / "a", test=made)
    with pytest.raises(InputError, match="at least two"):
        compare([a])
    with pytest.raises(InputError, match=r"gone holds no finished evaluation"):
        compare([a, tmp_path / "gone"])
    b = written(tmp_path / "b", ood=made)
    with pytest.raises(InputError, match=r"share no set \(.*a: test; .*b: ood\)"):
        compare([a, b])
    for number, changed in enumerate(
        (
            replace(made[1], truth=(0.0, 0.0, 2.0, 2.0)),
            replace(made[1], image="another"),
            replace(made[1], question="another"),
        )
    ):
        c = written(tmp_path / f"c{number}", test=[made[0], changed])
        with pytest.raises(InputError, match=r"sample 'sample-1' is not the same in .*a and .*c"):
            compare([a, c])
    d = written(tmp_path / "d", test=[replace(one, id=f"other-{one.id}") for one in made])
    with pytest.raises(InputError, match="share no sample"):
        compare([a, d])


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    a = written(tmp_path / "one" / "final", test=predictions([0.4, 0.6, 0.8] * 5))
    b = written(tmp_path / "two" / "final", test=predictions([0.6, 0.6, 0.95] * 5))
    command = ["evaluate", "compare", str(a), str(b), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = result.output[: result.output.index("samples shared")]
    assert (
        all(len(line) <= 80 for line in table.splitlines()) and "…" not in table.split("final")[0]
    )
    assert re.search(r"test \(15\)[^\n]*\n[^\n]*Acc@0\.5 .*one/final.*0\.667", result.output)
    assert re.search(r"two/final.*1\.000.*\+0\.333.*\+0\.\d{3} … \+0\.\d{3}", result.output)
    assert "15 samples shared, of 15, 15" in result.output
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["names"] == ["one/final", "two/final"] and content["mismatches"] == []
    row = content["sets"][0]["rows"][0]
    assert row["metric"] == "greedy/acc@0.5"
    assert row["differences"][0]["value"] == pytest.approx(1 / 3)


SAME = {"temperature": 1.0, "seed": 0, "max_pixels": None, "prompt_style": "full"}
VERSIONS = {"torch": "2.9.0", "transformers": "5.23.0", "max_pixels": 602112}


@pytest.mark.parametrize(
    ("settings", "conditions", "told"),
    [
        ({"temperature": 0.7}, {}, "temperature 1.0 (a), 0.7 (b)"),
        ({"seed": 1}, {}, "seed 0 (a), 1 (b)"),
        ({"prompt_style": "brief"}, {}, "prompt_style full (a), brief (b)"),
        ({"max_new_tokens": 64}, {}, "max_new_tokens not recorded (a), 64 (b)"),
        ({}, {"transformers": "5.22.0"}, "transformers 5.23.0 (a), 5.22.0 (b)"),
        ({"max_pixels": 9}, {"max_pixels": 401408}, "max_pixels 602112 (a), 401408 (b)"),
        ({}, {"model_name": "org/m", "revision": "f00"}, "revision abc (a), f00 (b)"),
    ],
)
def test_evaluations_that_differ_in_more_than_the_model_are_refused(
    tmp_path: Path, settings: dict[str, Any], conditions: dict[str, Any], told: str
) -> None:
    made = predictions([0.5, 0.6])
    origin = {"model_name": "org/m", "revision": "abc"}
    a = written(tmp_path / "a", SAME, {**VERSIONS, **origin}, test=made)
    b = written(
        tmp_path / "b", {**SAME, **settings}, {**VERSIONS, **origin, **conditions}, test=made
    )
    with pytest.raises(InputError) as caught:
        compare([a, b])
    assert str(caught.value) == (
        f"the evaluations differ in more than the model: {told}; evaluate all alike, or compare "
        "anyway with --allow-different"
    )
    command = ["evaluate", "compare", str(a), str(b), "--allow-different"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0 and f"different beside the model: {told}" in result.output


def test_other_prompts_are_a_difference_and_another_model_is_none(tmp_path: Path) -> None:
    made = [replace(one, prompt="p") for one in predictions([0.5, 0.6])]
    a = written(tmp_path / "a", SAME, {"model_name": "x", "revision": "1"}, test=made)
    b = written(tmp_path / "b", SAME, {"model_name": "y", "revision": "2"}, test=made)
    assert compare([a, b]).mismatches == ()
    c = written(tmp_path / "c", SAME, test=[made[0], replace(made[1], prompt="q")])
    with pytest.raises(InputError, match=r"prompts of test the first \(a\), 1 others \(c\);"):
        compare([a, c])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "Missing argument"),
        (["--model", "m"], "Missing option '--data'"),
        (["--model", "m", "--data", "d"], "Missing option '--out'"),
    ],
)
def test_wrong_usage_is_said(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 2 and message in result.output
