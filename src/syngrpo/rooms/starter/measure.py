"""How well a checkpoint answers when it runs free: plain ``model.generate``, nothing of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from syngrpo.boxes import iou
from syngrpo.rooms.dataset import rooms_samples
from syngrpo.rooms.surroundings import Split
from syngrpo.sample import Box, Sample

_ANSWER = re.compile(r'<answer>\{"bbox_2d": \[(\d+), (\d+), (\d+), (\d+)\]\}</answer>')
_FORMAT = re.compile(r"<think>[^<]*</think><answer>[^<]*</answer><scene>[^<]*</scene>")


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1]: Acc@0.5 greedy and sampled (temperature 1), full format of the samples."""

    greedy: float
    sampled: float
    format: float
    mean_iou: float


def answered_box(text: str) -> Box | None:
    found = _ANSWER.search(text)
    return tuple(float(n) for n in found.groups()) if found else None  # type: ignore[return-value]


@torch.no_grad()
def respond(
    model: Any,
    processor: Any,
    samples: list[Sample],
    *,
    sample: bool,
    images: list[np.ndarray] | None = None,
) -> list[str]:
    """One response a sample; ``images`` replaces the samples' own pictures."""
    pictures = images or [s.image.decode().copy() for s in samples]  # the processor may write
    texts = [
        processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [{"type": "image"}, {"type": "text", "text": s.question}],
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
    out = model.generate(**inputs, max_new_tokens=64, **choice)
    return [
        processor.tokenizer.decode(row, skip_special_tokens=True)
        for row in out[:, inputs["input_ids"].shape[1] :]
    ]


def measure(
    model: Any,
    processor: Any,
    split: Split,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 100,
) -> Accuracy:
    """Accuracy on ``count`` fresh scenes of a split, one greedy and one sampled response each."""
    samples = rooms_samples(split, count, seed)
    overlaps: dict[bool, list[float]] = {False: [], True: []}
    formed = 0
    torch.manual_seed(seed)
    for start in range(0, count, batch_size):
        part = samples[start : start + batch_size]
        for sampled in (False, True):
            texts = respond(model, processor, part, sample=sampled)
            boxes = [answered_box(text) for text in texts]
            overlaps[sampled] += [
                iou(box, s.answer) if box else 0.0 for box, s in zip(boxes, part, strict=True)
            ]
            formed += sampled * sum(bool(_FORMAT.fullmatch(t.strip())) for t in texts)
    greedy, drawn = np.array(overlaps[False]), np.array(overlaps[True])
    return Accuracy(
        greedy=float((greedy >= 0.5).mean()),
        sampled=float((drawn >= 0.5).mean()),
        format=formed / count,
        mean_iou=float(greedy.mean()),
    )
