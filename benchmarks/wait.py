"""Measures how long a Syn-GRPO step waits for the data server, with its workers running and
stopped.

Runs ``syngrpo train`` in a process of its own. Half-way all workers are stopped (SIGSTOP); as they
still exist, nobody replaces them, and nothing is painted any more. The numbers come from the run's
metrics.jsonl. The first step, a warm-up, does not count towards the times of a step.

    python -m benchmarks.wait --steps 200
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import write_section

CONFIG = Path(__file__).parents[1] / "configs" / "rooms-rec.yaml"
LOOK_S = 0.1


def worker_pids(trainer: int) -> list[int]:
    """Return the process ids of the workers that a trainer has spawned."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if parent == trainer and "spawn_main" in command:
            found.append(int(folder.name))
    return found


def read_steps(run_dir: Path) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl."""
    path = run_dir / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def run(config: Path, steps: int, overrides: list[str], run_dir: Path) -> list[dict[str, Any]]:
    """Train, and stop the workers half-way. Returns the metrics of every step."""
    settings = [f"trainer.steps={steps}", f"trainer.checkpoint_every={steps}", *overrides]
    arguments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "syngrpo", "train", str(config), "--run-dir", str(run_dir)]
    stopped: list[int] = []
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL) as trainer:
        while trainer.poll() is None:
            if not stopped and len(read_steps(run_dir)) >= steps // 2:
                stopped = worker_pids(trainer.pid)
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(LOOK_S)
    if trainer.returncode != 0:
        raise SystemExit(f"the run ended with status {trainer.returncode}")
    if not stopped:
        raise SystemExit("the run had no workers to stop; is synthesis.mode async?")
    return read_steps(run_dir)


def report(metrics: list[dict[str, Any]]) -> str:
    """Return the table and the ratio in Markdown."""
    half = len(metrics) // 2
    halves = {"at work": metrics[1:half], "stopped": metrics[half + 1 :]}
    lines = [
        "| workers | steps | wait p50 ms | p99 ms | longest ms | step p50 s | jobs submitted | "
        "admitted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in halves.items():
        waits = 1000 * np.array([row["time/wait_data_s"] for row in rows])
        p50, p99 = np.percentile(waits, [50, 99])
        submitted = sum(row["synthesis/submitted"] or 0 for row in rows)
        admitted = sum(row["synthesis/admitted"] or 0 for row in rows)
        lines.append(
            f"| {name} | {len(rows)} | {p50:.3f} | {p99:.3f} | {waits.max():.3f} | "
            f"{_step_s(rows):.3f} | {submitted:.0f} | {admitted:.0f} |"
        )
    ratio = _step_s(halves["at work"]) / _step_s(halves["stopped"])
    first = 1000 * metrics[0]["time/wait_data_s"]
    return "\n".join(
        [
            *lines,
            "",
            f"- median step with workers at work / with workers stopped: {ratio:.2f} (on this "
            "machine the embedded generator shares the trainer's cores)",
            f"- wait of the very first step: {first:.3f} ms",
            f"- load of the machine at the end: {os.getloadavg()[0]:.1f}",
        ]
    )


def _step_s(rows: list[dict[str, Any]]) -> float:
    return float(np.median([row["time/step_s"] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], help="override a key of the config")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["evaluation.sets={}", *options.set]
        metrics = run(options.config, options.steps, overrides, Path(folder) / "run")
    body = f"`{options.config.name}`, {options.steps} steps.\n\n{report(metrics)}"
    print(body)
    if not options.dry_run:
        write_section("Waiting for data", body)


if __name__ == "__main__":
    main()
