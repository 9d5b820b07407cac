"""Spans of threads and processes become one Chrome trace; without a recording nothing is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest

from syngrpo.serving import timeline
from syngrpo.serving.timeline import of_step, span, traced


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    timeline.stop()


@traced("count")
def counted(until: int) -> int:
    """Count."""
    return sum(range(until))


def in_a_process(file: Path) -> None:
    timeline.start("worker 3", place=1003, file=file)
    with span("paint", job="abc"):
        counted(1000)


def test_nothing_is_recorded_unless_it_was_started() -> None:
    assert span("one") is span("another", about=1)
    with of_step(1), span("one"):
        assert counted(4) == 6
    assert timeline.take() == []
    timeline.start("trainer")
    with span("one"):
        timeline.stop()
    assert timeline.take() == []
    assert counted.__doc__ == "Count."


def test_spans_within_each_other_lie_within_each_other() -> None:
    timeline.start("trainer")
    with of_step(7), span("update"):
        for tokens in range(50):
            with span("micro-batch", tokens=tokens):
                counted(100)
    events = [event for event in timeline.take() if event["ph"] == "X"]
    assert [event["name"] for event in events] == ["count", "micro-batch"] * 50 + ["update"]
    assert [event["args"] for event in events[1:-1:2]] == [
        {"step": 7, "tokens": tokens} for tokens in range(50)
    ]
    inner = [(event["ts"], event["ts"] + event["dur"]) for event in events[1:-1:2]]
    assert inner == sorted(inner)
    assert all(a[1] <= b[0] for a, b in pairwise(inner))
    outer = events[-1]
    assert outer["ts"] <= inner[0][0] and inner[-1][1] <= outer["ts"] + outer["dur"]


def test_an_error_ends_its_span() -> None:
    timeline.start("trainer")
    with pytest.raises(ZeroDivisionError), span("divide"):
        print(1 // 0)
    assert [event["name"] for event in timeline.take() if event["ph"] == "X"] == ["divide"]


def test_each_thread_is_a_row_and_knows_the_step_in_a_copy_of_the_context() -> None:
    timeline.start("trainer")
    with ThreadPoolExecutor(1, thread_name_prefix="rollouts") as threads:
        with of_step(3):
            threads.submit(copy_context().run, counted, 5).result()
        threads.submit(counted, 5).result()
        with of_step(4):
            counted(5)
    events = timeline.take()
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert sorted(names.values()) == ["main", "rollouts_0"]
    told = [(names[e["tid"]], e["args"]) for e in events if e["ph"] == "X"]
    assert told == [("rollouts_0", {"step": 3}), ("rollouts_0", {}), ("main", {"step": 4})]


def test_the_events_of_several_processes_become_one_trace(tmp_path: Path) -> None:
    timeline.start("trainer")
    with span("wait"):
        worker = get_context("spawn").Process(target=in_a_process, args=(tmp_path / "1.jsonl",))
        worker.start()
        worker.join()
    with (tmp_path / "1.jsonl").open("a") as file:
        file.write('{"name": "cut o')  # as by a process that was killed
    trace = json.loads(timeline.chrome_trace(timeline.take() + timeline.events_in(tmp_path)))
    events = trace["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert sorted(names.values()) == ["trainer", "worker 3"]
    spans = {e["name"]: e for e in events if e["ph"] == "X"}
    assert names[spans["paint"]["pid"]] == "worker 3" and spans["paint"]["args"]["job"] == "abc"
    # The clock is the same in both, so that the work of the worker lies within the waiting.
    wait, paint = spans["wait"], spans["paint"]
    assert wait["ts"] < paint["ts"] < paint["ts"] + paint["dur"] < wait["ts"] + wait["dur"]


def test_a_worker_stops_when_the_folder_of_its_file_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "workers" / "1.jsonl"
    file.parent.mkdir()
    timeline.start("worker", file=file)
    counted(1)
    file.unlink()
    file.parent.rmdir()
    counted(1)
    assert span("one") is span("another")


def test_ranks_on_other_hosts_may_have_the_same_process_ids() -> None:
    pids = []
    for rank in range(3):
        timeline.start(f"trainer, rank {rank}", rank=rank, place=rank)
        counted(1)
        pids.append({event["pid"] for event in timeline.take()})
    assert all(len(one) == 1 for one in pids)
    assert len(set.union(*pids)) == 3
