"""What is wrong with a run is said in words while it is so, and not before or after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syngrpo.dashboard.overview.run_health import advice, waiting_descriptions
from syngrpo.pages.run_data import RunData

SOUND = {
    "reward/format": 0.98,
    "reward/accuracy": 0.5,
    "diversity/response": 0.2,
    "diversity/zero_variance_groups": 0.1,
    "rollout/cut_share": 0.0,
    "description/distinct": 0.4,
    "synthesis/submitted": 6,
    "synthesis/dropped": 0,
    "synthesis/admitted": 4,
    "synthesis/rejected": 2,
    "synthesis/dead": 0,
    "synthesis/settled": 3,
    "synthesis/stale": 0,
    "time/step_s": 2.0,
    "time/wait_data_s": 0.01,
}


def problems(later: dict[str, float], steps: int = 100, broken: range = range(60, 101)) -> str:
    rows = [
        {"step": step} | SOUND | (later if step in broken else {}) for step in range(1, steps + 1)
    ]
    return " ".join(one.problem for one in advice(RunData(Path("run"), rows, [], {})))


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ({"reward/format": 0.1}, "The format is lost: 10% of the responses are well formed"),
        ({"rollout/cut_share": 0.9}, "90% of the responses end at the length limit"),
        ({"diversity/response": 0.001}, "Diversity has collapsed: D is 0.001"),
        ({"diversity/zero_variance_groups": 0.95}, "in 95% of the groups all responses"),
        ({"description/distinct": 0.1}, "Descriptions are worn out: 10% of their words"),
        ({"synthesis/stale": 9}, "180 descriptions were too old for their reward"),
        ({"synthesis/admitted": 0, "synthesis/rejected": 0}, "Nothing is painted"),
        ({"synthesis/dead": 5}, "100 jobs were given up after errors"),
        ({"synthesis/admitted": 0}, "The gate has refused all 40 images"),
        ({"time/wait_data_s": 1.0}, "spends 50% of its time waiting for data"),
    ],
)
def test_a_fault_of_the_last_steps_is_told_until_it_is_over(
    later: dict[str, float], told: str
) -> None:
    assert told in problems(later)
    assert problems(later, broken=range(60, 76)) == ""  # over for 25 steps


def test_a_sound_run_and_one_that_has_just_begun_have_no_advice() -> None:
    assert problems({}) == ""
    assert problems({"reward/format": 0.1}, steps=5, broken=range(6)) == ""


@pytest.mark.parametrize("change", [lambda row: {}, lambda row: dict.fromkeys(row, None)])
def test_metrics_that_are_missing_say_nothing(
    change: Callable[[dict[str, float]], dict[str, float | None]],
) -> None:
    rows = [{"step": step} | change(SOUND) for step in range(1, 50)]
    assert advice(RunData(Path("run"), rows, [], {})) == []


def test_waiting_descriptions_are_those_that_have_not_ended() -> None:
    rows = [
        {"step": 1, "synthesis/submitted": 6},
        {"step": 2, "synthesis/submitted": 6, "synthesis/admitted": 3, "synthesis/rejected": 1},
        {"step": 3, "reward/format": 1.0},
        {"step": 4, "synthesis/submitted": 0, "synthesis/admitted": 1, "synthesis/dead": 7},
        {"step": 5, "synthesis/submitted": 2, "synthesis/admitted": 9},
    ]
    waiting = waiting_descriptions(RunData(Path("run"), rows, [], {}))
    assert (waiting.steps, waiting.values) == ([1, 2, 3, 4, 5], [6, 8, 8, 0, 0])
