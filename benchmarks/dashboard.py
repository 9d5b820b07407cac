"""Measures how long the tabs of the dashboard take for a run of 10,000 steps with a pool of 100,000
pictures, and what five open pages cost a training step.

    python -m benchmarks.dashboard
    python -m benchmarks.dashboard --part step

The first part opens every tab in Chromium, without and with what the browser keeps from earlier
visits. The second trains with the dashboard beside it, and opens and closes five pages in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.pool import build
from benchmarks.results import write_section
from benchmarks.wait import CONFIG, read_steps
from syngrpo.dashboard.pages import TABS
from syngrpo.pool.store import Pool
from syngrpo.responses.response_files import file_for
from syngrpo.responses.response_rows import COLUMNS, schema_of
from syngrpo.workflow.step_metrics import PER_TASK

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
FILLED = ".page canvas, .page table, .page img, .page svg, .page .tile, .page pre, .page .card"
"""What a tab has when it shows something of the run."""
OPEN = ("overview", "metrics", "responses", "evolution", "gate")
"""Tabs whose pages are open while steps are measured."""
STEPS_A_FILE, GROUPS, SIZE = 20, 8, 8
PAINT = """() => performance.getEntriesByType('paint')
    .find(entry => entry.name === 'first-contentful-paint')?.startTime ?? null"""

JOBS = 100_000
"""Number of jobs that workers have ended."""
ASKED = {"compare": "?runs=run-00,run-01"}
"""What the address of a tab asks for that shows nothing by itself."""


def make_runs(folder: Path, runs: int, steps: int, pictures: int) -> None:
    """Make one run of this size, and others with its metrics alone."""
    first = folder / "run-00"
    first.mkdir(parents=True)
    build(first, pictures)
    rng = np.random.default_rng(0)
    names = [*PER_TASK, "reward/format", "loss", "kl", "grad_norm", "time/step_s"]
    names += [
        f"{part}/{number}" for part in ("rollout", "time", "synthesis") for number in range(24)
    ]
    walk = rng.normal(0, 0.01, (steps, len(names))).cumsum(axis=0) + 0.5
    lines = [
        json.dumps({"step": step + 1} | dict(zip(names, map(float, row), strict=True)))
        for step, row in enumerate(walk)
    ]
    text = "\n".join(lines) + "\n"
    for number in range(runs):
        run = folder / f"run-{number:02}"
        run.mkdir(exist_ok=True)
        (run / "metrics.jsonl").write_text(text)
        (run / "config.yaml").write_text(f"trainer: {{steps: {steps}, seed: {number}}}\n")
    _write_jobs(first, JOBS, rng)
    _write_responses(first, steps, rng)


def _write_jobs(run: Path, number: int, rng: np.random.Generator) -> None:
    """Add jobs that a worker has ended; the gate has refused a fifth of them."""
    refused = rng.random(number) < 0.2
    scores = rng.uniform(0, 60, number)
    rows = [
        (
            *(f"{place:064x}", 1, 1, "a room in the evening", 0, "rooms"),
            "rejected" if bad else "admitted",
            *("host-1", "background_unchanged" if bad else None),
            *(json.dumps({"background": float(score)}), place + 1, 1),
        )
        for place, (bad, score) in enumerate(zip(refused, scores, strict=True))
    ]
    columns = "id, parent, root, description, seed, generator, state, worker, reason, scores"
    with closing(sqlite3.connect(run / "pool.db")) as pool, pool:
        pool.executemany(
            f"INSERT INTO jobs ({columns}, cursor, policy_version) VALUES ({', '.join('?' * 12)})",
            rows,
        )


def _write_responses(run: Path, steps: int, rng: np.random.Generator) -> None:
    pool = Pool.open(run)
    ids = pool.seed_ids()[: 50 * GROUPS]
    pool.close()
    (run / "responses").mkdir()
    text = (
        "<think>"
        + "the lamp is left of the sofa, " * 8
        + "</think><answer>[8, 10, 38, 60]</answer>"
    )
    schema = schema_of([])
    for first in range(1, steps + 1, STEPS_A_FILE):
        rows = [
            _response(step, group, number, ids[(step * GROUPS + group) % len(ids)], text, rng)
            for step in range(first, first + STEPS_A_FILE)
            for group in range(GROUPS)
            for number in range(SIZE)
        ]
        table = _table(rows, schema)
        path = file_for(run / "responses", first, first + STEPS_A_FILE - 1)
        pq.write_table(table, path, compression="zstd")


def _response(
    step: int, group: int, number: int, sample: str, text: str, rng: np.random.Generator
) -> dict[str, Any]:
    box = {"label": "", "x1": 8.0, "y1": 10.0, "x2": 38.0 + number, "y2": 60.0}
    made: dict[str, Any] = dict.fromkeys(COLUMNS)
    made |= {"step": step, "group_index": group, "response_index": number, "sample_id": sample}
    made |= {"policy_version": step - 1, "task": "rec", "question": "the small red lamp"}
    made |= {"truth": "[8, 10, 38, 60]", "transformed": False, "text": text, "boxes": [box]}
    made |= {"points": [], "accuracy": float(rng.random()), "format": 1.0, "advantage": 0.1}
    made |= {"diversity": group / GROUPS, "entropy": 0.7, "length": 80, "finished": True}
    return made | {"in_loss": True, "dataset": ""}


def _table(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=schema)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run ``syngrpo dashboard`` over a folder; its address."""
    command = [sys.executable, "-m", "syngrpo", "dashboard", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


def measure_tabs(address: str, repeats: int) -> str:
    """Open every tab some times. Return a table with medians in seconds."""
    rows = ["| tab | first paint | shows the run | after other tabs |", "|---|---|---|---|"]
    with chromium() as started:
        first_visit(started, f"{address}/run/run-00/overview")  # reads the metrics once
        for tab in (one for one in TABS if one.name != "evaluation"):
            url = f"{address}/run/run-00/{tab.name}{ASKED.get(tab.name, '')}"
            cold = [first_visit(started, url) for _ in range(repeats)]
            page = started.new_context().new_page()
            other = f"{address}/run/run-00/{'gate' if tab.name == 'config' else 'config'}"
            _filled_s(page, other)
            warm = []
            for _ in range(repeats):
                warm.append(_filled_s(page, url))
                _filled_s(page, other)
            page.context.close()
            paint, shown = (statistics.median(values) for values in zip(*cold, strict=True))
            rows.append(
                f"| {tab.title} | {paint:.2f} | {shown:.2f} | {statistics.median(warm):.2f} |"
            )
            print(rows[-1], flush=True)
    return "\n".join(rows)


def first_visit(started: Any, url: str) -> tuple[float, float]:
    """Open an address in a browser that was never there: seconds to the first paint, and until the
    tab shows something of the run."""
    page = started.new_context().new_page()
    shown = _filled_s(page, url)
    paint = page.evaluate(PAINT)
    page.context.close()
    return (paint or 1000 * shown) / 1000, shown


def _filled_s(page: Any, url: str) -> float:
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(FILLED, timeout=60_000)
    return time.perf_counter() - begun


def measure_step(turns: int, steps: int) -> str:
    """Train with one thread, the dashboard on the other core, and open and close five pages in
    turns. Return the ratio of the times of a step."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = ["trainer.steps=100000", "evaluation.sets={}", "logging.trackers=[]"]
        arguments = [part for one in settings for part in ("--set", one)]
        command = [sys.executable, "-m", "syngrpo", "train", str(CONFIG), "--run-dir", str(run)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        training = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.DEVNULL, env=environment
        )
        try:
            _wait_for(run, 3)
            with serving(run) as address, chromium() as started:
                ratios = [
                    _one_turn(started, f"{address}/run/run", run, steps) for _ in range(turns)
                ]
        finally:
            training.kill()
            training.wait()
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return (
        f"Five open pages ({', '.join(OPEN)}) against none, in turns of {steps} steps of training "
        f"with one thread: a step takes {middle:.3f} times as long (median of {turns} turns; 10 % "
        f"and 90 %: {low:.3f} and {high:.3f})."
    )


def _one_turn(started: Any, base: str, run: Path, steps: int) -> float:
    without = _median_step(run, steps)
    context = started.new_context()
    for tab in OPEN:
        context.new_page().goto(f"{base}/{tab}")
    _wait_for(run, len(read_steps(run)) + 1)
    with_pages = _median_step(run, steps)
    context.close()
    _wait_for(run, len(read_steps(run)) + 1)
    again = _median_step(run, steps)
    return with_pages / ((without + again) / 2)


def _median_step(run: Path, steps: int) -> float:
    begin = len(read_steps(run))
    _wait_for(run, begin + steps)
    return statistics.median(row["time/step_s"] for row in read_steps(run)[begin:][:steps])


def _wait_for(run: Path, steps: int) -> None:
    while len(read_steps(run)) < steps:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("tabs", "step"), default="tabs")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.part == "step":
        write_section("Training step beside the dashboard", measure_step(arguments.turns, 10))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), arguments.runs, arguments.steps, arguments.pictures)
        with serving(Path(folder)) as address:
            table = measure_tabs(address, arguments.repeats)
    body = (
        f"{arguments.runs} runs of {arguments.steps:,} steps; the one that is shown has a pool of "
        f"{arguments.pictures:,} pictures, {JOBS:,} jobs and "
        f"{arguments.steps * GROUPS * SIZE:,} responses. Seconds in Chromium on the same "
        f"machine, medians of {arguments.repeats} visits; *after other tabs*: with "
        "the scripts of the page in the browser's cache. Load of the machine at "
        f"the end: {os.getloadavg()[0]:.1f}. Evaluation is left out: these runs have none."
        f"\n\n{table}"
    )
    write_section("Dashboard", body)


if __name__ == "__main__":
    main()
