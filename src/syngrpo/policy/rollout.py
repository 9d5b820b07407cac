"""Sampling a group of responses for every prompt.

The vision tower and the prompt run once a group; then all responses of all groups decode together,
and the finished ones leave the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from syngrpo.policy.decoding import SharedDecoder
from syngrpo.policy.distribution import scaled_logits
from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.loading import Policy
from syngrpo.policy.padded import PaddedDecoder
from syngrpo.policy.sampling import Sampling, choose, draw_uniforms
from syngrpo.policy.spans import decode
from syngrpo.sample import InputError

logger = logging.getLogger(__name__)

SHRINK_WHEN_FINISHED = 0.125
"""Finished rows leave the batch once they are this share of it: leaving costs a copy."""


@dataclass(frozen=True, eq=False)
class Response:
    """One sampled response; tensors on the CPU.

    ``token_ids`` int64 (L,), with the end token if it was reached (``finished``); ``logprobs`` and
    ``entropy`` float32 (L,) of the sampling distribution; ``text`` without special tokens.
    """

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor
    text: str
    finished: bool


@torch.no_grad()
def rollout(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[list[Response]]:
    """``group_size`` responses a prompt. ``seeds``, one a prompt, are all that the result depends
    on beside prompt and weights: not on which prompts share the call, nor in which order.

    When the device runs out of memory, the two halves of the prompts are rolled out one after the
    other. Raises InputError when one prompt alone is too much, or longer than the model's context
    leaves room for.
    """
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
    if not prompts:
        return []
    for prompt in prompts:
        size = size_of(policy, prompt)
        require_context(policy, prompt.sample_id, size, sampling.max_new_tokens)
    training = policy.model.training
    policy.model.eval()
    try:
        return _roll_out(policy, prompts, group_size, sampling, list(seeds))
    finally:
        policy.model.train(training)


def _roll_out(
    policy: Policy, prompts: Sequence[Prompt], group_size: int, sampling: Sampling, seeds: list[int]
) -> list[list[Response]]:
    try:
        responses = _decode(policy, prompts, group_size, sampling, seeds).responses(policy)
        return [responses[i : i + group_size] for i in range(0, len(responses), group_size)]
    except torch.OutOfMemoryError:
        half = len(prompts) // 2
    # Out here the failed pass is forgotten, and with it what it held.
    if policy.device.type == "cuda":
        torch.cuda.empty_cache()
    if not half:
        raise InputError(
            f"out of device memory with {group_size} responses to sample {prompts[0].sample_id}; "
            f"set rollout.group_size to {max(group_size // 2, 2)}, or make rollout.max_new_tokens "
            f"({sampling.max_new_tokens}) or model.max_pixels smaller"
        )
    logger.warning(
        "out of device memory with %d groups of %d responses; rolling out %d at a time: set "
        "trainer.groups_per_step to that",
        len(prompts),
        group_size,
        len(prompts) - half,
    )
    return [
        group
        for part in (slice(None, half), slice(half, None))
        for group in _roll_out(policy, prompts[part], group_size, sampling, seeds[part])
    ]


class _Record:
    """What was sampled so far, row by row, and which rows still run."""

    def __init__(self, rows: int, steps: int, stop_ids: tuple[int, ...], device: Any) -> None:
        self.tokens = torch.zeros(rows, steps, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, steps, device=device)
        self.entropy = torch.zeros(rows, steps, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self._stop_ids = torch.tensor(stop_ids, dtype=torch.long, device=device)

    def add(self, rows: torch.Tensor, step: int, sampled: tuple[torch.Tensor, ...]) -> None:
        """Notes one sampled token for each of ``rows``; rows that finished before ignore it."""
        for store, values in zip((self.tokens, self.logprobs, self.entropy), sampled, strict=True):
            store[rows, step] = values
        running = ~self.finished[rows]
        self.lengths[rows] += running
        self.finished[rows] |= torch.isin(sampled[0], self._stop_ids)

    def responses(self, policy: Policy) -> list[Response]:
        tokens, logprobs, entropy = self.tokens.cpu(), self.logprobs.cpu(), self.entropy.cpu()
        finished = self.finished.tolist()
        return [
            Response(
                tokens[row, :length].clone(),
                logprobs[row, :length].clone(),
                entropy[row, :length].clone(),
                decode(policy.tokenizer, tokens[row, :length]),
                finished[row],
            )
            for row, length in enumerate(self.lengths.tolist())
        ]


def _decode(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: list[int],
) -> _Record:
    device, steps = policy.device, sampling.max_new_tokens
    head = policy.base.get_output_embeddings()
    start = SharedDecoder if policy.shares_prefix else PaddedDecoder
    decoder = start(policy, prompts, group_size)
    uniforms = draw_uniforms(seeds, group_size, steps).to(device)
    rows = torch.arange(len(prompts) * group_size, device=device)
    record = _Record(len(rows), steps, policy.stop_ids, device)
    for step in range(steps):
        logits = scaled_logits(head, decoder.states, policy.banned, sampling.temperature)
        sampled = choose(logits, sampling, uniforms[step, rows])
        record.add(rows, step, sampled)
        running = (~record.finished[rows]).nonzero()[:, 0]
        if step + 1 == steps or len(running) == 0:
            break
        tokens = sampled[0]
        if len(rows) - len(running) >= SHRINK_WHEN_FINISHED * len(rows):
            rows, tokens = rows[running], tokens[running]
            decoder.keep(running)
        decoder.append(tokens)
    return record
