"""A small matrix on the rooms world is run, killed, resumed and reported."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO

import pytest
import warm_processes
from experiments.rooms import attempt
from experiments.rooms.__main__ import main
from experiments.rooms.attempt import busy, spent, steps_done
from experiments.rooms.matrix import Cell, Folders, Matrix, program
from experiments.rooms.result import read_result
from experiments.rooms.settings import SETTINGS
from experiments.rooms.sheet import write_sheet
from experiments.rooms.standing import standing

from syngrpo.cli.main import main as syngrpo_main
from syngrpo.evaluation.evaluation_result import EvaluationResult, summarise
from syngrpo.evaluation.predictions import read_predictions
from syngrpo.serving.json_lines import read_lines

TINY = (
    "trainer.steps=4",
    "trainer.checkpoint_every=2",
    "trainer.groups_per_step=2",
    "rollout.group_size=2",
    "data.train.0.count=12",
    "evaluation.every=2",
    "evaluation.at_start=true",
    "evaluation.samples_per_prompt=2",
    "evaluation.sets={dev: {format: rooms, split: dev, task: isr, count: 2}}",
)
STARTER, TRAINED = Cell("isr", "starter", 0), Cell("isr", "syn-grpo", 0)


def arguments(command: str, out: Path, *more: str) -> list[str]:
    overrides = [word for override in (*TINY, *more) for word in ("--set", override)]
    return [command, "--split", "dev", "--out", str(out), "--seeds", "0", *overrides]


class Forked:
    """Replaces ``subprocess.Popen`` for the runner, which saves ten seconds of imports: the same
    command in a process forked from one that has imported everything."""

    def __init__(
        self, command: list[str], *, stdout: IO[str], env: dict[str, str], **options: object
    ) -> None:
        assert command[:3] == program()
        self.pid = os.fork()
        self.status: int | None = None
        if self.pid == 0:
            os.setsid()
            os.environ.update(env)
            _run([sys.argv[0], *command[3:]], stdout.fileno(), syngrpo_main)

    def wait(self, timeout: float) -> None:
        until(lambda: self.poll() is not None)

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status


def _run(words: list[str], output: int, command: Callable[[], object]) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.argv = words
    status = 1
    try:
        command()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _experiment(words: list[str], log: Path) -> None:
    attempt.Popen = Forked  # type: ignore[assignment,misc]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    _run(["rooms", *words], os.open(log, flags, 0o644), main)


def start(words: list[str], log: Path) -> ForkServerProcess:
    """Start a command of the experiment in a process of its own."""
    process = warm_processes.PROCESSES.Process(target=_experiment, args=(words, log))
    process.start()
    return process


@pytest.mark.slow
def test_a_killed_matrix_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    folders = Folders(out)
    run = arguments("run", out)
    only = ["--only", "task=isr,method=syn-grpo", "--only", "task=isr,method=starter"]
    first = start([*run, *only[:2]], log)
    until(lambda: steps_done(folders, TRAINED) >= 2)
    first.kill()
    first.join()
    assert busy(folders, TRAINED)  # what it had started lives on, and nobody else takes the cell
    matrix = Matrix(replace(SETTINGS, seeds=(0,)), "dev", TINY)
    assert standing(matrix, TRAINED, folders).state == "running"
    kill_run(folders, TRAINED)
    stopped = standing(matrix, TRAINED, folders)
    assert stopped.state == "interrupted" and not folders.result(TRAINED).exists()

    again = start([*run, *only, "--jobs", "2"], log)
    again.join()
    said = log.read_text()
    assert again.exitcode == 0, said
    assert f"{TRAINED.name} resumes" in said and f"{STARTER.name} starts" in said
    assert spent(folders, TRAINED).attempts == 2
    result = read_result(folders.result(TRAINED))
    assert [e.step for e in result.held_out["dev"].evaluations] == [0, 2, 4]
    assert result.series["step"] == [1, 2, 3, 4]
    assert result.circumstances["attempts"] == 2
    assert (folders.run(TRAINED) / "checkpoints").exists()  # for the longer part
    starter = read_result(folders.result(STARTER)).held_out["dev"]
    assert starter.evaluations[0] == result.held_out["dev"].evaluations[0]
    assert starter.samples == result.held_out["dev"].samples
    kept = per_sample(folders.run(STARTER))
    assert kept.metrics["sampled/accuracy"] == pytest.approx(
        starter.evaluations[0].values("sampled").mean(), abs=1e-3
    )

    more = start([*arguments("run", out, "trainer.steps=6"), *only[:2], "--part", "longer"], log)
    more.join()
    longer = read_result(folders.part("longer").result(TRAINED))
    assert [e.step for e in longer.held_out["dev"].evaluations] == [0, 2, 4, 6]
    assert longer.held_out["dev"].evaluations[:3] == result.held_out["dev"].evaluations
    assert longer.series["diversity/response"][:4] == result.series["diversity/response"]
    assert longer.circumstances["attempts"] == 3

    monkeypatch.setattr("sys.argv", ["rooms", *arguments("report", out)])
    with pytest.raises(SystemExit, match="0"):
        main()
    text = (out / "RESULTS.md").read_text()
    assert "2 of 36 cells" in text and "sampled accuracy on dev" in text
    assert not write_sheet(folders.run(TRAINED), tmp_path / "few.png") or (
        (tmp_path / "few.png").stat().st_size <= 200_000
    )
    monkeypatch.setattr("sys.argv", ["rooms", *arguments("status", out)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "2 done, 31 to come, 3 impossible" in capsys.readouterr().out


def per_sample(out: Path) -> EvaluationResult:
    """Compute the starter's metrics again from its predictions, which the results do not
    contain."""
    assert [row["set"] for row in read_lines(out / "evaluation.jsonl")] == ["isr-dev"]
    return summarise(read_predictions(out / "predictions-isr-dev.jsonl"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_run(folders: Folders, cell: Cell) -> None:
    """Kill the training process that holds the cell; its run directory names it."""
    pid = int((folders.run(cell) / ".lock").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not busy(folders, cell))


def test_a_cell_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nprint('error: something is wrong')\nsys.exit('syn-grpo' in str(sys.argv))\n"
    )
    monkeypatch.setattr("experiments.rooms.attempt.program", lambda: ["python3", str(program)])
    words = ["run", "--out", str(tmp_path), "--seeds", "0", "--only", "task=rec,method=syn-grpo"]
    words += ["--only", "task=rec,method=grpo", "--jobs", "2"]
    monkeypatch.setattr("sys.argv", ["rooms", *words])
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr()
    assert "failed: rec-syn-grpo-0: exit status 1: error: something is wrong" in told.err
    assert "failed: rec-grpo-0: " in told.err  # it said that it was done, and left nothing
    assert json.loads((tmp_path / "runs/rec-grpo-0.time").read_text())["attempts"] == 1
