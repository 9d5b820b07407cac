"""What an update costs in which half of the groups have no advantage, with and without computing
these.

An update leaves out the groups from which nothing is learned. For the comparison they get
advantages of 1e-12 instead of 0, so that they are computed. Updates of both kinds take turns on the
starter model, with one thread; the ratio is that of the processor time.

    python -m benchmarks.silent_groups
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.against_trl import OurStep, credited
from benchmarks.results import write_section
from benchmarks.step_time import Workload, prepare
from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import load_policy
from syngrpo.rollout.base import Response
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import UpdateRow
from syngrpo_rooms.starter import STARTER_DIR

HARDLY = 1e-12


def row(prompt: Prompt, group: Sequence[Response], advantage: float | None) -> UpdateRow:
    """Return the row of a group whose tokens all have this advantage; None: those of its
    rewards."""
    own = credited(prompt, list(group))
    if advantage is None:
        return own
    segments = [
        replace(one, advantages=torch.full_like(one.advantages, advantage)) for one in own.segments
    ]
    return UpdateRow(prompt, segments)


def measure(side: int, turns: int) -> list[tuple[float, float]]:
    """Return the processor seconds of each turn: the update that computes all groups, and ours."""
    work = Workload(side)
    with tempfile.TemporaryDirectory() as directory:
        samples = prepare(STARTER_DIR, Path(directory), work)
        trainer = replace(work.options.trainer, keep_prompts=False)
        options = replace(work.options, trainer=trainer)
        ours = OurStep(options, load_policy(Path(directory)), samples)
        found = []
        for _ in range(turns + 1):
            prompts, groups = ours.roll_out(work.new_tokens)
            times = []
            for silent in (HARDLY, 0.0):
                rows = [
                    row(prompt, group, silent if place % 2 else None)
                    for place, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
                ]
                start = time.process_time()
                ours.learner.update(rows, StepMetrics())
                times.append(time.process_time() - start)
            found.append((times[0], times[1]))
    return found[1:]  # the first turn is slower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| image tokens | all computed, s | left out, s | ratio |", "|---|---|---|---|"]
    for side in arguments.sides:
        turns = measure(side, arguments.turns)
        every, some = (statistics.median(times) for times in zip(*turns, strict=True))
        ratio = statistics.median(after / before for before, after in turns)
        lines.append(f"| {side**2} | {every:.3f} | {some:.3f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    body = (
        f"Processor time of an update of 4 prompts, G = 8, 64 tokens a response, float32, one "
        f"thread; two of the four groups have no advantage. Medians of {arguments.turns} turns. "
        f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.\n\n" + "\n".join(lines)
    )
    print(body) if arguments.dry_run else write_section("Groups without an advantage", body)


if __name__ == "__main__":
    main()
