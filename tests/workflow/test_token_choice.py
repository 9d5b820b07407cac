"""Tokens are chosen by their covariance over the step, as verl chooses them over a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from syngrpo.method.loss_options import LossOptions
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.token_choice import choose_tokens
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

LENGTHS = ((9, 4, 12), (1, 30, 7))


def make_rows() -> list[UpdateRow]:
    generator = torch.Generator().manual_seed(5)
    rows = []
    for i, lengths in enumerate(LENGTHS):
        segments = [
            CreditedSegment(
                token_ids=torch.zeros(n, dtype=torch.long),
                old_logprobs=-2 * torch.randn(n, generator=generator).abs(),
                advantages=2 * torch.randn(n, generator=generator),
                mask=torch.ones(n, dtype=torch.bool),
                beta=torch.zeros(n),
                settled=n == 7,
            )
            for n in lengths
        ]
        prompt: Any = SimpleNamespace(sample_id=f"sample-{i}")
        rows.append(UpdateRow(prompt, segments))
    return rows


def fresh(rows: list[UpdateRow]) -> list[CreditedSegment]:
    return [segment for row in rows for segment in row.segments if not segment.settled]


def covariances(segments: list[CreditedSegment]) -> torch.Tensor:
    """verl 0.8.0.dev, ``compute_policy_loss_kl_cov``."""
    advantages = torch.cat([segment.advantages for segment in segments])
    logprobs = torch.cat([segment.old_logprobs for segment in segments])
    return (advantages - advantages.mean()) * (logprobs - logprobs.mean())


@pytest.mark.parametrize("share", [0.0002, 0.1, 1.0])
def test_kl_cov_chooses_the_largest(share: float) -> None:
    rows = make_rows()
    options = LossOptions(loss="kl_cov", covariance_share=share)
    chosen = choose_tokens(rows, options, Processes(), [0])
    segments = fresh(rows)
    assert set(chosen) == set(segments)
    wanted = covariances(segments)
    count = max(1, int(len(wanted) * share))
    expected = torch.zeros(len(wanted), dtype=torch.bool)
    expected[wanted.topk(count).indices] = True
    assert torch.equal(torch.cat([chosen[segment] for segment in segments]), expected)


def test_clip_cov_chooses_at_random_between_its_bounds() -> None:
    rows = make_rows()
    options = LossOptions(
        loss="clip_cov", covariance_share=0.1, covariance_low=0.3, covariance_high=3.0
    )
    segments = fresh(rows)
    values = covariances(segments)
    found = []
    for seed in (1, 2, 1):
        chosen = choose_tokens(rows, options, Processes(), [seed])
        found.append(torch.cat([chosen[segment] for segment in segments]))
        assert int(found[-1].sum()) == int(0.1 * len(values))
        assert ((values > 0.3) & (values < 3.0))[found[-1]].all()
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])
    few = LossOptions(loss="clip_cov", covariance_share=1.0)
    chosen = choose_tokens(rows, few, Processes(), [1])
    everything = torch.cat([chosen[segment] for segment in segments])
    assert torch.equal(everything, (values > 1.0) & (values < 5.0))


def test_tokens_outside_the_loss_and_of_unknown_probability_are_not_chosen() -> None:
    rows = make_rows()
    first, second, *_ = fresh(rows)
    first.mask[:] = False
    second.old_logprobs[:] = float("nan")
    options = LossOptions(loss="kl_cov", covariance_share=1.0)
    chosen = choose_tokens(rows, options, Processes(), [0])
    assert not chosen[first].any() and not chosen[second].any()
    assert all(chosen[segment].all() for segment in fresh(rows)[2:])
    assert choose_tokens(rows, LossOptions(), Processes(), [0]) == {}
    assert choose_tokens([], options, Processes(), [0]) == {}


def test_without_any_advantage_no_token_is_chosen() -> None:
    rows = make_rows()
    for segment in fresh(rows):
        segment.advantages.zero_()
    options = LossOptions(loss="kl_cov", covariance_share=0.1)
    chosen = choose_tokens(rows, options, Processes(), [0])
    assert not any(tokens.any() for tokens in chosen.values())
