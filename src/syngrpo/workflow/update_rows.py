"""From scored groups and settled descriptions to the rows of one update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from syngrpo.config import MethodConfig
from syngrpo.method.advantages import (
    Scale,
    accuracy_advantages,
    format_advantages,
    kl_weights,
    settled_credit,
    span_credit,
)
from syngrpo.method.ledger import PendingDescription
from syngrpo.policy.encode import Prompt
from syngrpo.policy.spans import scene_token_mask
from syngrpo.sample import Sample
from syngrpo.workflow.groups import Group
from syngrpo.workflow.prompt_cache import Prompts


@dataclass(frozen=True, eq=False)
class CreditedSegment:
    """One response in the update; all tensors (L,). ``mask`` bool: the tokens in the loss;
    ``beta``: weights of the KL term, which settled ones do not have."""

    token_ids: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    beta: Tensor
    settled: bool


@dataclass(eq=False)
class UpdateRow:
    """One prompt with every response to it that this update learns from."""

    prompt: Prompt
    segments: list[CreditedSegment] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Settled:
    """A description whose image was just measured, its parent sample, and its reward ρ."""

    parent: Sample
    pending: PendingDescription
    reward: float


def fresh_row(group: Group, tokenizer: object, method: MethodConfig) -> UpdateRow:
    """The group's own responses: accuracy advantage outside the scene, format everywhere."""
    scale: Scale = "none" if method.loss == "dr_grpo" else "group"
    accuracy = accuracy_advantages(group.accuracy, method.advantage_floor, scale)
    form = format_advantages(group.format, method.format_weight, method.advantage_floor, scale)
    row = UpdateRow(group.prompt)
    for i, (response, parsed) in enumerate(zip(group.responses, group.parsed, strict=True)):
        span = parsed.scene_span or (0, 0)
        scene = scene_token_mask(tokenizer, response.token_ids, span)
        row.segments.append(
            CreditedSegment(
                token_ids=response.token_ids,
                old_logprobs=response.logprobs,
                advantages=span_credit(scene, float(accuracy[i]), float(form[i])),
                mask=torch.ones_like(scene),
                beta=kl_weights(scene, method.beta, method.kl_on_scene),
                settled=False,
            )
        )
    return row


def settled_segment(settled: Settled, weight: float) -> CreditedSegment:
    """The response that wrote the description: its scene tokens alone carry ρ."""
    pending = settled.pending
    return CreditedSegment(
        token_ids=pending.token_ids,
        old_logprobs=pending.logprobs,
        advantages=settled_credit(pending.scene_mask, settled.reward, weight),
        mask=pending.scene_mask,
        beta=torch.zeros(len(pending.scene_mask)),
        settled=True,
    )


def update_rows(
    groups: Sequence[Group],
    settled: Sequence[Settled],
    prompts: Prompts,
    tokenizer: object,
    method: MethodConfig,
) -> list[UpdateRow]:
    """Every group's row, and settled segments beside their own prompt where that is among them
    anyway; else in a row of their own. Raises InputError as ``Prompts.take`` does."""
    rows = [fresh_row(group, tokenizer, method) for group in groups]
    places = {row.prompt.sample_id: row for row in rows}
    elsewhere = {item.parent.id: item.parent for item in settled if item.parent.id not in places}
    for prompt in prompts.take(list(elsewhere.values())):
        places[prompt.sample_id] = UpdateRow(prompt)
        rows.append(places[prompt.sample_id])
    for item in settled:
        segment = settled_segment(item, method.diversity_weight)
        places[item.parent.id].segments.append(segment)
    return rows


def count_fresh(rows: Sequence[UpdateRow]) -> tuple[int, int]:
    """Fresh responses and their tokens in the loss."""
    fresh = [segment for row in rows for segment in row.segments if not segment.settled]
    return len(fresh), sum(int(segment.mask.sum()) for segment in fresh)
