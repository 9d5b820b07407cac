"""Measures the processor time that a training run spends beside the model: in a step, by part, and
before the first step.

    python -m benchmarks.own_time

Runs ``syngrpo train`` on the rooms world, in a process of its own in which the parts of the trainer
are timed. A part is what the training thread spends there: not in parts within it, and not waiting.
Other threads of the process prefetch, prepare pictures and write; their time is the rest of the
process's. The workers, which are processes of their own, are not counted. The time of a step of a
3 B model is the calculated one ("Training step on a GPU: calculated").
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.results import write_section

CONFIG = Path(__file__).parents[1] / "configs" / "rooms-ovd.yaml"
STEP_S = {"at the limits of the device": 0.58, "at the use that is aimed at": 1.34}
"""Calculated seconds of a step of qwen2.5-vl-3b, full fine-tuning, 8 groups of 8, on an H200."""
MODEL = ("sampling", "update")
WARM_UP = 2
OTHERS = "other threads"


class Clock:
    """Adds up the processor seconds of the training thread by part. The time of a part within
    another one counts for the inner one alone."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inner = 0.0

    def time(self, owner: Any, function: str, part: str) -> None:
        """Replace a function of a class or a module by one that is timed."""
        setattr(owner, function, self.timed(getattr(owner, function), part))

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            before, self._inner, start = self._inner, 0.0, time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                taken = time.thread_time() - start
                self.spent[part] += taken - self._inner
                self._inner = before + taken

        return call


def train_timed(output: Path) -> None:
    """Run the command line of this process. Write the seconds before the first step and those of
    each step by part to ``output``."""
    from syngrpo.cli import main
    from syngrpo.serving.garbage_collection import importing

    with importing():  # as the command does
        from syngrpo.workflow import learner, run, trainer
        from syngrpo.workflow.response_keeper import ResponseKeeper

    clock, steps = Clock(), list[dict[str, float]]()
    before = {"imports": time.process_time()}
    one = trainer.Trainer
    clock.time(run, "load_policy", "loading weights")
    clock.time(run, "read_sources", "reading the data")
    clock.time(one, "draw", "drawing")
    clock.time(one, "roll_out", "sampling")
    clock.time(one, "score", "reporting to the pool, metrics")
    clock.time(trainer, "score_group", "reading and scoring")
    clock.time(one, "submit", "submitting descriptions")
    clock.time(one, "settle", "settling descriptions")
    clock.time(trainer, "step_credits", "crediting")
    clock.time(trainer, "update_rows", "crediting")
    clock.time(trainer, "drop_silent_groups", "crediting")
    clock.time(learner.Learner, "update", "update")
    clock.time(learner, "micro_batches", "packing")
    for function in ("scored", "learned", "end"):
        clock.time(ResponseKeeper, function, "keeping responses")
    step = clock.timed(one.step, "everything else")

    def counted(self: Any) -> Any:
        if not steps:
            before.update(clock.spent, all=time.process_time())
        clock.spent.clear()
        whole, own = time.process_time(), time.thread_time()
        record = step(self)
        others = (time.process_time() - whole) - (time.thread_time() - own)
        steps.append({**clock.spent, OTHERS: others})
        output.write_text(json.dumps({"before": before, "steps": steps}))
        return record

    one.step = counted  # type: ignore[method-assign]
    main.main()


def run_timed(folder: Path, steps: int) -> dict[str, Any]:
    output = folder / "spent.json"
    settings = [f"trainer.steps={steps}", f"trainer.checkpoint_every={steps}", "evaluation.sets={}"]
    command = [sys.executable, "-m", "benchmarks.own_time", "--timed", str(output)]
    command += ["train", str(CONFIG), "--run-dir", str(folder / "run")]
    command += [part for one in settings for part in ("--set", one)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    spent: dict[str, Any] = json.loads(output.read_text())
    return spent


def report(spent: dict[str, Any]) -> str:
    steps, before = spent["steps"][WARM_UP:], spent["before"]
    parts = {part: statistics.median(one.get(part, 0.0) for one in steps) for part in steps[-1]}
    others = parts.pop(OTHERS)
    own = sorted(
        ((taken, part) for part, taken in parts.items() if part not in MODEL), reverse=True
    )
    total = sum(taken for taken, _ in own)
    shares = [f"{total / seconds:.1%} of {seconds} s, {name}" for name, seconds in STEP_S.items()]
    first, weights = before["all"], before["loading weights"]
    rest = first - weights - before["imports"] - before["reading the data"]
    return "\n".join(
        [
            f"`{CONFIG.name}`, 8 groups of 8 responses; medians of {len(steps)} steps. Load of the "
            f"machine: {os.getloadavg()[0]:.1f}.",
            "",
            "| beside the model | processor ms a step |",
            "|---|---|",
            *(f"| {part} | {taken * 1e3:.1f} |" for taken, part in own),
            f"| all of the training thread | {total * 1e3:.1f} |",
            f"| other threads, which do not delay it | {others * 1e3:.1f} |",
            "",
            f"- the training thread's part of a step of a 3 B model on an H200 (calculated): "
            f"{'; '.join(shares)}",
            f"- from the start of the process to the first step without loading the weights: "
            f"{first - weights:.1f} s of the processor, of them {before['imports']:.1f} s for "
            f"imports, {before['reading the data']:.1f} s to read the data, {rest:.1f} s for the "
            "rest",
        ]
    )


def main() -> None:
    if sys.argv[1:2] == ["--timed"]:
        output = Path(sys.argv[2])
        del sys.argv[1:3]
        train_timed(output)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        body = report(run_timed(Path(folder), arguments.steps))
    print(body)
    write_section("Own time of the trainer", body)


if __name__ == "__main__":
    main()
