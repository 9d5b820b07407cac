"""What became of submitted jobs, as far as the queue can tell at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syngrpo.pool.jobs import JobRequest, SubmitResult


@dataclass(frozen=True)
class SubmitCounts:
    """Jobs that the queue took, and those it did not: no room, or a parent that may not have more
    children. ``dropped_ids`` are the latter's; they will never have an outcome.

    The asynchronous client counts what it learned since the call before, so its numbers are those
    of earlier submissions; over a run they add up to the same.
    """

    submitted: int = 0
    dropped: int = 0
    dropped_ids: tuple[str, ...] = ()

    def __add__(self, other: SubmitCounts) -> SubmitCounts:
        return SubmitCounts(
            self.submitted + other.submitted,
            self.dropped + other.dropped,
            self.dropped_ids + other.dropped_ids,
        )


def count_submitted(requests: Sequence[JobRequest], result: SubmitResult) -> SubmitCounts:
    """Counts of one submission. A job that the queue knew already is in neither."""
    taken = {*result.accepted, *result.duplicates}
    dropped = tuple(request.id for request in requests if request.id not in taken)
    return SubmitCounts(len(result.accepted), len(dropped), dropped)
