"""Which rows of an update share a forward pass, by a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow


def count_tokens(row: UpdateRow, shares_prefix: bool = True) -> int:
    """Tokens that one row puts into the forward pass: its prompt once, then every response.

    Where the prompt cannot be shared it counts once a response.
    """
    prompt = len(row.prompt.input_ids)
    copies = 1 if shares_prefix else len(row.segments)
    return copies * prompt + sum(len(segment.token_ids) for segment in row.segments)


def micro_batches(
    rows: Sequence[UpdateRow], budget: int, shares_prefix: bool = True
) -> list[list[UpdateRow]]:
    """Rows of any lengths in as few micro-batches of at most ``budget`` tokens as first-fit finds,
    the longest rows first (the same rows give the same micro-batches).

    A row that is longer than the budget is split, its prompt repeated; a single response that does
    not fit stands alone. The losses of the parts add up to the same whole.
    """
    parts = [part for row in rows for part in _split(row, budget, shares_prefix)]
    parts.sort(key=lambda part: -count_tokens(part, shares_prefix))
    batches: list[list[UpdateRow]] = []
    room: list[int] = []
    for part in parts:
        size = count_tokens(part, shares_prefix)
        place = next((i for i, left in enumerate(room) if size <= left), None)
        if place is None:
            batches.append([part])
            room.append(budget - size)
        else:
            batches[place].append(part)
            room[place] -= size
    return batches


def _split(row: UpdateRow, budget: int, shares_prefix: bool) -> Iterator[UpdateRow]:
    segments: list[CreditedSegment] = []
    for segment in row.segments:
        longer = replace(row, segments=[*segments, segment])
        if segments and count_tokens(longer, shares_prefix) > budget:
            yield replace(row, segments=segments)
            segments = []
        segments = [*segments, segment]
    if segments:
        yield replace(row, segments=segments)
