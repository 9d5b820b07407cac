"""Progress and summary of a run in the terminal."""

import io
import json
import re
from pathlib import Path

import pytest
from made_up_run import write_run
from rich.console import Console

from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.pages.evaluation_tables import results_table
from syngrpo.pages.run_data import read_run
from syngrpo.pages.run_headlines import image_counts
from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.pages.training_progress import FACTS, TrainingProgress
from syngrpo.pool.stored_samples import PoolStats


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "whole", steps=40, planned=40)


def test_summary_names_before_after_and_where_to_look(run: Path) -> None:
    write_report(run)
    output = io.StringIO()
    print_summary(run, Console(file=output, width=120))
    text = output.getvalue()
    assert "41.0%" in text and "55.0%" in text and "+14.0" in text
    assert "rejected" in text and any(
        one in text for one in ("near duplicate", "too small", "unseen")
    )
    assert str(run / "report.html") in text.replace("\n", "")


def test_progress_in_a_log_is_one_line_every_few_steps() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=False, width=60)
    with TrainingProgress(12, console=console, every=5) as progress:
        done = progress.evaluating("test", 4)
        done(4)
        for step in range(1, 13):
            progress.step({"step": step, "reward/accuracy": 0.25, "synthesis/admitted": 2})
    lines = output.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["step 5/12", "step 10/12", "step 12/12"]
    assert "reward 0.250" in lines[1] and lines[-1].endswith("images +24 -0")


def test_names_with_brackets_are_shown_as_they_are() -> None:
    """They are no markup of rich."""
    output = io.StringIO()
    task, name = "[red]", "n [/a]"
    rewards = {f"reward/accuracy/{one}": 0.5 for one in (task, "rec")}
    for terminal in (False, True):
        console = Console(file=output, force_terminal=terminal, width=100, color_system=None)
        with TrainingProgress(10, console=console) as progress:
            progress.evaluating(name, 4)
            progress.step({"step": 10, "reward/accuracy": 0.5, **rewards})
        assert f"({task} 0.500 rec 0.500)" in output.getvalue()
        assert name in output.getvalue()
        output.truncate(0)
    box = (0.0, 0.0, 1.0, 1.0)
    answer = Answer("", box, 1.0, True)
    made = Prediction("1", "rec", "q", box, "[attr] x", answer, (), 0.0)
    console.print(results_table({name: summarise([made])}))
    assert f"{name} (1)" in output.getvalue() and ", [attr] x (1)" in output.getvalue()


def test_progress_in_a_terminal_draws_a_bar() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=160)
    with TrainingProgress(3, console=console) as progress:
        for step in range(1, 4):
            progress.step({"step": step, "reward/accuracy": 0.5, "diversity/response_seed": None})
    assert "3/3" in output.getvalue() and "reward 0.500" in output.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_a_narrow_terminal_keeps_step_bar_and_time_left(width: int) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=width, color_system=None)
    measured = {name: 0.123 for _, name, _ in FACTS} | {"synthesis/admitted": 2}
    with TrainingProgress(1200, start=7, console=console) as progress:
        progress.step({"step": 599, **measured})
        progress.step({"step": 600, **measured})
    shown = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", output.getvalue())  # without control sequences
    bar, facts = shown.rpartition("\r")[2].splitlines()
    assert all(part in bar for part in ("step", "━", "600/1200", "left")) and len(bar) <= width
    assert "reward 0.123" in facts and len(facts) <= width
    assert width < 100 or facts.rstrip().endswith("images +4 -0")


def test_the_counts_of_a_resumed_run_agree_with_each_other(tmp_path: Path) -> None:
    """A run with workers keeps the images that were painted after its checkpoint, but not the
    lines of metrics that counted their descriptions: "17 submitted, 19 admitted"."""
    jobs = {"queued": 3, "leased": 1, "admitted": 19, "rejected": 4, "dead": 1}
    counted = {"submitted": 17, "admitted": 19, "rejected": 4}
    for pool, metrics in ((jobs, counted), ({}, counted), (jobs, {"submitted": 99})):
        row = {"step": 1, **{f"synthesis/{name}": n for name, n in metrics.items()}}
        (tmp_path / "metrics.jsonl").write_text(json.dumps(row))
        stats = PoolStats(5, 19, 24, 0, 0, 0, 0.5, pool, {"size": pool.get("rejected", 0)})
        counts = image_counts(read_run(tmp_path), stats)
        ended = counts.admitted + counts.rejected + counts.failed
        assert counts.submitted == ended + counts.unfinished and counts.unfinished >= 0
        assert (counts.admitted, counts.rejected) == (19, 4)
    assert image_counts(read_run(tmp_path), stats).unfinished == 99 - 24
