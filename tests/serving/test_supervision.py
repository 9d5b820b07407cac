"""Workers that are started, replaced and stopped."""

import errno
import gc
import itertools
import os
import resource
import signal
import time
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from service_process import until

from syngrpo.serving import supervision
from syngrpo.serving.supervision import Supervisor, WorkerProcess


class Pretended:
    """A worker of this process that ends when it is told to."""

    name = "worker"

    def __init__(self, place: int) -> None:
        self.place = place
        self.events: list[str] = []
        self.line: str | None = None
        self.ended = False

    def ending(self) -> str | None:
        return "early" if self.ended else None

    def problem(self) -> str | None:
        return self.line

    def finish_soon(self) -> None:
        self.events.append("finish")

    def wait(self, seconds: float) -> None:
        self.events.append("wait")

    def kill(self) -> None:
        self.events.append("kill")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_LOOK_S", 0.005)
    monkeypatch.setattr(supervision, "_FIRST_PAUSE_S", 0.05)


def test_a_dead_worker_is_replaced_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    started: list[tuple[float, Pretended]] = []

    def start(place: int) -> Pretended:
        started.append((time.monotonic(), Pretended(place)))
        return started[-1][1]

    with Supervisor(start, 2) as workers:
        for death in range(3):
            _, victim = started[-1]
            victim.line = f"death {death}" if death != 1 else None
            victim.ended = True
            until(lambda death=death: len(started) == 3 + death, "the replacement")
        assert workers.restarts == 3 and workers.problem == "death 2"
        alive = workers.workers()
    assert [worker.place for _, worker in started] == [0, 1, 1, 1, 1]
    pauses = [later - before for (before, _), (later, _) in pairwise(started[1:])]
    for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True):
        assert pause >= least
    assert "worker ended early; replacing it in 0.05 s" in caplog.messages
    assert "worker ended early; replacing it in 0.2 s" in caplog.messages
    assert [worker.events for worker in alive] == [["finish", "wait", "kill"]] * 2
    assert started[1][1].events == ["kill"]


def test_a_start_that_fails_is_tried_again_after_growing_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other workers are looked after in the meantime."""
    started: list[Pretended] = []
    refused: list[float] = []

    def start(place: int) -> Pretended:
        if place == 0 and len(refused) < 3 and any(worker.ended for worker in started):
            refused.append(time.monotonic())
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        started.append(Pretended(place))
        return started[-1]

    with Supervisor(start, 2) as workers:
        started[0].ended = True
        until(lambda: len(refused) == 1, "the first start that fails")
        started[1].ended = True
        until(lambda: len(started) == 4 and len(workers.workers()) == 2, "the replacements")
        assert workers.restarts == 5
        assert workers.problem is not None and "Cannot allocate memory" in workers.problem
    for (before, later), least in zip(pairwise(refused), (0.1, 0.2), strict=True):
        assert later - before >= least
    assert any("could not be started" in line and "0.4 s" in line for line in caplog.messages)


def test_thousands_of_deaths_in_a_row_do_not_end_the_supervision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As over a night in which the disk is full."""
    monkeypatch.setattr(supervision, "_LOOK_S", 0.0)
    monkeypatch.setattr(supervision, "_LONGEST_PAUSE_S", 0.0)
    ended = Pretended(0)
    ended.ended = True
    with Supervisor(lambda place: ended, 1) as workers:
        until(lambda: workers.restarts > 1100, "the deaths")


def open_files() -> set[int]:
    listed = os.listdir("/proc/self/fd")
    return {int(number) for number in listed if os.path.exists(f"/proc/self/fd/{number}")}


def test_a_process_that_cannot_be_started_leaves_no_file_open() -> None:
    WorkerProcess(time.sleep, (0,)).kill()  # starts what all further processes share
    gc.collect()  # closes files of earlier tests
    opened = open_files()
    # Two numbers are left, and the worker's own pipe takes them. Python closes no pipe of its own
    # when a later one cannot be opened, so none of these may be opened.
    unused = (number for number in itertools.count() if number not in opened)
    last = next(itertools.islice(unused, 1, None))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, limit[1]))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            WorkerProcess(time.sleep, (0,))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert open_files() <= opened, caught


def mark_and_wait(folder: Path, place: int, parent: int, problems: Connection) -> None:
    """The main function of the processes below."""
    assert os.getppid() == parent
    if (folder / "broken").exists():
        problems.send("the model is missing")
        raise SystemExit(2)
    (folder / f"{place}-{os.getpid()}").touch()
    time.sleep(600)


def test_processes_are_replaced_and_do_not_outlive_their_supervisor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def marks() -> list[str]:
        return sorted(path.name for path in tmp_path.glob("*-*"))

    workers = Supervisor(lambda place: WorkerProcess(mark_and_wait, (tmp_path, place)), 2)
    with workers:
        until(lambda: len(marks()) == 2, "the workers to start")
        first, second = workers.workers()
        assert marks() == [f"0-{first.pid}", f"1-{second.pid}"]
        (tmp_path / "broken").touch()
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: workers.problem is not None, "the problem of the replacement")
        assert workers.problem == "the model is missing"
        assert second.is_alive()
    assert not second.is_alive()
    assert f"worker {first.pid} ended with status -9; replacing it in 0.05 s" in caplog.messages
    assert any("with status 2 (the model is missing)" in line for line in caplog.messages)
