"""Both ends of the queue as those see it who do not care where it is: beside them, or behind HTTP.

A worker takes leased jobs from a ``JobSource``; the trainer's client hands jobs to a ``JobSink``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from syngrpo.data_server.counts import SubmitCounts
from syngrpo.painting.painter import Failed, HandedBack, Painter
from syngrpo.painting.painting_request import PaintingRequest, Result
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import Observation


@dataclass(frozen=True)
class Leased(PaintingRequest):
    """A leased job with all that a worker needs: no pool.

    ``lease_s`` is how long the lease lasts in seconds unless renewed. ``run`` is the namespace that
    the job is of, empty beside the pool.
    """

    lease_s: float = 30.0
    run: str = ""


class JobSource(Protocol):
    """Where a worker's jobs come from. Every method may raise Unavailable, and InputError for what
    a user has to correct."""

    def lease(self, count: int) -> list[Leased]:
        """Up to ``count`` jobs; may wait a moment for one."""
        ...

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        """Renews leases."""
        ...

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        """Hands results in. Those of leases that were lost are passed over."""
        ...

    def fail(self, leased: Leased, error: str) -> None:
        """Gives a job back after an error, with its traceback."""
        ...

    def release(self, leased: Sequence[Leased]) -> None:
        """Gives jobs back that were not tried; that counts as no attempt."""
        ...


class JobSink(Protocol):
    """Where the trainer's jobs and measurements go."""

    def hand_on(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        """Takes a record twice without harm. Raises what went wrong in the background."""
        ...

    def counts(self) -> list[SubmitCounts]:
        """What became of handed on jobs, as far as was learned since the last call."""
        ...

    def close(self) -> None: ...


def run_job(painter: Painter, source: JobSource, leased: Leased) -> bool:
    """Paints one leased job and reports it; False when it failed or was handed back.

    A disk too full for the result raises InputError and leaves the job to its lease.
    """
    result = painter.paint(leased)
    if isinstance(result, Failed):
        source.fail(leased, result.error)
    elif isinstance(result, HandedBack):
        source.release([leased])
    else:
        source.complete([(leased, result)])
        return True
    return False
