"""Finds the responses from which an update learns nothing, so that they are not computed.

A response has no signal if none of its tokens has an advantage or a weight of the KL: the gradient
of its loss is 0. ``with_signal`` leaves such responses out of the passes, and the prompts of which
no response is left. Nothing else changes: they still count in the divisor of the loss.
``drop_silent_groups`` leaves whole groups out, also of the divisor (``method.drop_zero_variance``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syngrpo.workflow.groups import Group
from syngrpo.workflow.token_choice import Chosen
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow


def with_signal(rows: Sequence[UpdateRow], chosen: Chosen) -> list[UpdateRow]:
    """Return the rows with the responses that have a signal. ``chosen`` are tokens whose loss is
    more than that of their advantage."""
    parts = [
        replace(row, segments=[s for s in row.segments if _has_signal(s) or s in chosen])
        for row in rows
    ]
    return [row for row in parts if row.segments]


def shortest(rows: Sequence[UpdateRow]) -> list[UpdateRow]:
    """Return the row of the shortest response with its prompt, alone; [] without any."""
    pairs = [(row, segment) for row in rows for segment in row.segments]
    if not pairs:
        return []
    row, segment = min(pairs, key=lambda p: len(p[0].prompt.input_ids) + len(p[1].token_ids))
    return [replace(row, segments=[segment])]


def drop_silent_groups(
    groups: Sequence[Group], rows: Sequence[UpdateRow]
) -> tuple[list[Group], list[UpdateRow]]:
    """Leave out the groups of which no fresh response has an advantage; settled descriptions of
    their prompts stay. The first rows are those of the groups, in their order, also in the
    result."""
    kept: list[tuple[Group, UpdateRow]] = []
    others = list(rows[len(groups) :])
    for group, row in zip(groups, rows, strict=False):
        if any(_has_advantage(one) for one in row.segments if not one.settled):
            kept.append((group, row))
        elif settled := [one for one in row.segments if one.settled]:
            others.append(replace(row, segments=settled))
    return [group for group, _ in kept], [*(row for _, row in kept), *others]


def _has_advantage(segment: CreditedSegment) -> bool:
    return bool((segment.advantages[segment.mask] != 0).any())


def _has_signal(segment: CreditedSegment) -> bool:
    return _has_advantage(segment) or bool((segment.beta[segment.mask] != 0).any())
