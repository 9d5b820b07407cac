"""The curves of the tab Metrics against numpy and pandas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from syngrpo.dashboard.metrics.metric_curves import (
    MetricCurves,
    MetricKey,
    MetricNames,
    RunGroup,
    metric_words,
    seed_groups,
    time_unit,
)
from syngrpo.dashboard.parts.view import joined_names, split_names
from syngrpo.pages.run_data import Evaluation, RunData

LOSS = MetricKey("loss", "loss")
SEEDS = [RunGroup("seeds", ("a", "b"))]


def run(*rows: dict[str, Any], evaluations: tuple[Evaluation, ...] = ()) -> RunData:
    return RunData(Path("run"), list(rows), list(evaluations), {})


def random_run(steps: int, seed: int) -> RunData:
    rng = np.random.default_rng(seed)
    return run(
        *(
            {"step": step, "loss": float(rng.normal()), "time/step_s": float(rng.uniform(1, 3))}
            for step in range(1, steps + 1)
        )
    )


def evaluation(step: int, value: float, interval: tuple[float, float] | None) -> Evaluation:
    intervals = {} if interval is None else {"greedy/accuracy": interval}
    kinds = {"count": {"greedy/accuracy": value / 2}}
    return Evaluation(step, "test", ("rec",), {"greedy/accuracy": value}, intervals, kinds)


def test_every_key_with_numbers_is_found_in_order_and_grouped() -> None:
    data = run(
        {"step": 1, "loss": 0.5, "reward/accuracy": None, "note": "text"},
        {"step": 2, "loss": 0.4, "reward/accuracy": 0.1, "late/one": 3},
        evaluations=(evaluation(0, 0.5, None),),
    )
    keys = MetricNames().of(data)
    assert [(key.group, key.name) for key in keys] == [
        ("general", "loss"),
        ("reward", "reward/accuracy"),
        ("late", "late/one"),
        ("evaluation/test", "evaluation/test/greedy/accuracy"),
        ("evaluation/test/by kind of question", "evaluation/test/count/greedy/accuracy"),
    ]
    assert metric_words(keys[1], data) == "Mean accuracy of the responses, 0 to 1."
    assert metric_words(keys[4], data) == "greedy mean IoU, count"


def test_keys_of_added_steps_are_found_and_those_of_a_run_that_was_set_back_forgotten() -> None:
    names, row = MetricNames(), {"step": 1, "loss": 0.5}
    longer = [row, {"step": 2, "kl": 0.1}]
    assert [key.name for key in names.of(run(row))] == ["loss"]
    assert [key.name for key in names.of(run(*longer))] == ["loss", "kl"]
    assert [key.name for key in names.of(run({"step": 1, "grad_norm": 1.0}))] == ["grad_norm"]


def test_seeds_are_joined_into_mean_smallest_and_largest() -> None:
    runs = {"a": random_run(30, 0), "b": random_run(20, 1)}
    (line,) = MetricCurves(runs).lines(SEEDS, LOSS)
    table = pd.concat(
        [pd.DataFrame(data.metrics).set_index("step")["loss"] for data in runs.values()], axis=1
    )
    assert list(line.x) == table.index.tolist()
    assert line.y == pytest.approx(table.mean(axis=1).to_numpy())
    assert line.low == pytest.approx(table.min(axis=1).to_numpy())
    assert line.high == pytest.approx(table.max(axis=1).to_numpy())


def test_time_is_the_sum_of_the_steps_so_far() -> None:
    data = random_run(30, 0)
    passed = np.cumsum([row["time/step_s"] for row in data.metrics])
    alone = [RunGroup("a", ("a",))]
    (line,) = MetricCurves({"a": data}).lines(alone, LOSS, "time")
    assert line.x == pytest.approx(passed)
    measured = tuple(evaluation(step, 0.5, (0.4, 0.7)) for step in (0, 20, 99))
    curves = MetricCurves({"a": replace(data, evaluations=list(measured))})
    key = MetricKey("accuracy", "greedy/accuracy", "test")
    (line,) = curves.lines(alone, key, "time")
    # The run has not come to step 99 yet, so that its time is not known.
    assert line.x == pytest.approx([0, passed[19]]) and line.low == pytest.approx([0.4, 0.4])
    (line,) = curves.lines(alone, key)
    assert list(line.x) == [0, 20, 99]


def test_the_time_of_seeds_is_their_mean_at_the_same_step() -> None:
    runs = {"a": random_run(30, 0), "b": random_run(20, 1)}
    (line,) = MetricCurves(runs).lines(SEEDS, LOSS, "time")
    table = pd.concat(
        [pd.DataFrame(data.metrics).set_index("step")["time/step_s"] for data in runs.values()],
        axis=1,
    )
    assert line.x == pytest.approx(table.mean(axis=1).cumsum().to_numpy())


def test_an_evaluation_has_its_intervals_as_band_if_all_have_one() -> None:
    key = MetricKey("accuracy", "greedy/accuracy", "test")
    alone = [RunGroup("a", ("a",))]
    both = (evaluation(10, 0.6, (0.5, 0.8)), evaluation(0, 0.5, (0.4, 0.7)))
    (line,) = MetricCurves({"a": run(evaluations=both)}).lines(alone, key)
    assert (list(line.x), list(line.low), list(line.high)) == ([0, 10], [0.4, 0.5], [0.7, 0.8])
    one = (both[0], evaluation(0, 0.5, None))
    (line,) = MetricCurves({"a": run(evaluations=one)}).lines(alone, key)
    assert len(line.low) == 0
    kind = replace(key, kind="count")
    (line,) = MetricCurves({"a": run(evaluations=both)}).lines(alone, kind)
    assert list(line.y) == [0.25, 0.3] and len(line.low) == 0
    of_kinds = {"count": {"greedy/accuracy": (0.1, 0.4)}}
    known = tuple(replace(one, kind_intervals=of_kinds) for one in both)
    (line,) = MetricCurves({"a": run(evaluations=known)}).lines(alone, kind)
    assert (list(line.low), list(line.high)) == ([0.1, 0.1], [0.4, 0.4])


def test_values_that_are_no_finite_numbers_are_left_out() -> None:
    odd = ({"step": s, "loss": v} for s, v in enumerate([1.0, "x", None, [2], 3, float("inf")]))
    (line,) = MetricCurves({"a": run(*odd)}).lines([RunGroup("a", ("a",))], LOSS)
    assert (list(line.x), list(line.y)) == ([0, 4], [1.0, 3.0])
    assert MetricCurves({"a": run()}).lines([RunGroup("a", ("a",))], LOSS) == []


def test_a_run_that_has_gone_on_is_read_again() -> None:
    data, alone = random_run(3, 0), [RunGroup("a", ("a",))]
    curves = MetricCurves({"a": data})
    assert len(curves.lines(alone, LOSS)[0].x) == 3
    longer = replace(data, metrics=[*data.metrics, {"step": 4, "loss": 9.0}])
    (line,) = MetricCurves({"a": longer}, curves).lines(alone, LOSS)
    assert list(line.y)[-1] == 9.0


def test_only_runs_that_differ_in_nothing_but_the_seed_are_joined() -> None:
    def config(seed: int, rate: float = 1e-4, **more: Any) -> dict[str, Any]:
        return {"trainer": {"seed": seed, "learning_rate": rate}, **more}

    configs: dict[str, dict[str, Any]] = {
        "grpo-seed0": config(0),
        "other": config(0, rate=1e-3),
        "grpo-seed1": config(1, server={"url": "http://host"}),
        "broken": {},
        "broken too": {},
        "odd": {"trainer": ["seed"]},
    }
    groups = seed_groups(configs)
    assert groups == [
        RunGroup("grpo (2 seeds)", ("grpo-seed0", "grpo-seed1")),
        *(RunGroup(name, (name,)) for name in ("other", "broken", "broken too", "odd")),
    ]
    assert configs["grpo-seed0"]["trainer"]["seed"] == 0


def test_the_numbers_of_seeds_are_no_part_of_their_common_name() -> None:
    def title(*names: str) -> str:
        (group,) = seed_groups({name: {"trainer": {"seed": name}} for name in names})
        return group.name

    assert title("mine-s10", "mine-s11") == title("mine-s1", "mine-s10") == "mine (2 seeds)"
    assert title("a1", "a1x", "a10") == "a (3 seeds)"
    assert title("v2-seed1", "v2-seed2") == "v2 (2 seeds)"
    assert title("run7", "run7 again") == "run7 (2 seeds)"


def test_time_grows_where_a_slow_seed_has_not_come_as_far() -> None:
    slow, fast = (
        run(*({"step": s, "loss": 1.0, "time/step_s": took} for s in range(1, steps + 1)))
        for took, steps in ((10.0, 100), (9.0, 200))
    )
    (line,) = MetricCurves({"a": slow, "b": fast}).lines(SEEDS, LOSS, "time")
    assert (np.diff(line.x) > 0).all()
    assert line.x[99] == pytest.approx(950) and line.x[-1] == pytest.approx(950 + 900)


def test_the_unit_of_time_fits_the_longest_line() -> None:
    def unit(seconds: float) -> tuple[str, float]:
        data = run({"step": 1, "loss": 1.0, "time/step_s": seconds})
        return time_unit(MetricCurves({"a": data}).lines([RunGroup("a", ("a",))], LOSS, "time"))

    assert [unit(s) for s in (20, 1200, 40_000)] == [("s", 1), ("min", 60), ("h", 3600)]
    assert time_unit([]) == ("s", 1)


def test_any_names_can_stand_in_an_address() -> None:
    names = ["a", "b,c", "50%", "%2C", "über/x"]
    assert split_names(joined_names(names)) == names
    assert split_names("") == []
