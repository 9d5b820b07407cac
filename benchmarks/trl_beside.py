"""Compares a step of TRL's GRPOTrainer alone with the same step on images that evolve.

Three runs on the starter model: TRL on a fixed set of pictures; TRL on images that evolve
(``EvolvingImages``); and ``SynGRPOTrainer``, which also learns from descriptions. Each is a process
of its own. They take turns of a few steps, and those whose turn it is not are stopped (SIGSTOP), so
that a change in the load of the machine meets all three. The data server and its worker are
processes of their own. What counts is the processor time of the trainer's process, because on
another machine they would not take any of it.

    python -m benchmarks.trl_beside
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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
RUNS = ALONE, EVOLVING, REWARDED = "TRL alone", "TRL, images that evolve", "SynGRPOTrainer"
STEPS = "steps.jsonl"
SAMPLES = rooms_samples("train", 100)
BY_ID = {sample.id: sample for sample in SAMPLES}


class Times(TrainerCallback):
    """Writes the processor seconds of each step to a file, a line of JSON for each, with the number
    of descriptions that were learned from so far."""

    def __init__(self, output: Path, client: DataClient | None) -> None:
        self._output, self._client = output.open("w", encoding="utf-8"), client
        self._last = time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        now = time.process_time()
        settled = 0 if self._client is None else self._client.ledger.counts.settled
        print(json.dumps([now - self._last, settled]), file=self._output, flush=True)
        self._last = now


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


def config(folder: Path, **more: Any) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=GROUPS * GROUP_SIZE,
        gradient_accumulation_steps=1,
        num_generations=GROUP_SIZE,
        max_completion_length=112,
        max_steps=100_000,  # until the process is killed
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


def train(name: str, folder: Path, url: str) -> None:
    """Train without end as one of ``RUNS``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(STARTER_DIR, dtype=torch.float32)
    more: dict[str, Any] = {
        "model": model,
        "processing_class": AutoProcessor.from_pretrained(STARTER_DIR),
    }
    client = None
    if name != ALONE:
        client = DataClient.open(
            folder / "client",
            SAMPLES,
            groups_per_step=GROUPS,
            synthesis=SynthesisOptions(generator="rooms"),
            server=ServerOptions(url=url),
        )
    more["callbacks"] = [Times(folder / STEPS, client)]
    if client is None:
        more |= {"reward_funcs": [accuracy, well_formed], "train_dataset": fixed()}
        trainer = GRPOTrainer(args=config(folder), **more)
    elif name == EVOLVING:
        images = EvolvingImages(client, GROUPS, prompt_style="brief")
        more |= {"reward_funcs": images.rewards(), "train_dataset": images.dataset()}
        one_stream = {"shuffle_dataset": False, "accelerator_config": {"dispatch_batches": False}}
        trainer = GRPOTrainer(args=config(folder, **one_stream), **more)
    else:
        trainer = SynGRPOTrainer(args=config(folder), data=client, prompt_style="brief", **more)
    trainer.train()


class Run:
    """A run in a process of its own, which is stopped unless it is its turn."""

    def __init__(self, name: str, folder: Path, url: str) -> None:
        folder.mkdir()
        self._steps = folder / STEPS
        command = [sys.executable, "-m", "benchmarks.trl_beside", "--train", name]
        command += ["--folder", str(folder), "--url", url]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def turn(self, steps: int) -> float:
        """Let it do a number of steps, and return the mean of their processor seconds."""
        begin = len(self.lines())
        os.kill(self.process.pid, signal.SIGCONT)
        while len(self.lines()) < begin + steps:
            if self.process.poll() is not None:
                raise SystemExit(f"a run ended with status {self.process.returncode}")
            time.sleep(0.05)
        os.kill(self.process.pid, signal.SIGSTOP)
        return statistics.mean(used for used, _ in self.lines()[begin : begin + steps])

    def lines(self) -> list[tuple[float, int]]:
        if not self._steps.exists():
            return []
        whole = self._steps.read_text(encoding="utf-8").rpartition("\n")[0]
        return [tuple(json.loads(line)) for line in whole.splitlines()]


def measure(folder: Path, rounds: int, steps: int) -> str:
    used: dict[str, list[float]] = {name: [] for name in RUNS}
    runs: dict[str, Run] = {}
    with server(folder / "server") as url:
        try:
            for place, name in enumerate(RUNS):
                runs[name] = Run(name, folder / str(place), url)
                runs[name].turn(WARMUP)
            for _ in range(rounds):
                for name, run in runs.items():
                    used[name].append(run.turn(steps))
            settled = runs[REWARDED].lines()[-1][1] - runs[REWARDED].lines()[WARMUP - 1][1]
        finally:
            for run in runs.values():
                run.process.kill()
                run.process.wait()
    return table(used, steps, settled)


def table(used: dict[str, list[float]], steps: int, settled: int) -> str:
    rows = ["| run | processor s/step | of TRL alone | in single turns |", "|---|---|---|---|"]
    for name, seconds in used.items():
        ratios = sorted(a / b for a, b in zip(seconds, used[ALONE], strict=True))
        rows.append(
            f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(ratios):.3f} | "
            f"{ratios[0]:.3f} to {ratios[-1]:.3f} |"
        )
    turns = len(used[ALONE])
    return "\n".join(
        [
            f"Starter model, {GROUPS} groups of {GROUP_SIZE}, {turns} turns of {steps} steps each "
            f"after {WARMUP}; one thread. Medians over the turns, of the ratio to the turn of TRL "
            "alone beside it, too. Server and worker are other processes. SynGRPOTrainer learned "
            f"from {settled / (turns * steps):.1f} descriptions a step.",
            "",
            *rows,
            "",
            f"- load of the machine at the end: {os.getloadavg()[0]:.1f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--train", choices=RUNS, help="be one of the runs")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.train:
        train(options.train, options.folder, options.url)
        return
    with tempfile.TemporaryDirectory() as folder:
        body = measure(Path(folder), options.rounds, options.steps)
    print(body)
    write_section("TRL beside the data server", body)


if __name__ == "__main__":
    main()
