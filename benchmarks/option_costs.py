"""Processor time of a training step with one option changed, against the same step without.

    python -m benchmarks.option_costs

For each change two ``syngrpo train`` processes take turns: the one whose turn it is not is stopped
(SIGSTOP), with its workers. What counts is the processor time of the trainer's process, which other
programs on the machine change little. The first step of a turn does not count, because it began in
the turn before. Training uses one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import write_section
from benchmarks.step_beside import Run, end, phase, train, warm_up

CONFIG = Path(__file__).parents[1] / "configs" / "rooms-rec.yaml"
COMMON = {
    "trainer.steps": "100000",
    "trainer.checkpoint_every": "100000",
    "evaluation.sets": "{}",
    "logging.trackers": "[]",
    "logging.responses.keep": "none",
}
WARM_UP = 8
"""Steps before the first turn, so that there are images to draw and descriptions to learn from."""


@dataclass(frozen=True)
class Change:
    """A change of options. ``before`` and ``after`` are the overrides of the two runs."""

    name: str
    before: Mapping[str, str]
    after: Mapping[str, str]


CHANGES = (
    Change(
        "only submitted descriptions are written",
        {"method.describing": "all"},
        {"method.describing": "submitted"},
    ),
    Change(
        "the update goes on from the rollout's pass over the prompts",
        {"trainer.keep_prompts": "false"},
        {"trainer.keep_prompts": "true"},
    ),
    Change(
        "no entropy over the vocabulary in the update",
        {"method.entropy_weight": "1e-9"},
        {},
    ),
    Change("KL on descriptions", {"method.scene_beta": "0"}, {"method.scene_beta": "0.04"}),
    Change("KL on answers and descriptions", {"method.scene_beta": "0"}, {"method.beta": "0.04"}),
    Change("learning from descriptions", {"method.diversity_weight": "0"}, {}),
    Change("Syn-GRPO instead of plain GRPO", {"method.name": "grpo"}, {}),
)


def measure(
    folder: Path, change: Change, rounds: int, steps: int
) -> tuple[list[float], list[float]]:
    """Return the processor seconds of a step in each turn, before and after the change."""
    runs: list[Run] = []
    used: tuple[list[float], list[float]] = ([], [])
    try:
        for name, overrides in (("before", change.before), ("after", change.after)):
            settings = [f"{k}={v}" for k, v in {**COMMON, **overrides}.items()]
            runs.append(train(folder / name, CONFIG, settings))
            warm_up(runs[-1], WARM_UP)
        for _ in range(rounds):
            for run, found in zip(runs, used, strict=True):
                _, spent, _ = phase(run, steps, share=1.0)
                found += spent
    finally:
        end(runs)
    return used


def row(change: Change, before: Sequence[float], after: Sequence[float]) -> str:
    ratio = statistics.median(b / a for a, b in zip(before, after, strict=True))
    medians = statistics.median(before), statistics.median(after)
    options = " → ".join(
        ", ".join(f"`{key}={value}`" for key, value in one.items()) or "default"
        for one in (change.before, change.after)
    )
    cells = [change.name, options, *(f"{value:.3f}" for value in (*medians, ratio))]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--only", default="", help="changes whose name contains this text")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    arguments = parser.parse_args()
    lines = [
        "| change | options | before, s | after, s | after / before |",
        "|---|---|---|---|---|",
    ]
    for change in CHANGES:
        if arguments.only in change.name:
            with tempfile.TemporaryDirectory() as folder:
                used = measure(Path(folder), change, arguments.rounds, arguments.steps)
            lines.append(row(change, *used))
            print(lines[-1], flush=True)
    body = (
        f"Processor time of a step of the trainer, `configs/rooms-rec.yaml` (8 groups of 8), "
        f"medians of {arguments.rounds} turns of {arguments.steps} steps, ratio = median of those "
        f"of the turns. Load of the machine at the end: {os.getloadavg()[0]:.1f}.\n\n"
        + "\n".join(lines)
    )
    if not arguments.dry_run:
        write_section("What options cost in a step", body)


if __name__ == "__main__":
    main()
