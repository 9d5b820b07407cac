"""Builds the rows of one update from scored groups and settled descriptions.

A row is a prompt with all responses to it that the update learns from. Each response has an
advantage for every token (``CreditedSegment``). The trainer calls ``update_rows`` once a step and
hands the rows to the learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from syngrpo.data_server.description_rewards import Settled
from syngrpo.method.advantages import kl_weights, span_credit
from syngrpo.method.base import Method
from syngrpo.policy.encode import Prompt
from syngrpo.policy.spans import scene_token_mask
from syngrpo.workflow.groups import Group
from syngrpo.workflow.prompt_cache import PromptCache
from syngrpo.workflow.response_credit import Credit


@dataclass(frozen=True, eq=False)
class CreditedSegment:
    """One response in the update. All tensors have the shape (L,), one value for each token.

    ``mask`` (bool) marks the tokens in the loss. ``beta`` is the weight of the KL term, 0 for
    settled responses.
    """

    token_ids: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    beta: Tensor
    settled: bool


@dataclass(eq=False)
class UpdateRow:
    """One prompt with all responses to it that this update learns from."""

    prompt: Prompt
    segments: list[CreditedSegment] = field(default_factory=list)


def fresh_row(
    group: Group, credits: Sequence[Credit], tokenizer: object, method: Method
) -> UpdateRow:
    """Return the row of a group: its prompt and its responses with their advantages.

    The accuracy advantage is on all tokens before the scene, the format advantage on every token,
    and that of each custom reward on the tokens it is about.
    """
    options = method.options
    advantages = [(credit.advantages, credit.on) for credit in credits]
    row = UpdateRow(group.prompt)
    for i, (response, parsed) in enumerate(zip(group.responses, group.parsed, strict=True)):
        mask = scene_token_mask(tokenizer, response.token_ids, parsed.scene_span or (0, 0))
        scene = mask.numpy()
        row.segments.append(
            CreditedSegment(
                token_ids=response.token_ids,
                old_logprobs=response.logprobs,
                advantages=torch.from_numpy(
                    span_credit(scene, [(float(values[i]), on) for values, on in advantages])
                ),
                mask=torch.ones_like(mask),
                beta=torch.from_numpy(kl_weights(scene, options.beta, options.kl_on_scene)),
                settled=False,
            )
        )
    return row


def settled_segment(settled: Settled) -> CreditedSegment:
    """Return the segment of the response that wrote the description.

    Only its scene tokens are in the loss; their advantage is ρ times its weight.
    """
    pending = settled.pending
    scene = pending.scene_mask
    return CreditedSegment(
        token_ids=torch.from_numpy(pending.token_ids),
        old_logprobs=torch.from_numpy(pending.logprobs),
        advantages=torch.from_numpy(settled.advantages),
        mask=torch.from_numpy(scene),
        beta=torch.zeros(len(scene)),
        settled=True,
    )


def update_rows(
    groups: Sequence[Group],
    credits: Sequence[Sequence[Credit]],
    settled: Sequence[Settled],
    prompts: PromptCache,
    tokenizer: object,
    method: Method,
) -> list[UpdateRow]:
    """Return a row for each group, and add each settled segment to the row of its prompt.

    ``credits`` are those of each group. A settled description whose prompt is in no group gets a
    row of its own. Raises InputError as
    ``PromptCache.take`` does.
    """
    pairs = zip(groups, credits, strict=True)
    rows = [fresh_row(group, own, tokenizer, method) for group, own in pairs]
    places = {row.prompt.sample_id: row for row in rows}
    elsewhere = {item.parent.id: item.parent for item in settled if item.parent.id not in places}
    for prompt in prompts.take(list(elsewhere.values())):
        places[prompt.sample_id] = UpdateRow(prompt)
        rows.append(places[prompt.sample_id])
    for item in settled:
        segment = settled_segment(item)
        places[item.parent.id].segments.append(segment)
    return rows


def count_fresh(rows: Sequence[UpdateRow]) -> tuple[int, int]:
    """Return the number of fresh responses and the number of their tokens in the loss."""
    fresh = [segment for row in rows for segment in row.segments if not segment.settled]
    return len(fresh), sum(int(segment.mask.sum()) for segment in fresh)
