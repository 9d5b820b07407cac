"""Measures what keeping every response costs a training step, and how fast kept responses are read.

The same steps are done with and without keeping, in one process, from the same state: blocks of
both kinds take turns, and what is written in the background is waited for within its block. On a
busy machine their ratio varies by more than keeping costs, so beside it stands what keeping takes
by itself: the processor time of the training thread and of the writing thread, as a share of that
of a step. Reading is measured on a made-up run of 10,000 steps of 64
responses.

    python -m benchmarks.responses
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.results import write_section
from benchmarks.wait import CONFIG
from syngrpo.config import load_config
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.formats.source_reading import read_sources
from syngrpo.policy import model_directory
from syngrpo.policy.loading import load_policy
from syngrpo.policy.spans import token_texts
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolSample
from syngrpo.responses.response_files import file_for, response_files
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.responses.response_rows import KeptResponse
from syngrpo.responses.response_writer import ResponseWriter
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.response_keeper import ResponseKeeper
from syngrpo.workflow.trainer import Trainer

READ_STEPS, READ_STEPS_A_FILE, READ_RESPONSES = 10_000, 10, 64


@dataclass
class Spent:
    """Processor seconds that keeping took in the training thread, for each step, and in the writing
    thread, for each file."""

    training: list[float] = field(default_factory=list)
    writing: list[float] = field(default_factory=list)


class TimedKeeper(ResponseKeeper):
    """Notes the processor time of ``end``, where the training thread does all of this work."""

    spent = Spent()

    def end(self, *arguments: Any) -> None:
        start = time.thread_time()
        super().end(*arguments)
        if self.writer is not None:
            self.spent.training.append(time.thread_time() - start)


class TimedWriter(ResponseWriter):
    """Notes the processor time of each file."""

    spent = TimedKeeper.spent

    def _write(self, batch: list[KeptResponse]) -> None:
        start = time.thread_time()
        super()._write(batch)
        self.spent.writing.append(time.thread_time() - start)


class SameDraws(InlineClient):
    """Draws the same samples again when it is set back. The pool itself would draw others, because
    it has counted the visits."""

    place = 0

    def draw(self, count: int) -> list[PoolSample]:
        drawn: list[PoolSample] = self.__dict__.setdefault("drawn", [])
        self.place += count
        while len(drawn) < self.place:
            drawn += super().draw(count)
        return drawn[self.place - count : self.place]

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def make_trainer(folder: Path, tokens: float) -> Trainer:
    changed = ["evaluation.sets={}", "method.name=grpo", f"logging.responses.tokens={tokens}"]
    options = load_config(CONFIG, changed)
    (seeds,), _ = read_sources(options.data, {})
    pool = Pool.open(folder)
    pool.add_seeds(seeds)
    pool.close()
    settings = SynthesisSettings(folder, generator="rooms")
    sampling = replace(options.pool, synthetic_ratio=0.0)
    policy = load_policy(model_directory(options.model.path)[0])
    policy.keep_reference()
    client = SameDraws(settings, sampling, seed=0)
    trainer = Trainer(options, policy, Processes(), client, {"rec"})
    trainer.keeper = TimedKeeper(options, trainer.processes, trainer.method)
    return trainer


def block(
    trainer: Trainer, state: dict[str, Any], writer: ResponseWriter | None, steps: int
) -> tuple[float, float, float]:
    """Do the steps from this state. Return seconds, processor seconds, and tokens."""
    trainer.load_state_dict(deepcopy(state))
    trainer.keeper.writer = writer
    wall, used, tokens = time.perf_counter(), time.process_time(), 0.0
    for _ in range(steps):
        record = trainer.step()
        tokens += record["rollout/length_mean"]
    trainer.keeper.flush()
    return time.perf_counter() - wall, time.process_time() - used, tokens


def measure_writing(folder: Path, rounds: int, steps: int, tokens: float) -> tuple[str, Path]:
    trainer = make_trainer(folder, tokens)
    tokenizer = trainer.policy.tokenizer
    kept = folder / "responses"
    writer = TimedWriter(kept, lambda ids: token_texts(tokenizer, torch.from_numpy(ids)))
    ratios: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    block(trainer, trainer.state_dict(), writer, 1)  # imports and allocations of a first step
    for number in range(rounds):
        state = deepcopy(trainer.state_dict())
        block(trainer, state, None, steps)  # both blocks then find their prompts encoded
        if number == 0:
            TimedKeeper.spent.training.clear()
            TimedKeeper.spent.writing.clear()
        kinds = (writer, None) if number % 2 else (None, writer)
        found = {one is writer: block(trainer, state, one, steps) for one in kinds}
        assert found[True][2] == found[False][2], "the blocks are not the same steps"
        ratios.append((found[True][0] / found[False][0], found[True][1] / found[False][1]))
        alone.append((found[False][0] / steps, found[False][1] / steps))
    writer.close()
    clock, used = (statistics.median(pair[place] for pair in alone) for place in (0, 1))
    training = statistics.mean(TimedKeeper.spent.training)
    writing = sum(TimedKeeper.spent.writing) / (rounds * steps)
    size = sum(file.path.stat().st_size for file in response_files(kept))
    rows = sum(pq.read_metadata(file.path).num_rows for file in response_files(kept))
    lines = [
        f"`{CONFIG.name}` with plain GRPO, {rounds} rounds of {steps} steps, every response kept, "
        f"{tokens:.0%} of the groups with tokens; a step without takes {clock:.2f} s, "
        f"{used:.2f} s of processor time.",
        "",
        "| with / without | median | lowest | highest |",
        "|---|---|---|---|",
    ]
    for place, name in enumerate(("by the clock", "processor time")):
        values = [pair[place] for pair in ratios]
        lines.append(
            f"| {name} | {statistics.median(values):.4f} | {min(values):.4f} | {max(values):.4f} |"
        )
    lines += [
        "",
        f"- processor time of keeping: {1e3 * training:.2f} ms a step in the training thread, "
        f"{1e3 * writing:.2f} ms in the writing thread; together {(training + writing) / used:.2%} "
        "of that of a step",
        f"- on the disk: {size / rows:.0f} bytes a response",
    ]
    return "\n".join(lines), kept


def make_long_run(source: Path, target: Path) -> None:
    """Write READ_STEPS made-up steps whose responses are those of ``source``."""
    table = pq.read_table(response_files(source)[-1].path)
    rng = np.random.default_rng(0)
    target.mkdir()
    count = READ_STEPS_A_FILE * READ_RESPONSES
    for first in range(1, READ_STEPS + 1, READ_STEPS_A_FILE):
        rows = table.take(rng.integers(0, table.num_rows, count))
        steps = np.repeat(np.arange(first, first + READ_STEPS_A_FILE), READ_RESPONSES)
        place = rows.schema.get_field_index("step")
        rows = rows.set_column(place, rows.schema.field(place), [steps.astype(np.int32)])
        path = file_for(target, first, first + READ_STEPS_A_FILE - 1)
        pq.write_table(rows, path, compression="zstd")


def measure_reading(run: Path) -> str:
    kept = KeptResponses(run)
    sample = kept.read([5000], columns=["sample_id"])["sample_id"][0].as_py()
    wanted: dict[str, Callable[[], Any]] = {
        "all responses of a step": lambda: kept.read([5000]),
        "a sample, at 100 known steps": lambda: kept.of_sample(sample, range(1, 10_000, 100)),
        "a sample, at any step": lambda: kept.of_sample(sample, columns=["step", "accuracy"]),
        "accuracy and D of every response": lambda: kept.read(
            columns=["step", "accuracy", "diversity"]
        ),
    }
    lines = [
        f"Reading from {READ_STEPS:,} steps of {READ_RESPONSES} responses in "
        f"{len(response_files(run / 'responses')):,} files:",
        "",
        "| | rows | ms |",
        "|---|---|---|",
    ]
    for name, read in wanted.items():
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            rows = read().num_rows
            taken.append(time.perf_counter() - start)
        lines.append(f"| {name} | {rows:,} | {1e3 * statistics.median(taken):.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="of a block")
    parser.add_argument("--tokens", type=float, default=0.1, help="logging.responses.tokens")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written, kept = measure_writing(folder, options.rounds, options.steps, options.tokens)
        (folder / "long").mkdir()
        make_long_run(kept, folder / "long" / "responses")
        read = measure_reading(folder / "long")
    body = f"{written}\n\n{read}\n\n- load of the machine at the end: {os.getloadavg()[0]:.1f}"
    print(body)
    if not options.dry_run:
        write_section("Keeping every response", body)


if __name__ == "__main__":
    main()
