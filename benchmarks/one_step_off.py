"""Compares learning from batches that were sampled one step ahead with learning from those of the
step itself.

    python -m benchmarks.one_step_off --out DIR

Trains the starter on ``rec`` of the rooms world with the settings of the experiment, with
``rollout.async_steps`` 0 and 1 and the same three seeds. An interrupted command goes on when it is
repeated. Both sample with the native engine: it computes the responses at once with the weights
that the policy has when the batch is begun, as a rollout server would. So the comparison is about
what the policy learns, and not about the speed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.rooms.compare import Finished
from experiments.rooms.matrix import Cell
from experiments.rooms.result import Result, read_result
from experiments.rooms.statistics import Estimate, mean

from benchmarks.results import write_section
from benchmarks.wait import read_steps
from syngrpo.rollout.base import Waiting
from syngrpo.rollout.native import NativeEngine

AHEAD = (0, 1)
SEEDS = (0, 1, 2)
SETS = ("test", "ood", "hard", "ood-hard")
METRICS = ("rollout/staleness", "rollout/logp_diff", "diversity/response", "reward/accuracy")


class SampledWhenBegun(NativeEngine):
    """The native engine, which samples a batch ahead at the moment at which it is begun."""

    samples_beside = True

    def start(self, *asked: Any) -> Waiting:
        responses = self(*asked)
        return lambda: responses


def train(folder: Path, ahead: int, method: str, steps: int, jobs: int) -> None:
    changed = {
        "rollout.engine": f"{__spec__.name}:{SampledWhenBegun.__name__}",
        "rollout.async_steps": ahead,
        "synthesis.mode": "async",  # batches ahead cannot wait for the images of the step
        "trainer.keep_prompts": "false",  # another engine's update computes its prompts itself
        "trainer.steps": steps,
    }
    command = [sys.executable, "-m", "experiments.rooms", "run", "--out", str(folder)]
    command += ["--only", f"task=rec,method={method}", "--seeds", ",".join(map(str, SEEDS))]
    command += ["--jobs", str(jobs)]
    for key, value in changed.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True)


def results(folder: Path, method: str) -> dict[int, Result]:
    return {seed: read_result(folder / "results" / f"rec-{method}-{seed}.json") for seed in SEEDS}


def with_interval(estimate: Estimate, sign: str = "") -> str:
    low, high = estimate.interval
    return f"{estimate.value:{sign}.1f} ({low:{sign}.1f} … {high:{sign}.1f})"


def table(by_ahead: dict[int, dict[int, Result]]) -> list[str]:
    names = {ahead: f"{ahead} steps ahead" for ahead in AHEAD}
    cells = {
        Cell("rec", names[ahead], seed): result
        for ahead, of_seed in by_ahead.items()
        for seed, result in of_seed.items()
    }
    finished = Finished(cells, ["rec"], list(names.values()), SETS)
    rows = ["| | " + " | ".join(SETS) + " | mean |", "|---" * (len(SETS) + 2) + "|"]
    for how in ("sampled", "greedy"):
        by_set: dict[int, list[Estimate]] = {}
        for ahead, name in names.items():
            found = [finished.accuracy(name, "rec", one, how) for one in SETS]
            by_set[ahead] = [one for one in found if one is not None]
            texts = [f"{one.value:.1f}" for one in [*by_set[ahead], mean(by_set[ahead])]]
            rows.append(f"| {how}, `async_steps` {ahead} | " + " | ".join(texts) + " |")
        differences = [one - zero for zero, one in zip(by_set[0], by_set[1], strict=True)]
        texts = [with_interval(one, "+") for one in [*differences, mean(differences)]]
        rows.append(f"| {how}, difference | " + " | ".join(texts) + " |")
    return rows


def of_the_runs(folder: Path, method: str) -> list[str]:
    """Return a table of the means of some metrics over all steps of all seeds."""
    rows = ["| mean over the run | " + " | ".join(f"`async_steps` {one}" for one in AHEAD) + " |"]
    rows.append("|---" * (len(AHEAD) + 1) + "|")
    steps = {
        ahead: [
            step
            for seed in SEEDS
            for step in read_steps(folder / str(ahead) / "runs" / f"rec-{method}-{seed}")
        ]
        for ahead in AHEAD
    }
    for metric in METRICS:
        means = [statistics.fmean(step[metric] for step in steps[ahead]) for ahead in AHEAD]
        rows.append(f"| `{metric}` | " + " | ".join(f"{value:.3g}" for value in means) + " |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--method", default="syn-grpo")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    by_ahead = {}
    for ahead in AHEAD:
        folder = arguments.out.resolve() / str(ahead)
        train(folder, ahead, arguments.method, arguments.steps, arguments.jobs)
        by_ahead[ahead] = results(folder, arguments.method)
    body = "\n".join(
        [
            f"`rec` of the rooms world, method `{arguments.method}`, {arguments.steps} steps, "
            f"seeds {', '.join(map(str, SEEDS))}; accuracy (IoU ≥ 0.5) in per cent, differences "
            "with their 95 % intervals over seeds and samples.",
            "",
            *table(by_ahead),
            "",
            *of_the_runs(arguments.out, arguments.method),
        ]
    )
    print(body)
    write_section("Learning from batches sampled one step ahead", body)


if __name__ == "__main__":
    main()
