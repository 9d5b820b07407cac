"""What an engine samples, before a tokenizer has read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.loading import Policy
from syngrpo.policy.spans import decode
from syngrpo.rollout.native import Response
from syngrpo.rollout.sampling import Sampling
from syngrpo.sample import InputError


@dataclass(frozen=True, eq=False)
class Sampled:
    """One response on the CPU: ``token_ids`` int64 (L,), with the end token if it was reached;
    ``logprobs`` and ``entropy`` float32 (L,) of the sampling distribution."""

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor


class Engine(Protocol):
    """Samples for whoever adds prompts; one thread calls it.

    ``max_length``: tokens of a prompt and its response, at most.
    """

    max_length: int

    def take_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replaces all weights, under the names of a checkpoint. Nothing may be under way."""

    def begin(self, policy: Policy, temperature: float) -> None:
        """Whatever is added next is sampled so, the policy's banned tokens ruled out. Nothing may
        be under way."""

    def add(self, policy: Policy, prompt: Prompt, sampling: Sampling, count: int, seed: int) -> int:
        """Begins with ``count`` responses, which end at the policy's ``stop_ids``; returns the
        number by which ``step`` and ``drop`` call them. The policy's weights mean nothing here."""

    def step(self) -> dict[int, list[Sampled]]:
        """Goes on with all that was added, for a token or more; what is finished now."""

    def drop(self, numbers: Iterable[int]) -> None:
        """Forgets what is not finished."""


def count_of(sampling: Sampling, group_size: int) -> int:
    """How many responses to sample for a group: greedy ones to one prompt are all alike."""
    return group_size if sampling.temperature > 0 else 1


def respond(policy: Policy, group: Sequence[Sampled], group_size: int) -> list[Response]:
    """A group of responses from what was sampled for it."""
    read = [
        Response(
            one.token_ids,
            one.logprobs,
            one.entropy,
            decode(policy.tokenizer, one.token_ids),
            int(one.token_ids[-1]) in policy.stop_ids,
        )
        for one in group
    ]
    return read * (group_size // len(read))


def require_room(
    policy: Policy, prompt: Prompt, sampling: Sampling, max_length: int, setting: str
) -> None:
    """Raises InputError where prompt and response would be longer than the model's context, or
    than ``max_length``, which is a ``setting``."""
    size, new = size_of(policy, prompt), sampling.max_new_tokens
    require_context(policy, prompt.sample_id, size, new)
    if size.tokens + new > max_length:
        raise InputError(
            f"the prompt of sample {prompt.sample_id} has {size.tokens} tokens, with "
            f"rollout.max_new_tokens {new} more than {setting} {max_length}; set it to "
            f"{size.tokens + new}"
        )
