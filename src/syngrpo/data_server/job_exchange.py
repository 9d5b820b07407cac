"""The two ends of the job queue, wherever the queue is: beside its user, or behind HTTP.

A worker takes leased jobs from a ``JobSource``; the trainer's client hands new jobs to a
``JobSink``. ``pool_jobs`` has both for a pool of the same host; ``remote_jobs`` and ``server_sink``
have them for a data server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from syngrpo.painting.painter import Failed, HandedBack, Painter
from syngrpo.painting.painting_request import PaintingRequest, Result
from syngrpo.pool.jobs import JobRequest, SubmitResult
from syngrpo.pool.stored_samples import Observation


@dataclass(frozen=True)
class Leased(PaintingRequest):
    """A leased job with all that a worker needs; a worker needs no pool.

    ``lease_s`` is how many seconds the lease lasts unless renewed. ``run`` is the name of the run
    on the data server, empty beside the pool.
    """

    lease_s: float = 30.0
    run: str = ""


class JobSource(Protocol):
    """Where a worker's jobs come from. Every method may raise Unavailable, and InputError for what
    a user has to correct."""

    def lease(self, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs. May wait a second for the first."""
        ...

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        """Renew leases."""
        ...

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        """Hand in results. Those of jobs whose lease was lost are ignored."""
        ...

    def fail(self, leased: Leased, error: str) -> None:
        """Give a job back after an error, with its traceback."""
        ...

    def release(self, leased: Sequence[Leased]) -> None:
        """Give back jobs that were not tried. This does not count as an attempt."""
        ...


@dataclass(frozen=True)
class SubmitCounts:
    """Numbers of jobs that the queue took (``submitted``) and did not take (``dropped``): there was
    no room, or the parent may not have more children. ``dropped_ids`` are the ids of the latter,
    which will never have an outcome. A job that the queue knew already is in neither number.
    """

    submitted: int = 0
    dropped: int = 0
    dropped_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, requests: Sequence[JobRequest], result: SubmitResult) -> SubmitCounts:
        """The counts of one submission."""
        taken = {*result.accepted, *result.duplicates}
        dropped = tuple(request.id for request in requests if request.id not in taken)
        return cls(len(result.accepted), len(dropped), dropped)

    def __add__(self, other: SubmitCounts) -> SubmitCounts:
        return SubmitCounts(
            self.submitted + other.submitted,
            self.dropped + other.dropped,
            self.dropped_ids + other.dropped_ids,
        )


class JobSink(Protocol):
    """Where the trainer's jobs and measurements go."""

    def send(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        """Pass on measurements and jobs. A record that was sent before changes nothing.

        Raises an error that happened in the background since the last call.
        """
        ...

    def counts(self) -> list[SubmitCounts]:
        """Return what became of submitted jobs, as far as it was learned since the last call."""
        ...

    def close(self) -> None: ...


def run_job(painter: Painter, source: JobSource, leased: Leased) -> bool:
    """Paint one leased job and report it. Return False when it failed or was handed back.

    Raises InputError when the disk is too full for the result; the job then stays leased.
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
