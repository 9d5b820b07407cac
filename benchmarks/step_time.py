"""Seconds of a training step, ours against TRL's GRPOTrainer, on the starter model.

Both take turns in one process, see ``against_trl``. Float32, without gradient checkpointing, the
project's defaults for everything else (token budget, chunked log-probabilities).

    python -m benchmarks.step_time
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from benchmarks.against_trl import OurStep, Times, make_samples, ratio, take_turns
from benchmarks.results import write_section
from syngrpo.config import options_from
from syngrpo.policy.loading import load_policy
from syngrpo.sample import Sample
from syngrpo.workflow.run_options import RunOptions
from syngrpo_rooms.starter import STARTER_DIR

LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Workload:
    """What one step does. ``side``: an image has side x side tokens."""

    side: int
    prompts: int = 4
    group: int = 8
    new_tokens: int = 64

    @property
    def image_tokens(self) -> int:
        return self.side**2

    @property
    def options(self) -> RunOptions:
        return options_from(
            {
                "model": {"path": "starter"},
                "data": {"train": [{"format": "rooms", "split": "train"}]},
                "method": {"name": "grpo", "loss": "dapo", "beta": 0.0},
                "rollout": {"group_size": self.group, "max_new_tokens": self.new_tokens},
                "trainer": {"groups_per_step": self.prompts, "learning_rate": LEARNING_RATE},
            }
        )


def resized_checkpoint(source: Path, target: Path, side: int) -> int:
    """Copy a checkpoint and set its processor to side x side tokens; return the side in pixels."""
    processor = AutoProcessor.from_pretrained(source)
    factor = processor.image_processor.patch_size * processor.image_processor.merge_size
    pixels = side * factor
    processor.image_processor.size["shortest_edge"] = pixels**2
    processor.image_processor.size["longest_edge"] = pixels**2
    processor.save_pretrained(target)
    AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).save_pretrained(target)
    return pixels


def prepare(source: Path, target: Path, work: Workload) -> list[Sample]:
    """Copy a checkpoint, set for pictures of ``work.side``, and return samples with such
    pictures."""
    pixels = resized_checkpoint(source, target, work.side)
    return make_samples(work.prompts * 4, pixels, pixels)


def measure(
    model: Path, work: Workload, steps: int, warmup: int, device: str
) -> tuple[Times, Times]:
    """Return the times of TRL and ours: of ``steps`` steps each, after ``warmup`` more that do not
    count."""
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = Path(directory)
        samples = prepare(model, checkpoint, work)
        ours = OurStep(work.options, load_policy(checkpoint, device=device), samples)
        theirs = take_turns(
            ours,
            AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32),
            AutoProcessor.from_pretrained(checkpoint, padding_side="left"),
            steps + warmup,
            output_dir=str(checkpoint / "trl"),
        )
    return theirs.without(warmup), ours.times.without(warmup)


def table(rows: list[tuple[Workload, Times, Times]]) -> str:
    lines = [
        "| image tokens | | TRL s | ours s | TRL / ours |",
        "|---|---|---|---|---|",
    ]
    for work, theirs, ours in rows:
        for name in ("step", "rollout", "update"):
            pair = getattr(theirs, name), getattr(ours, name)
            medians = " | ".join(f"{statistics.median(values):.3f}" for values in pair)
            lines.append(f"| {work.image_tokens} | {name} | {medians} | {ratio(*pair):.1f} x |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers_logging.set_verbosity_error()
    rows = []
    for side in options.sides:
        work = Workload(side, new_tokens=options.new_tokens)
        times = measure(options.model, work, options.steps, options.warmup, options.device)
        rows.append((work, *times))
        print(table(rows[-1:]), flush=True)
    body = (
        f"One step: {work.prompts} prompts, G = {work.group}, {work.new_tokens} new tokens each, "
        f"float32, {options.device}, {options.threads} thread(s); medians of {options.steps} "
        f"alternating steps, ratio = median of step-by-step ratios. Rollout: from the encoded "
        f"image to scored responses; update: from there to new weights. Load of the machine at "
        f"the end: {os.getloadavg()[0]:.1f}.\n\n{table(rows)}\n"
    )
    print(body) if options.dry_run else write_section("Training step against TRL", body)


if __name__ == "__main__":
    main()
