"""Seconds of an update, against plain transformers' forward and backward pass over as many tokens.

Ours computes 4 prompts and 8 responses to each as GRPO does. The plain model computes 4 rows of the
same prompts, followed by as many tokens as the responses have together, with the cross entropy of
these. Both clip the gradients and step AdamW. They take turns in one process with one thread; the
ratio is that of the processor time.

    python -m benchmarks.update_time
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
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText

from benchmarks.against_trl import OurStep, credited
from benchmarks.results import write_section
from benchmarks.step_time import LEARNING_RATE, Workload, prepare
from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo_rooms.starter import STARTER_DIR


class PlainUpdate:
    """A forward and a backward pass of plain transformers, and a step of AdamW."""

    def __init__(self, checkpoint: Path, policy: Policy) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        self.model.train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), LEARNING_RATE)
        self.policy = policy

    def __call__(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[Response]]) -> None:
        own = [torch.cat([response.token_ids for response in group]) for group in groups]
        rows = [torch.cat([p.input_ids, o]) for p, o in zip(prompts, own, strict=True)]
        logits = self.model(**self._inputs(prompts, torch.stack(rows))).logits
        start = len(prompts[0].input_ids)
        loss = F.cross_entropy(logits[:, start - 1 : -1].flatten(0, 1), torch.cat(own))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def _inputs(self, prompts: Sequence[Prompt], ids: torch.Tensor) -> dict[str, Any]:
        return {
            "input_ids": ids,
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
            "pixel_values": pixel_values(self.policy, prompts),
            "image_grid_thw": torch.cat([prompt.image["image_grid_thw"] for prompt in prompts]),
            "use_cache": False,
        }


def measure(side: int, turns: int) -> list[tuple[float, float, float]]:
    """Return the processor seconds of each turn: the plain update, ours, and ours from kept
    prompts."""
    work = Workload(side)
    with tempfile.TemporaryDirectory() as directory:
        samples = prepare(STARTER_DIR, Path(directory), work)
        policy = load_policy(Path(directory))
        plain = PlainUpdate(Path(directory), policy)
        trainer = replace(work.options.trainer, keep_prompts=True)
        ours = OurStep(replace(work.options, trainer=trainer), policy, samples)
        found = []
        for _ in range(turns + 1):
            times = []
            for kind in ("plain", "again", "kept"):
                prompts, groups = ours.roll_out(work.new_tokens)
                if kind == "again":
                    for prompt in prompts:
                        prompt.kept = None
                start = time.process_time()
                if kind == "plain":
                    plain(prompts, groups)
                else:
                    pairs = zip(prompts, groups, strict=True)
                    ours.learner.update([credited(*pair) for pair in pairs], StepMetrics())
                times.append(time.process_time() - start)
            found.append((times[0], times[1], times[2]))
    return found[1:]  # the first turn is slower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--dry-run", action="store_true", help="print, do not write RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| image tokens | plain, s | ours, s | ours / plain | from kept prompts, s | / plain |",
        "|---|---|---|---|---|---|",
    ]
    for side in arguments.sides:
        turns = measure(side, arguments.turns)
        plain, again, kept = (statistics.median(times) for times in zip(*turns, strict=True))
        ratio, kept_ratio = (
            statistics.median(turn[place] / turn[0] for turn in turns) for place in (1, 2)
        )
        cells = (f"{side**2}", f"{plain:.3f}", f"{again:.3f}", f"{ratio:.2f}")
        lines.append(f"| {' | '.join(cells)} | {kept:.3f} | {kept_ratio:.2f} |")
        print(lines[-1], flush=True)
    body = (
        f"Processor time of an update of 4 prompts, G = 8, 64 tokens a response, float32, one "
        f"thread; medians of {arguments.turns} turns, ratio = median of those of the turns. From "
        f"kept prompts, their forward pass belongs to the rollout. Load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f}.\n\n" + "\n".join(lines)
    )
    print(body) if arguments.dry_run else write_section("Update against a plain pass", body)


if __name__ == "__main__":
    main()
