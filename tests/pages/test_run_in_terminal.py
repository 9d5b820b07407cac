"""Progress and summary of a run in the terminal."""

import io
from pathlib import Path

import pytest
from made_up_run import write_run
from rich.console import Console

from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.pages.training_progress import TrainingProgress


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


def test_progress_in_a_terminal_draws_a_bar() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=160)
    with TrainingProgress(3, console=console) as progress:
        for step in range(1, 4):
            progress.step({"step": step, "reward/accuracy": 0.5, "diversity/response_seed": None})
    assert "3/3" in output.getvalue() and "reward 0.500" in output.getvalue()
