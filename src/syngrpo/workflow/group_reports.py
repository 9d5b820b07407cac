"""What the main process learns of a group that any process has rolled out: small enough to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from syngrpo.method.ledger import token_span
from syngrpo.painting.prompt import clean_description
from syngrpo.policy.spans import scene_token_mask
from syngrpo.tasks import get_task
from syngrpo.workflow.groups import Group


@dataclass(frozen=True, eq=False)
class Description:
    """New surroundings that a response proposes, with what its reward will need: the response's
    tokens and sampling log-probabilities (L,), and the half-open range of its scene tokens."""

    text: str
    response: str
    token_ids: Tensor
    logprobs: Tensor
    scene_tokens: tuple[int, int]


@dataclass(frozen=True, eq=False)
class GroupReport:
    """``index`` is the group's place in the global batch; ``accuracy`` the mean of the group;
    ``paintable`` whether the sample has labelled objects that new surroundings can be painted
    around."""

    index: int
    sample_id: str
    task: str
    depth: int
    job_id: str | None
    diversity: float
    accuracy: float
    paintable: bool
    descriptions: list[Description]


def report_group(group: Group, tokenizer: Any, wanted: int) -> GroupReport:
    """The report of a group, with up to ``wanted`` of its descriptions."""
    return GroupReport(
        index=group.index,
        sample_id=group.drawn.sample.id,
        task=group.task,
        depth=group.drawn.sample.depth,
        job_id=group.drawn.job_id,
        diversity=group.diversity,
        accuracy=float(group.accuracy.mean()),
        paintable=bool(get_task(group.task).constraints(group.drawn.sample).keep),
        descriptions=_descriptions(group, tokenizer, wanted),
    )


def _descriptions(group: Group, tokenizer: Any, wanted: int) -> list[Description]:
    """Well formed and mutually different, in the random order of the responses."""
    found: dict[str, Description] = {}
    for response, parsed in zip(group.responses, group.parsed, strict=True):
        if len(found) == wanted:
            break
        if not parsed.well_formed or parsed.scene is None or parsed.scene_span is None:
            continue
        text = clean_description(parsed.scene)
        if text and text.casefold() not in found:
            mask = scene_token_mask(tokenizer, response.token_ids, parsed.scene_span)
            found[text.casefold()] = Description(
                text, response.text, response.token_ids, response.logprobs, token_span(mask)
            )
    return list(found.values())
