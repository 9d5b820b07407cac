"""attempts.jsonl: what a run writes down about each of its starts."""

from __future__ import annotations

import json
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

from quick_runs import quick_config
from rich.console import Console

from syngrpo.cli.train import run_training
from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.evaluation_reading import read_evaluation
from syngrpo.evaluation.run_evaluations import kept_evaluations
from syngrpo.workflow.attempts import ATTEMPTS, record_attempt
from syngrpo.workflow.resume_rules import Change
from syngrpo.workflow.run_directory import RunDirectory


def attempts(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / ATTEMPTS).read_text().splitlines()]


def test_a_resumed_run_has_two_attempts_and_the_answers_of_two_evaluations(tmp_path: Path) -> None:
    run, quiet = tmp_path / "run", Console(quiet=True)
    quick = {
        "trainer__checkpoint_every": 1,
        "trainer__steps": 1,
        "evaluation__sets": "{test: {format: rooms, split: test, count: 2}}",
    }
    run_training(quick_config(**quick), run, resume=False, console=quiet)
    run_training(quick_config(**quick | {"trainer__steps": 2}), run, resume=True, console=quiet)
    first, second = attempts(run)
    assert (first["step"], first["steps"], first["changes"]) == (0, 1, [])
    assert (second["step"], second["steps"]) == (1, 2)
    assert second["changes"] == [{"key": "trainer.steps", "before": 1, "now": 2}]
    for attempt in (first, second):
        assert attempt["versions"]["torch"] == version("torch")
        assert (attempt["host"], attempt["processes"]) == (socket.gethostname(), 1)
        assert attempt["device"] == "cpu"
    assert first["time"] <= second["time"]
    log = (run / "log.txt").read_bytes()
    assert first["log_from"] == 0
    before, after = log[: second["log_from"]], log[second["log_from"] :]
    assert b"trainer.steps" in after
    assert before.endswith(b"\n") and b"trainer.steps" not in before
    kept = kept_evaluations(run)
    assert list(kept) == [0, 2]  # that of step 1 was in between
    sets, content = read_evaluation(kept[2])
    assert len(sets["test"]) == 2 and content["settings"]["max_new_tokens"] == 64
    assert compare([kept[0], kept[2]]).mismatches == ()


def test_no_password_of_an_address_is_written(tmp_path: Path) -> None:
    changes = [Change("server.url", "https://me:hunter2@host:8420/x", None)]
    record_attempt(RunDirectory(tmp_path), 0, 1, "cpu", 1, changes)
    assert "hunter2" not in (tmp_path / ATTEMPTS).read_text()
    (change,) = attempts(tmp_path)[0]["changes"]
    assert change["before"] == "https://***@host:8420/x"


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ATTEMPTS).write_text('{"time": "2026-0')
    record_attempt(RunDirectory(tmp_path), 5, 9, "cpu", 2, [])
    cut, line = (tmp_path / ATTEMPTS).read_text().splitlines()
    assert cut == '{"time": "2026-0' and json.loads(line)["step"] == 5
