"""Rows of random responses, scored by us and by plain transformers, for the policy's tests."""

from __future__ import annotations

from pathlib import Path

import torch
from plain_transformers import load_plain, plain_logprobs
from tiny_models import random_sample

from syngrpo.policy.encode import encode
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs

QUESTIONS = ("the lamp", "the big grün chair left of the sofa", "椅子")
SIZES = ((64, 48), (48, 112), (96, 80))
LENGTHS = ((7, 1, 12), (9, 9), (3, 20, 5, 1))


def make_rows(policy: Policy, lengths: tuple[tuple[int, ...], ...] = LENGTHS) -> list[PackedRow]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i, row_lengths in enumerate(lengths):
        prompt = encode(policy, random_sample(*SIZES[i], seed=i), QUESTIONS[i])
        segments = [
            Segment(torch.randint(0, 300, (length,), generator=generator)) for length in row_lengths
        ]
        rows.append(PackedRow(prompt, segments))
    return rows


def ours(policy: Policy, rows: list[PackedRow], temperature: float = 1.0) -> list[torch.Tensor]:
    return [s.logprobs for row in segment_logprobs(policy, rows, temperature) for s in row]


def plain(
    directory: Path, policy: Policy, rows: list[PackedRow], temperature: float = 1.0
) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    model = load_plain(directory)
    scored = [
        plain_logprobs(
            model, row.prompt, [s.token_ids for s in row.segments], policy.banned, temperature
        )
        for row in rows
    ]
    return model, [logprobs for row in scored for logprobs in row]


def weighted_loss(logprobs: list[torch.Tensor]) -> torch.Tensor:
    """A loss in which every token counts differently, like advantages do."""
    flat = torch.cat(logprobs)
    return (flat * torch.linspace(-1.0, 1.5, len(flat))).mean()


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters()}
