"""Measures the memory of a training run step by step: it must not grow.

Runs ``syngrpo train`` in a process of its own. After every step it reads how much memory the
trainer and the processes that it started hold. The growth compares the median of the last tenth of
the steps with the median of the tenth after the warm-up.

    python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import write_section
from benchmarks.wait import CONFIG, read_steps

LOOK_S = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Soak:
    """MiB after every step: of the trainer alone, and with all processes that it started.
    ``workers``: the largest number of these."""

    trainer: list[float] = field(default_factory=list)
    everything: list[float] = field(default_factory=list)
    workers: int = 0

    def growth(self, values: list[float], warm_up: int) -> float:
        """Return the share by which memory has grown since the warm-up."""
        width = max(len(values) // 10, 1)
        return statistics.median(values[-width:]) / statistics.median(values[warm_up:][:width]) - 1


def resident_mib(process: int) -> float:
    """Return the memory of one process; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * PAGE / 2**20


def descendants(process: int) -> list[int]:
    """Return the ids of all processes that a process has started, and of those that these have
    started."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [each for child in children for each in (child, *descendants(child))]
    return found


def soak(config: Path, steps: int, overrides: list[str], run_dir: Path) -> Soak:
    """Train, and read the memory whenever a step is done."""
    settings = [f"trainer.steps={steps}", "trainer.checkpoint_every=50", *overrides]
    arguments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "syngrpo", "train", str(config), "--run-dir", str(run_dir)]
    result = Soak()
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL) as trainer:
        while trainer.poll() is None:
            new = len(read_steps(run_dir)) - len(result.trainer)
            if new > 0:
                alone = resident_mib(trainer.pid)
                workers = descendants(trainer.pid)
                below = sum(map(resident_mib, workers))
                result.workers = max(result.workers, len(workers))
                result.trainer += [alone] * new
                result.everything += [alone + below] * new
            time.sleep(LOOK_S)
    if trainer.returncode != 0:
        raise SystemExit(f"the run ended with status {trainer.returncode}")
    if not result.workers:
        raise SystemExit("the run had no workers; is synthesis.mode async?")
    return result


def report(result: Soak, warm_up: int) -> str:
    """Return the table in Markdown."""
    steps = len(result.trainer)
    places = sorted({1, warm_up, *range(steps // 5, steps + 1, max(steps // 5, 1))} - {0})
    lines = [
        f"| MiB after step | {' | '.join(map(str, places))} | growth after step {warm_up} |",
        "|---" * (len(places) + 2) + "|",
    ]
    for name, values in (
        ("trainer", result.trainer),
        (f"with {result.workers} processes below it", result.everything),
    ):
        cells = [f"{values[place - 1]:.0f}" for place in places]
        growth = result.growth(values, warm_up)
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * growth:+.1f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--warm-up", type=int, default=100, help="steps that do not count")
    parser.add_argument("--set", action="append", default=[], help="override a key of the config")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["evaluation.sets={}", "synthesis.mode=async", *options.set]
        result = soak(options.config, options.steps, overrides, Path(folder) / "run")
    body = f"`{options.config.name}`, {options.steps} steps.\n\n{report(result, options.warm_up)}"
    print(body)
    if not options.dry_run:
        write_section("Resident memory over the steps", body)


if __name__ == "__main__":
    main()
