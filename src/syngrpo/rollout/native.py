"""Sampling a group of responses for every prompt.

The vision tower and the prompt run once a group; then all responses of all groups decode together,
and the finished ones leave the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from syngrpo.policy.distribution import scaled_logits
from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.loading import Policy
from syngrpo.policy.padded import PaddedDecoder
from syngrpo.policy.spans import decode
from syngrpo.rollout.cuda_graphs import Pace, Repeated
from syngrpo.rollout.decoding import SharedDecoder
from syngrpo.rollout.sampling import Sampling, choose, draw_uniforms
from syngrpo.sample import InputError

logger = logging.getLogger(__name__)


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
    pace: Pace | None = None,
) -> list[list[Response]]:
    """``group_size`` responses a prompt. ``seeds``, one a prompt, are all that the result depends
    on beside prompt and weights: not on which prompts share the call, nor in which order, nor on
    ``pace`` (None: the one that suits the device).

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
        chosen = pace or Pace.of(policy.device, policy.cuda_graphs)
        return _roll_out(policy, prompts, group_size, sampling, list(seeds), chosen)
    finally:
        policy.model.train(training)


def _roll_out(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: list[int],
    pace: Pace,
) -> list[list[Response]]:
    try:
        responses = _decode(policy, prompts, group_size, sampling, seeds, pace)
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
        for group in _roll_out(policy, prompts[part], group_size, sampling, seeds[part], pace)
    ]


class _Draft:
    """What was sampled so far: a table (all rows, steps), and the rows that still run.

    ``last`` (R,) are their newest tokens. ``sample`` changes tensors in place and asks none for its
    value, so that a step can be recorded.
    """

    def __init__(
        self, policy: Policy, sampling: Sampling, rows: int, uniforms: torch.Tensor
    ) -> None:
        device, shape = policy.device, (rows, sampling.max_new_tokens)
        self._head = policy.base.get_output_embeddings()
        self._banned, self._sampling = policy.banned, sampling
        self._stop_ids = torch.tensor(policy.stop_ids, dtype=torch.long, device=device)
        self._uniforms = uniforms.to(device)
        self._table = (
            torch.zeros(shape, dtype=torch.long, device=device),
            torch.zeros(shape, device=device),
            torch.zeros(shape, device=device),
        )
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._rows = torch.arange(rows, device=device)
        self._finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self.last = torch.zeros(rows, dtype=torch.long, device=device)

    def sample(self, states: torch.Tensor) -> None:
        """The next token of every row from the states (R, d) that predict it. A row that has
        finished goes on, to no effect."""
        logits = scaled_logits(self._head, states, self._banned, self._sampling.temperature)
        sampled = choose(logits, self._sampling, self._uniforms[self._step, self._rows])
        for column, values in zip(self._table, sampled, strict=True):
            column[self._rows, self._step] = values
        self.last.copy_(sampled[0])
        self._finished |= (self.last[:, None] == self._stop_ids).any(-1)
        self._step += 1

    def running(self) -> torch.Tensor:
        """Which of the rows of now have not finished, ascending. Waits for the device."""
        return (~self._finished).nonzero()[:, 0]

    def keep(self, rows: torch.Tensor) -> None:
        """Drops all rows but these (indices into the rows of now)."""
        self._rows, self._finished = self._rows[rows], self._finished[rows]
        self.last = self.last[rows]

    def responses(self, policy: Policy) -> list[Response]:
        tokens, logprobs, entropy = (column.cpu() for column in self._table)
        ends = torch.isin(tokens, self._stop_ids.cpu())
        finished = ends.any(1)
        lengths = torch.where(finished, ends.int().argmax(1) + 1, tokens.shape[1])
        return [
            Response(
                tokens[row, :length].clone(),
                logprobs[row, :length].clone(),
                entropy[row, :length].clone(),
                decode(policy.tokenizer, tokens[row, :length]),
                ended,
            )
            for row, (length, ended) in enumerate(
                zip(lengths.tolist(), finished.tolist(), strict=True)
            )
        ]


def _decode(
    policy: Policy,
    prompts: Sequence[Prompt],
    group_size: int,
    sampling: Sampling,
    seeds: list[int],
    pace: Pace,
) -> list[Response]:
    steps = sampling.max_new_tokens
    start = SharedDecoder if policy.shares_prefix else PaddedDecoder
    decoder = start(policy, prompts, group_size, room=steps - 1)
    uniforms = draw_uniforms(seeds, group_size, steps)
    draft = _Draft(policy, sampling, uniforms.shape[1], uniforms)
    draft.sample(decoder.states)
    step = Repeated(
        lambda: draft.sample(decoder.append(draft.last)),
        pace.recorder if decoder.recordable else None,
    )
    done, rows = 1, uniforms.shape[1]
    while done < steps and len(running := draft.running()):
        if pace.lets_go(rows - len(running), rows, done):
            decoder.keep(running)
            draft.keep(running)
            rows = len(running)
            step.forget()
        until = min(done + pace.look_every, steps)
        if decoder.reserve(until - 1, pace.block):
            step.forget()
        for _ in range(done, until):
            step()
        done = until
    return draft.responses(policy)
