"""What a training step costs if the update goes on from the rollout's pass over the prompts
(``trainer.keep_prompts``), against one that computes the prompts again.

Steps of both kinds take turns on the starter model, with one thread. The ratio is that of the
processor time, which other programs on the machine change little.

    python -m benchmarks.kept_prompts
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.against_trl import OurStep
from benchmarks.results import write_section
from benchmarks.step_time import Workload, prepare
from syngrpo.policy.loading import load_policy
from syngrpo_rooms.starter import STARTER_DIR


def measure(side: int, turns: int) -> tuple[list[float], list[float]]:
    """Return the processor seconds of ``turns`` steps without and with kept prompts."""
    work = Workload(side)
    with tempfile.TemporaryDirectory() as directory:
        samples = prepare(STARTER_DIR, Path(directory), work)
        policy = load_policy(Path(directory))
        kinds = []
        for keep in (False, True):
            options = work.options
            trainer = replace(options.trainer, keep_prompts=keep)
            kinds.append(OurStep(replace(options, trainer=trainer), policy, samples))
        spent: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns + 1):
            for kind, times in zip(kinds, spent, strict=True):
                start = time.process_time()
                kind()
                if turn:  # the first one of each kind is slower
                    times.append(time.process_time() - start)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| image tokens | prompts computed again, s | kept, s | kept / again |",
        "|---|---|---|---|",
    ]
    for side in arguments.sides:
        again, kept = measure(side, arguments.turns)
        ratio = statistics.median(b / a for a, b in zip(again, kept, strict=True))
        middle = statistics.median(again), statistics.median(kept)
        lines.append(f"| {side**2} | {middle[0]:.3f} | {middle[1]:.3f} | {ratio:.3f} |")
        print(lines[-1], flush=True)
    body = (
        f"Processor time of a step of 4 prompts, G = 8, 64 new tokens, float32, one thread; "
        f"medians of {arguments.turns} turns, ratio = median of those of the turns. Load of the "
        f"machine at the end: {os.getloadavg()[0]:.1f}.\n\n" + "\n".join(lines)
    )
    print(body) if arguments.dry_run else write_section("Kept prompts", body)


if __name__ == "__main__":
    main()
