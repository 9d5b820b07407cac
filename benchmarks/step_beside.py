"""Compares a Syn-GRPO step while the data server works with the same step while it is stopped, and
with a plain GRPO step.

Two ``syngrpo train`` processes, Syn-GRPO and plain GRPO, take turns. All processes but the measured
one are stopped (SIGSTOP), so that each phase has about the same machine. While the data server
works, it gets 25 % of one core, by turns of SIGCONT and SIGSTOP. The first step of a phase does not
count, because it began in the phase before. Training uses one thread.

    python -m benchmarks.step_beside
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import write_section
from benchmarks.wait import CONFIG, read_steps, worker_pids

SHARE, PERIOD_S = 0.25, 0.04
PHASES = ("at work", "stopped", "plain GRPO")


@dataclass
class Run:
    """A training process, which is stopped unless it is its turn. ``steps``: number of steps seen
    so far."""

    process: subprocess.Popen[bytes]
    folder: Path
    steps: int = 0
    workers: list[int] = field(default_factory=list)

    def metric(self, name: str, first: int) -> list[float]:
        return [row[name] or 0 for row in read_steps(self.folder)[first:]]


def train(folder: Path, config: Path, settings: Sequence[str]) -> Run:
    arguments = [part for one in settings for part in ("--set", one)]
    command = [sys.executable, "-m", "syngrpo", "train", str(config), "--run-dir", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, env=environment)
    return Run(process, folder)


def phase(run: Run, steps: int, share: float) -> tuple[list[float], list[float], float]:
    """Run a number of steps. Returns the seconds and processor seconds of each but the first, and
    the share of a core that the workers used. ``share``: part of the time in which the workers may
    run."""
    begin = len(read_steps(run.folder))
    os.kill(run.process.pid, signal.SIGCONT)
    seen, marks, start = begin, [], time.perf_counter()
    worked = sum(map(processor_s, run.workers))
    while seen < begin + steps:
        if share:
            _signal(run.workers, signal.SIGCONT)
            time.sleep(share * PERIOD_S)
        _signal(run.workers, signal.SIGSTOP)
        time.sleep((1 - share) * PERIOD_S)
        if run.process.poll() is not None:
            raise SystemExit(f"training ended with status {run.process.returncode}")
        if (now := len(read_steps(run.folder))) > seen:
            seen = now
            marks.append(processor_s(run.process.pid))
    os.kill(run.process.pid, signal.SIGSTOP)
    part = (sum(map(processor_s, run.workers)) - worked) / (time.perf_counter() - start)
    seconds = run.metric("time/step_s", begin + 1)[: steps - 1]
    used = [(marks[-1] - marks[0]) / (len(marks) - 1)] if len(marks) > 1 else []
    return seconds, used, part


def processor_s(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def end(runs: Sequence[Run]) -> None:
    """Kill the runs with their workers."""
    for run in runs:
        _signal([*run.workers, run.process.pid], signal.SIGKILL)
        run.process.wait()


def warm_up(run: Run, steps: int) -> None:
    """Run a number of steps with the workers unrestricted, so that there are images to draw."""
    while len(read_steps(run.folder)) < steps:
        if run.process.poll() is not None:
            raise SystemExit(f"training ended with status {run.process.returncode}")
        time.sleep(0.1)
    run.workers = worker_pids(run.process.pid)
    _signal([*run.workers, run.process.pid], signal.SIGSTOP)


def measure(folder: Path, config: Path, rounds: int, steps: int) -> str:
    common = ["trainer.steps=100000", "trainer.checkpoint_every=100000", "evaluation.sets={}"]
    common += ["logging.trackers=[]"]
    runs: list[Run] = []
    seconds: dict[str, list[list[float]]] = {name: [] for name in PHASES}
    used: dict[str, list[float]] = {name: [] for name in PHASES}
    parts: list[float] = []
    try:
        for method in ("syn-grpo", "grpo"):
            runs.append(train(folder / method, config, [*common, f"method.name={method}"]))
            warm_up(runs[-1], 6)
        for _ in range(rounds):
            for name in PHASES:
                run = runs[1] if name == "plain GRPO" else runs[0]
                taken, cost, part = phase(run, steps, SHARE if name == "at work" else 0.0)
                seconds[name].append(taken)
                used[name] += cost
                parts += [part] if name == "at work" else []
    finally:
        end(runs)
    return report(seconds, used, parts)


def report(
    seconds: dict[str, list[list[float]]], used: dict[str, list[float]], parts: list[float]
) -> str:
    """Return the table in Markdown. Ratios are medians over the rounds."""
    lines = ["| step | steps | median s | processor s |", "|---|---|---|---|"]
    medians = {name: [statistics.median(one) for one in seconds[name]] for name in PHASES}
    for name in PHASES:
        every = [one for round_ in seconds[name] for one in round_]
        lines.append(
            f"| {name} | {len(every)} | {statistics.median(every):.3f} | "
            f"{statistics.median(used[name]):.3f} |"
        )
    lines.append("")
    for other in ("stopped", "plain GRPO"):
        wall = [a / b for a, b in zip(medians["at work"], medians[other], strict=True)]
        work = [a / b for a, b in zip(used["at work"], used[other], strict=True)]
        lines.append(
            f"- at work / {other}: {statistics.median(wall):.3f} by the clock, "
            f"{statistics.median(work):.3f} of processor time"
        )
    lines += [
        f"- the generator used {100 * statistics.mean(parts):.0f} % of one core while at work",
        f"- niceness {os.nice(0)}; load of the machine at the end: {os.getloadavg()[0]:.1f}",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="of a phase")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        body = measure(Path(folder), options.config, options.rounds, options.steps)
    body = f"`{options.config.name}`, {options.rounds} rounds.\n\n{body}"
    print(body)
    if not options.dry_run:
        write_section("Step beside the data server", body)


if __name__ == "__main__":
    main()
