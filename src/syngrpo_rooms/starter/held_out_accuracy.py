"""Measures how well a starter answers held-out questions: plain ``model.generate``, brief prompts.

The recipe uses it while the starter is trained. It does without ``syngrpo.evaluation``, so that the
starter can be made without the engines that the rest of the system needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from syngrpo.method.response import parse_response
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.surroundings import Split

LONGEST = 144
"""Most tokens of a response. Four detected things and a scene description fit."""
TASKS = ("rec", "ovd", "isr")


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of greedy and of sampled responses (temperature 1), and the share of the sampled
    ones that have the full format; all in [0, 1].

    The accuracy is the share of boxes with IoU ≥ 0.5 for REC, the mean accuracy reward for OVD and
    ISR.
    """

    greedy: float
    sampled: float
    format: float


@torch.no_grad()
def respond(
    model: Any,
    processor: Any,
    samples: list[Sample],
    *,
    sample: bool,
    images: list[np.ndarray] | None = None,
) -> list[str]:
    """Return one response for each sample, drawn at temperature 1 with ``sample`` and greedy
    without. ``images`` are used instead of the samples' own pictures."""
    pictures = images or [s.image.decode().copy() for s in samples]  # the processor may write
    texts = [
        processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image"},
                        {"type": "text", "text": get_task(s.task).prompt(s, "brief")},
                    ],
                }
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        for s in samples
    ]
    inputs = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    # Pure sampling: the defaults would keep only the 50 likeliest tokens.
    choice: dict = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {}
    out = model.generate(**inputs, max_new_tokens=LONGEST, **choice)
    return [
        processor.tokenizer.decode(row, skip_special_tokens=True)
        for row in out[:, inputs["input_ids"].shape[1] :]
    ]


def score(sample: Sample, text: str) -> float:
    """Return the accuracy of a response in [0, 1]. REC counts as 1 from IoU 0.5 on.

    The sample's image must have the size that the starter sees (128 x 128), so that the model's
    coordinates are pixels.
    """
    answer, task = parse_response(text).answer, get_task(sample.task)
    value = task.score(task.read(answer) if answer is not None else None, sample)
    return float(value >= 0.5) if sample.task == "rec" else value


def held_out_accuracy(
    model: Any,
    processor: Any,
    split: Split,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 100,
) -> dict[str, Accuracy]:
    """Return task → accuracy on ``count`` scenes of a split, each with one greedy and one sampled
    response."""
    torch.manual_seed(seed)
    measured = {}
    for task in TASKS:
        samples = rooms_samples(split, count, seed, task)
        scores: dict[bool, list[float]] = {False: [], True: []}
        formed = 0
        for start in range(0, count, batch_size):
            part = samples[start : start + batch_size]
            for sampled in (False, True):
                texts = respond(model, processor, part, sample=sampled)
                scores[sampled] += map(score, part, texts)
                formed += sampled * sum(parse_response(text).well_formed for text in texts)
        greedy, drawn = float(np.mean(scores[False])), float(np.mean(scores[True]))
        measured[task] = Accuracy(greedy, drawn, formed / count)
    return measured
