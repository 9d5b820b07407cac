"""Scores responses: computes their log-probabilities under the policy or its reference.

A row is a prompt followed by all segments (responses) to score. The vision tower and the prompt
are computed once for each row, and every segment continues the prompt's rotary positions as if it
were alone. For a model that cannot share a prompt, ``padded.py`` computes the same numbers from
padded rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from syngrpo.policy.distribution import LOGITS_BYTES, score_tokens
from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import forward_packed
from syngrpo.policy.model import Policy
from syngrpo.policy.padded import padded_states


@dataclass(frozen=True, eq=False)
class Segment:
    """One continuation of a prompt: ``token_ids`` int64 (L,), L ≥ 1, on the CPU.

    ``scored``, bool (L,) on the CPU, marks the tokens of which log-probabilities are wanted; None:
    all. The vocabulary is not computed for the others.
    """

    token_ids: torch.Tensor
    scored: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class PackedRow:
    """A prompt and everything to score after it."""

    prompt: Prompt
    segments: list[Segment]


@dataclass(frozen=True, eq=False)
class SegmentLogprobs:
    """Per token of a segment: log-probability (L,) and, if it was asked for, entropy in nats (L,),
    float32. Both are 0 for tokens that are not to be scored."""

    logprobs: torch.Tensor
    entropy: torch.Tensor | None = None


def segment_logprobs(
    policy: Policy,
    rows: Sequence[PackedRow],
    temperature: float = 1.0,
    reference: bool = False,
    logits_bytes: int = LOGITS_BYTES,
    with_entropy: bool = False,
) -> list[list[SegmentLogprobs]]:
    """Score every segment under the sampling distribution at ``temperature``. Differentiable.

    ``reference``: score under the frozen reference instead, without gradients. A prompt that is
    kept (``kept_prompts``) is not computed again for the policy. ``with_entropy``:
    compute the entropies, too, which costs more passes over the logits. Rows may differ in
    length and in their number of segments. At most ``logits_bytes`` of float32 logits are in memory
    at once. Raises ValueError for an empty segment and for one that holds a banned token, because
    the model would take an image placeholder for an image.
    """
    _check(policy, rows)
    if reference:
        with torch.no_grad(), policy.as_reference() as model:
            return _score(policy, model, rows, temperature, logits_bytes, with_entropy)
    base = policy.base
    return _score(policy, base, rows, temperature, logits_bytes, with_entropy, from_kept=True)


def _check(policy: Policy, rows: Sequence[PackedRow]) -> None:
    banned = policy.banned.cpu()
    for row in rows:
        for segment in row.segments:
            where = f"a segment of sample {row.prompt.sample_id}"
            if len(segment.token_ids) == 0:
                raise ValueError(f"{where} is empty")
            found = segment.token_ids[torch.isin(segment.token_ids, banned)]
            if len(found):
                raise ValueError(f"{where} holds the banned token {int(found[0])}")


def _score(
    policy: Policy,
    model: Any,
    rows: Sequence[PackedRow],
    temperature: float,
    logits_bytes: int,
    with_entropy: bool,
    from_kept: bool = False,
) -> list[list[SegmentLogprobs]]:
    prompts = [row.prompt for row in rows]
    segments = [[s.token_ids for s in row.segments] for row in rows]
    if policy.shares_prefix:
        states = _packed_states(policy, model, prompts, segments, from_kept)
    else:
        states = padded_states(policy, model, prompts, segments)
    tokens = torch.cat([token_ids for row in segments for token_ids in row])
    scored_places = _scored_places(rows)
    if scored_places is not None:
        states = states.index_select(0, scored_places.to(policy.device))
        tokens = tokens[scored_places]
    logprobs, entropy = score_tokens(
        model.get_output_embeddings(),
        states,
        tokens.to(policy.device),
        policy.banned,
        temperature,
        logits_bytes,
        with_entropy,
    )
    sizes = [len(s.token_ids) for row in rows for s in row.segments]
    if scored_places is not None:
        logprobs = _spread(logprobs, scored_places, sum(sizes))
        entropy = None if entropy is None else _spread(entropy, scored_places, sum(sizes))
    entropies = [None] * len(sizes) if entropy is None else entropy.split(sizes)
    scored = iter(
        SegmentLogprobs(*pair) for pair in zip(logprobs.split(sizes), entropies, strict=True)
    )
    return [[next(scored) for _ in row.segments] for row in rows]


def _scored_places(rows: Sequence[PackedRow]) -> torch.Tensor | None:
    """Return the places of the tokens to score among all tokens of the segments, in order; None:
    all of them."""
    marks = torch.cat(
        [
            torch.ones(len(s.token_ids), dtype=torch.bool) if s.scored is None else s.scored
            for row in rows
            for s in row.segments
        ]
    )
    return None if marks.all() else marks.nonzero()[:, 0]


def _spread(values: torch.Tensor, places: torch.Tensor, count: int) -> torch.Tensor:
    """Return (count,) with the values at these places, and 0 elsewhere."""
    return values.new_zeros(count).index_copy(0, places.to(values.device), values)


def _packed_states(
    policy: Policy,
    model: Any,
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[torch.Tensor]],
    from_kept: bool,
) -> torch.Tensor:
    """Return the hidden states (N, d) that predict each token of each response, in order."""
    # The last token of a response predicts no other, so the model does not compute it.
    inputs = [[response[:-1] for response in own] for own in responses]
    computed = forward_packed(policy, model, prompts, inputs, from_kept=from_kept)
    places = []
    for last, start, own in zip(computed.last, computed.first, inputs, strict=True):
        for response in own:
            places += [torch.tensor([last]), torch.arange(start, start + len(response))]
            start += len(response)
    # As embeddings, because the responses of a group share the last place of their prompt: plain
    # indexing adds up the gradients of a place in the order in which threads come to it.
    return torch.nn.functional.embedding(torch.cat(places).to(policy.device), computed.hidden)
