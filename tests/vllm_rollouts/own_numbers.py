"""What vLLM's responses are compared with: log-probabilities and entropies of the trained model."""

from __future__ import annotations

from typing import Any

import torch

from syngrpo.policy.encode import Prompt
from syngrpo.policy.model import Policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout.base import Response


def other_weights(policy: Policy, seed: int, scale: float = 0.1, part: str = "") -> None:
    """Change the trained weights with ``part`` in their name, as an optimizer step does."""
    generator = torch.Generator().manual_seed(seed)
    changed = [
        parameter
        for name, parameter in policy.model.named_parameters()
        if parameter.requires_grad and part in name
    ]
    assert changed, part
    with torch.no_grad():
        for parameter in changed:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(scale * parameter.std(correction=0) * noise)


def ids(groups: list[list[Response]]) -> list[list[list[int]]]:
    return [[response.token_ids.tolist() for response in group] for group in groups]


def assert_ours(policy: Policy, prompts: list[Prompt], groups: Any, temperature: float) -> None:
    """Compare reported log-probabilities and entropies with those of the trained model."""
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    with torch.no_grad():
        scored = segment_logprobs(policy, rows, temperature, with_entropy=True)
    for group, segments in zip(groups, scored, strict=True):
        for response, segment in zip(group, segments, strict=True):
            torch.testing.assert_close(response.logprobs, segment.logprobs, atol=1e-3, rtol=0)
            torch.testing.assert_close(response.entropy, segment.entropy, atol=1e-3, rtol=0)
