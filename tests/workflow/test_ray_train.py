"""Training with its ranks on a Ray cluster of this machine: results, killed ranks, signals."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import warm_processes
from quick_runs import metrics, train_arguments
from ray_cluster import of_commands, ray_cluster
from test_trainer_processes import assert_same_run, train_with_one

pytest.importorskip("ray", reason="Ray is not installed: pip install 'syngrpo[ray]'")
pytestmark = pytest.mark.skipif(
    "SYNGRPO_TEST_RAY" not in os.environ,
    reason="takes minutes, because every rank imports everything anew: make test-ray",
)

CHANGED = {"trainer__steps": 6, "trainer__groups_per_step": 3}
"""Options of the runs; a checkpoint is written every two steps."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with ray_cluster(OMP_NUM_THREADS="1") as address:
        yield address


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends the commands that a test left running."""
    with ExitStack() as stack:
        yield stack


def start(processes: ExitStack, folder: Path, *words: str) -> warm_processes.Command:
    command = warm_processes.start(folder, *words, **of_commands())
    processes.callback(command.kill)
    return command


def until(condition: Callable[[], Any], command: warm_processes.Command) -> None:
    """Wait until the command or its ranks have done something."""
    deadline = time.monotonic() + 150
    while not condition():
        assert command.process.is_alive(), command.stderr
        assert time.monotonic() < deadline, command.stderr
        time.sleep(0.02)


def rank_0(run: Path) -> int:
    """Return the process that holds the run directory."""
    pid = int((run / ".lock").read_text())
    assert b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_two_ranks_train_as_one_process_does_also_when_one_is_killed(
    tmp_path: Path, processes: ExitStack, cluster: str
) -> None:
    run = tmp_path / "run"
    words = train_arguments(run, "--ray", cluster, "--processes", "2", **CHANGED)
    command = start(processes, tmp_path / "command", *words)
    until(lambda: len(metrics(run)) >= 3, command)
    victim = rank_0(run)
    os.kill(victim, signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert "rank 0: its process or its node is gone" in command.stderr
    assert "from the last checkpoint (1 of 3 restarts)" in command.stderr
    assert "Traceback" not in command.stderr
    printed = command.output.read_text()
    assert "step 6/6" in printed and printed.count("report.html") == 1
    train_with_one(tmp_path / "one", **CHANGED)
    assert_same_run(run, tmp_path / "one")
    assert sum(record["synthesis/settled"] for record in metrics(run)) > 0


def test_an_input_error_of_a_rank_is_one_line(
    tmp_path: Path, processes: ExitStack, cluster: str
) -> None:
    few = {"data__train": "[{format: rooms, split: train, count: 2}]"}
    words = train_arguments(tmp_path / "run", "--ray", cluster, **few)
    refused = start(processes, tmp_path, *words)
    assert refused.wait() == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: data.train holds 2 samples, trainer.groups_per_step is 3")


def test_sigterm_ends_the_ranks_and_the_run_resumes_without_ray(
    tmp_path: Path, processes: ExitStack, cluster: str
) -> None:
    run = tmp_path / "run"
    command = start(processes, tmp_path / "command", *train_arguments(run, "--ray", cluster))
    until(lambda: len(metrics(run)) >= 1, command)
    rank = rank_0(run)
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM, command.stderr
    assert is_gone(rank) and "Traceback" not in command.stderr
    resumed = start(processes, tmp_path / "command", *train_arguments(run, "--resume"))
    assert resumed.wait() == 0, resumed.stderr
    train_with_one(tmp_path / "whole")
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.parametrize(
    "options, message",
    [
        (("--ray", "127.0.0.1:1"), "no Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        (("--ray", "ray://127.0.0.1:1"), "give the command there, with --ray auto"),
        (("--processes", "2"), "--processes is for a run on a Ray cluster; give --ray ADDRESS"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(
    tmp_path: Path, processes: ExitStack, options: tuple[str, ...], message: str
) -> None:
    refused = start(processes, tmp_path, *train_arguments(tmp_path / "run", *options))
    assert refused.wait() == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "run").exists()
