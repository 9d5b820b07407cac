"""Measures how well a starter answers questions about scenes that it was not trained on.

The recipe calls ``held_out_accuracy`` during the training of the starter. The responses come from
``model.generate`` of transformers, with the brief prompts of the tasks. ``syngrpo.evaluation`` is
not used, so that the starter can be made without the engines that it needs.
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
"""Largest number of tokens in a response. Four detected things and a scene description fit."""
TASKS = ("rec", "ovd", "isr")


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one task on one split. All values are in [0, 1].

    ``greedy`` and ``sampled`` are the accuracies of greedy responses and of those sampled at
    temperature 1: for "rec" the share of boxes with an IoU of at least 0.5, for "ovd" and "isr" the
    mean accuracy reward. ``format`` is the share of the sampled responses with the full format.
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
    """Return one response for each sample: sampled at temperature 1 if ``sample`` is set, else
    greedy.

    ``images``, uint8 (H, W, 3) each, replace the samples' own pictures.
    """
    # Decoded pictures are read-only, but the processor may write into them.
    pictures = images or [s.image.decode().copy() for s in samples]
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
    # top_k 0 samples from all tokens. The default would sample from the 50 likeliest ones only.
    choice: dict = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {}
    out = model.generate(**inputs, max_new_tokens=LONGEST, **choice)
    return [
        processor.tokenizer.decode(row, skip_special_tokens=True)
        for row in out[:, inputs["input_ids"].shape[1] :]
    ]


def score(sample: Sample, text: str) -> float:
    """Return the accuracy of a response in [0, 1]; for "rec" it is 1 if the IoU is at least 0.5,
    else 0.

    The sample's image must have the size that the starter sees (128 x 128 pixels), because the
    coordinates in the response are taken as pixels of that image.
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
    """Return task → accuracy on ``count`` scenes of a split, with one greedy and one sampled
    response for each scene.

    ``seed`` decides the scenes and the sampling. ``batch_size`` is the number of responses that are
    generated at once.
    """
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
