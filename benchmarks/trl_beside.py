"""Compares a step of TRL's GRPOTrainer alone with the same step on images that evolve.

Three runs on the starter model, one after the other: TRL on a fixed set of pictures; TRL on images
that evolve (``EvolvingImages``); and ``SynGRPOTrainer``, which also learns from descriptions. The
data server and its worker are processes of their own. What counts is the processor time of the
trainer's process, because on another machine they would not take any of it.

    python -m benchmarks.trl_beside
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image, List
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.results import write_section
from syngrpo.adapters.trl_data import EvolvingImages, text_of
from syngrpo.adapters.trl_trainer import SynGRPOTrainer
from syngrpo.boxes import CoordinateFrame
from syngrpo.data_server.client import DataClient
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo.method.response import format_reward, parse_response
from syngrpo.tasks.asking import prompt_of, scored_answer
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GROUPS, GROUP_SIZE, WARMUP = 4, 8, 3
SAMPLES = rooms_samples("train", 100)
BY_ID = {sample.id: sample for sample in SAMPLES}


class Times(TrainerCallback):
    """Notes the processor seconds and the seconds of each step."""

    def __init__(self) -> None:
        self.processor: list[float] = []
        self.wall: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        now = time.process_time(), time.perf_counter()
        self.last = getattr(self, "last", now)

    def on_step_end(self, *_: object, **__: object) -> None:
        now = time.process_time(), time.perf_counter()
        self.processor.append(now[0] - self.last[0])
        self.wall.append(now[1] - self.last[1])
        self.last = now


def accuracy(completions: Sequence[Any], sample_id: Sequence[str], **_: Any) -> list[float]:
    """The reward of ``EvolvingImages``, on the fixed pictures."""
    found = []
    for completion, name in zip(completions, sample_id, strict=True):
        sample = BY_ID[name]
        size = sample.image.width, sample.image.height
        frame = CoordinateFrame(*map(float, size), *size)
        answer = parse_response(text_of(completion)).answer
        found.append(scored_answer(sample, answer, frame).accuracy)
    return found


def well_formed(completions: Sequence[Any], **_: Any) -> list[float]:
    return [format_reward(parse_response(text_of(one))) for one in completions]


def fixed() -> Dataset:
    columns = {
        "prompt": [[{"role": "user", "content": prompt_of(s, "brief")}] for s in SAMPLES],
        "images": [[{"bytes": s.image.read(), "path": None}] for s in SAMPLES],
        "sample_id": [s.id for s in SAMPLES],
    }
    return Dataset.from_dict(columns).cast_column("images", List(Image()))


def config(folder: Path, steps: int, **more: Any) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=GROUPS * GROUP_SIZE,
        gradient_accumulation_steps=1,
        num_generations=GROUP_SIZE,
        max_completion_length=112,
        max_steps=WARMUP + steps,
        beta=0.0,
        learning_rate=1e-6,
        loss_type="grpo",
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A data server with one worker, in processes of their own."""
    command = [sys.executable, "-m", "syngrpo", "serve", "--pool", str(folder), "--port", "0"]
    command += ["--generator", "rooms", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(line for line in process.stdout if "http://" in line).split()[-1]
    finally:
        process.terminate()
        process.wait()


def measured(make: Callable[..., GRPOTrainer]) -> Times:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    times = Times()
    make(
        model=model,
        processing_class=AutoProcessor.from_pretrained(STARTER_DIR),
        callbacks=[times],
    ).train()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    runs: dict[str, Times] = {}
    settled = 0
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "server") as url:
        folder = Path(name)

        def opened(run: str) -> DataClient:
            return DataClient.open(
                folder / run,
                SAMPLES,
                groups_per_step=GROUPS,
                synthesis=SynthesisOptions(generator="rooms"),
                server=ServerOptions(url=url),
            )

        runs["TRL alone"] = measured(
            lambda **more: GRPOTrainer(
                reward_funcs=[accuracy, well_formed],
                args=config(folder / "alone", steps),
                train_dataset=fixed(),
                **more,
            )
        )
        with opened("images") as client:
            images = EvolvingImages(client, GROUPS, prompt_style="brief")
            one_stream = {
                "shuffle_dataset": False,
                "accelerator_config": {"dispatch_batches": False},
            }
            runs["TRL, images that evolve"] = measured(
                lambda **more: GRPOTrainer(
                    reward_funcs=images.rewards(),
                    args=config(folder / "evolving", steps, **one_stream),
                    train_dataset=images.dataset(),
                    **more,
                )
            )
        with opened("rewarded") as client:
            runs["SynGRPOTrainer"] = measured(
                lambda **more: SynGRPOTrainer(
                    args=config(folder / "syn", steps), data=client, prompt_style="brief", **more
                )
            )
            settled = client.ledger.counts.settled
    write_section("TRL beside the data server", table(runs, steps, settled))


def table(runs: dict[str, Times], steps: int, settled: int) -> str:
    rows = ["| run | processor s/step | of TRL alone | s/step |", "|---|---|---|---|"]
    alone = statistics.median(runs["TRL alone"].processor[WARMUP:])
    for name, times in runs.items():
        used = statistics.median(times.processor[WARMUP:])
        wall = statistics.median(times.wall[WARMUP:])
        rows.append(f"| {name} | {used:.2f} | {used / alone:.3f} | {wall:.2f} |")
    return "\n".join(
        [
            f"Starter model, {GROUPS} groups of {GROUP_SIZE}, median of {steps} steps after "
            f"{WARMUP}; one thread. Server and worker are other processes, and slow the s/step "
            "on this machine; the processor time is that of the trainer's process. "
            f"SynGRPOTrainer has also learned from {settled} descriptions.",
            "",
            *rows,
            "",
            f"- load of the machine at the end: {os.getloadavg()[0]:.1f}",
        ]
    )


if __name__ == "__main__":
    main()
