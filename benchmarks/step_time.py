"""Seconds a training step, ours against TRL's GRPOTrainer.

Same process, same threads, same starter weights, same images, prompts, group size and response
length (end tokens do not end a response here). TRL trains by its own ``train()``; after each of
its steps we do one of ours, so that both see the same state of the machine. Everything counts, from
the encoded image to the optimizer's step. TRL runs at its best: no gradient checkpointing, float32,
no reference model, and no second forward pass for old log-probabilities.

    python -m benchmarks.step_time
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image, List
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from benchmarks.results import write_section
from syngrpo.grpo.loss import Normaliser, policy_loss
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import Policy, load_policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.policy.rollout import Sampling, rollout
from syngrpo.rooms.starter import STARTER_DIR
from syngrpo.sample import EncodedImage, Sample

QUESTION = "the small red lamp"
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Workload:
    """What one step does. ``side``: image tokens are side x side."""

    side: int
    prompts: int = 4
    group: int = 8
    new_tokens: int = 64

    @property
    def image_tokens(self) -> int:
        return self.side**2


@dataclass
class Times:
    """Seconds of every measured step."""

    trl: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    rollout: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        """Median over steps of TRL's time to ours right after it."""
        pairs = zip(self.trl, self.ours, strict=True)
        return statistics.median(trl / ours for trl, ours in pairs)


def resized_checkpoint(source: Path, target: Path, side: int) -> int:
    """Copies a checkpoint, its processor set to side x side tokens; returns pixels a side."""
    processor = AutoProcessor.from_pretrained(source)
    factor = processor.image_processor.patch_size * processor.image_processor.merge_size
    pixels = side * factor
    processor.image_processor.size["shortest_edge"] = pixels**2
    processor.image_processor.size["longest_edge"] = pixels**2
    processor.save_pretrained(target)
    AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).save_pretrained(target)
    return pixels


def make_samples(count: int, pixels: int) -> list[Sample]:
    """Noise images: their content costs nothing and changes nothing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(count, pixels, pixels, 3), dtype=np.uint8)
    box = (0.0, 0.0, 1.0, 1.0)
    return [
        Sample(str(i), "rec", EncodedImage.from_pixels(image), QUESTION, box, ())
        for i, image in enumerate(images)
    ]


def reward_of(token_ids: list[int]) -> float:
    """Arbitrary but deterministic, different within a group: every response gets a gradient."""
    return (sum(token_ids) % 97) / 97


class OurStep:
    """Encode, roll out, update: one training step, timed."""

    def __init__(self, policy: Policy, samples: list[Sample], work: Workload, times: Times) -> None:
        self.policy = replace(policy, stop_ids=())
        self.samples, self.work, self.times = samples, work, times
        self.optimizer = torch.optim.AdamW(policy.trainable_parameters(), lr=LEARNING_RATE)
        self.steps = 0

    def __call__(self) -> None:
        start = time.perf_counter()
        first = self.steps * self.work.prompts % len(self.samples)
        drawn = self.samples[first : first + self.work.prompts]
        prompts = [encode(self.policy, sample, QUESTION) for sample in drawn]
        sampling = Sampling(max_new_tokens=self.work.new_tokens)
        seeds = [self.steps * 1000 + i for i in range(len(prompts))]
        groups = rollout(self.policy, prompts, self.work.group, sampling, seeds)
        middle = time.perf_counter()
        rows = [
            PackedRow(prompt, [Segment(r.token_ids) for r in group])
            for prompt, group in zip(prompts, groups, strict=True)
        ]
        self._update(rows, groups)
        end = time.perf_counter()
        self.steps += 1
        self.times.rollout.append(middle - start)
        self.times.update.append(end - middle)
        self.times.ours.append(end - start)

    def _update(self, rows: list[PackedRow], groups: list) -> None:
        scored = [s for row in segment_logprobs(self.policy, rows) for s in row]
        responses = [r for group in groups for r in group]
        advantages = []
        for group in groups:
            rewards = torch.tensor([reward_of(r.token_ids.tolist()) for r in group])
            normal = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            advantages += [a.expand(len(r.token_ids)) for a, r in zip(normal, group, strict=True)]
        loss = policy_loss(
            [s.logprobs for s in scored],
            [r.logprobs for r in responses],
            advantages,
            [torch.ones(len(r.token_ids), dtype=torch.bool) for r in responses],
            normaliser=Normaliser(len(responses), sum(len(r.token_ids) for r in responses)),
            variant="dapo",
        ).loss
        loss.backward()
        clip_grad_norm_(self.policy.trainable_parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


class Alternate(TrainerCallback):
    """Times TRL's steps, and does one of ours after each."""

    def __init__(self, times: Times, ours: OurStep) -> None:
        self.times, self.ours, self.start = times, ours, 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.times.trl.append(time.perf_counter() - self.start)
        self.ours()


def trl_trainer(
    checkpoint: Path, samples: list[Sample], work: Workload, steps: int, callback: TrainerCallback
) -> GRPOTrainer:
    arguments = GRPOConfig(
        output_dir=str(checkpoint / "trl"),
        per_device_train_batch_size=work.prompts * work.group,
        num_generations=work.group,
        max_completion_length=work.new_tokens,
        generation_kwargs={"min_new_tokens": work.new_tokens},
        learning_rate=LEARNING_RATE,
        max_steps=steps,
        beta=0.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
    )
    rows = Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": QUESTION}] for _ in samples],
            "images": [[{"bytes": s.image.read(), "path": None}] for s in samples],
        }
    ).cast_column("images", List(Image()))
    return GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32),
        reward_funcs=lambda completion_ids, **_: [reward_of(ids) for ids in completion_ids],
        args=arguments,
        train_dataset=rows,
        processing_class=AutoProcessor.from_pretrained(checkpoint, padding_side="left"),
        callbacks=[callback],
    )


def measure(model: Path, work: Workload, steps: int, warmup: int, device: str) -> Times:
    """Times of ``steps`` steps each, after ``warmup`` more that do not count."""
    times = Times()
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = Path(directory)
        pixels = resized_checkpoint(model, checkpoint, work.side)
        samples = make_samples(work.prompts * 4, pixels)
        ours = OurStep(load_policy(checkpoint, device=device), samples, work, times)
        callback = Alternate(times, ours)
        trl_trainer(checkpoint, samples, work, steps + warmup, callback).train()
    for name in ("trl", "ours", "rollout", "update"):
        setattr(times, name, getattr(times, name)[warmup:])
    return times


def table(rows: list[tuple[Workload, Times]]) -> str:
    lines = [
        "| image tokens | TRL s | ours s | of it rollout | of it update | TRL / ours |",
        "|---|---|---|---|---|---|",
    ]
    for work, times in rows:
        medians = [
            f"{statistics.median(values):.3f}"
            for values in (times.trl, times.ours, times.rollout, times.update)
        ]
        lines.append(f"| {work.image_tokens} | {' | '.join(medians)} | {times.ratio():.1f} x |")
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
        rows.append(
            (work, measure(options.model, work, options.steps, options.warmup, options.device))
        )
        print(table(rows[-1:]), flush=True)
    body = (
        f"One step: {work.prompts} prompts, G = {work.group}, {work.new_tokens} new tokens each, "
        f"float32, {options.device}, {options.threads} thread(s); medians of {options.steps} "
        f"alternating steps, ratio = median of step-by-step ratios.\n\n{table(rows)}\n"
    )
    print(body) if options.dry_run else write_section("Training step against TRL", body)


if __name__ == "__main__":
    main()
