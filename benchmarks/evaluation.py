"""Samples a second: our evaluation against a plain ``model.generate`` loop with batch size 1.

Both have the same process, threads, weights, samples and length of every response (end tokens do
not end one here); greedy, with the key-value cache. Both do everything from the encoded image to
the text; ours also reads, scores and summarises. They take turns, one round each.

    python -m benchmarks.evaluation
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from benchmarks.results import write_section
from syngrpo.evaluation.answering import evaluate
from syngrpo.policy.loading import load_policy
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

Texts = list[str]


class PlainLoop:
    """The loop that one would write in ten lines: one sample at a time through ``generate``."""

    def __init__(self, model: Path, device: str, new_tokens: int) -> None:
        self.processor = AutoProcessor.from_pretrained(model)
        loaded = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
        self.model: Any = loaded.to(device).eval()
        self.new_tokens = new_tokens

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample]) -> Texts:
        texts = []
        for sample in samples:
            content = [
                {"type": "image"},
                {"type": "text", "text": get_task(sample.task).prompt(sample, "brief")},
            ]
            chat = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            image = Image.fromarray(sample.image.decode())
            inputs = self.processor(text=[chat], images=[image], return_tensors="pt")
            tokens = self.model.generate(
                **inputs.to(self.model.device),
                max_new_tokens=self.new_tokens,
                min_new_tokens=self.new_tokens,
                do_sample=False,
            )
            answer = tokens[:, inputs["input_ids"].shape[1] :]
            texts += self.processor.batch_decode(answer, skip_special_tokens=True)
        return texts


class Ours:
    """``evaluate`` as the command calls it, greedy responses only."""

    def __init__(self, model: Path, device: str, new_tokens: int, batch_size: int) -> None:
        self.policy = load_policy(model, device=device)
        # The loop's generate bans end tokens to reach its length; so does this.
        stops = torch.tensor(self.policy.stop_ids, device=self.policy.device)
        banned = torch.cat([self.policy.banned, stops]).unique()
        self.policy = replace(self.policy, stop_ids=(), banned=banned)
        self.new_tokens, self.batch_size = new_tokens, batch_size

    def __call__(self, samples: Sequence[Sample]) -> Texts:
        result = evaluate(
            self.policy,
            samples,
            prompt_style="brief",
            max_new_tokens=self.new_tokens,
            batch_size=self.batch_size,
            samples_per_prompt=0,
        )
        return [prediction.greedy.text for prediction in result.predictions]


def timed(
    run: Callable[[Sequence[Sample]], Texts], samples: Sequence[Sample]
) -> tuple[float, Texts]:
    start = time.perf_counter()
    texts = run(samples)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--samples", type=int, default=64, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers_logging.set_verbosity_error()
    ours = Ours(options.model, options.device, options.new_tokens, options.batch_size)
    plain = PlainLoop(options.model, options.device, options.new_tokens)
    samples = rooms_samples("test", options.samples)
    for run in (ours, plain):
        run(samples[:2])
    times: list[tuple[float, float]] = []
    same = 0
    for number in range(options.rounds):
        plain_s, plain_texts = timed(plain, samples)
        ours_s, our_texts = timed(ours, samples)
        times.append((plain_s, ours_s))
        same = sum(a == b for a, b in zip(plain_texts, our_texts, strict=True))
        print(f"round {number}: generate {plain_s:.2f} s, ours {ours_s:.2f} s", flush=True)
    body = report(options, times, same)
    print(body) if options.dry_run else write_section("Evaluation against generate", body)


def report(options: argparse.Namespace, times: Sequence[tuple[float, float]], same: int) -> str:
    rates = [options.samples / statistics.median(column) for column in zip(*times, strict=True)]
    ratios = [plain / ours for plain, ours in times]
    listed = ", ".join(f"{ratio:.1f}" for ratio in ratios)
    middle, load = statistics.median(ratios), os.getloadavg()[0]
    return (
        f"{options.samples} samples of the rooms world, {options.new_tokens} new tokens each, "
        f"greedy, float32, {options.device}, {options.threads} thread(s), our batch size "
        f"{options.batch_size}; medians of {options.rounds} alternating rounds, ratio = median of "
        f"round-by-round ratios.\n\n"
        "| generate, samples/s | ours, samples/s | ours / generate | same text |\n"
        "|---|---|---|---|\n"
        f"| {rates[0]:.2f} | {rates[1]:.2f} | {middle:.1f} x | {same} of {options.samples} |\n\n"
        f"- ratio of each round: {listed}; load of the machine at the end: {load:.1f}\n"
    )


if __name__ == "__main__":
    main()
