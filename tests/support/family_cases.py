"""The prompts and responses with which the families of models are compared to transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tiny_models import random_sample

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs

SIZES = ((64, 48), (130, 75))
QUESTIONS = ("the lamp", "the big grün chair left of the sofa")
LENGTHS = ((5, 1, 9), (4, 12))
SEEDS = [11, 22]


def make_prompts(policy: Policy) -> list[Prompt]:
    """Make two prompts whose images and questions differ in size."""
    return [
        encode(policy, random_sample(*size, seed=i), text)
        for i, (size, text) in enumerate(zip(SIZES, QUESTIONS, strict=True))
    ]


def make_rows(prompts: Sequence[Prompt]) -> list[PackedRow]:
    """Give each prompt random responses of the lengths ``LENGTHS``."""
    generator = torch.Generator().manual_seed(0)
    return [
        PackedRow(p, [Segment(torch.randint(0, 300, (n,), generator=generator)) for n in lengths])
        for p, lengths in zip(prompts, LENGTHS, strict=True)
    ]


def ours(policy: Policy, rows: Sequence[PackedRow], temperature: float = 1.0) -> torch.Tensor:
    """Return our log-probabilities of all response tokens of the rows."""
    scored = segment_logprobs(policy, rows, temperature)
    return torch.cat([s.logprobs for row in scored for s in row])


def assert_equal_gradients(
    policy: Policy, plain: Any, got: torch.Tensor, want: torch.Tensor
) -> None:
    """Check the log-probabilities of all tokens, and the gradient of a weighted mean of them in
    every parameter of the policy, against those of the plain model."""
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-6)
    weights = torch.linspace(-1.0, 1.5, len(got))
    for model, logprobs in ((policy.model, got), (plain, want)):
        model.zero_grad()
        (logprobs * weights).mean().backward()
    wanted = dict(plain.named_parameters())
    touched = 0
    for name, parameter in policy.model.named_parameters():
        expected = wanted[name].grad
        if expected is None:  # the last vision block of a tower that shows its features elsewhere
            assert parameter.grad is None, name
            continue
        touched += bool(expected.abs().max() > 0)
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-4, msg=name)
    assert touched > 0.9 * len(wanted)
