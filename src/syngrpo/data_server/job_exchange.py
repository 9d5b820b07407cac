"""The protocols by which workers and trainers use the queue of jobs.

A worker leases jobs from a ``JobSource``. The trainer's client sends new jobs to a ``JobSink``.
``pool_jobs`` implements both for a pool on the same host. For a data server on any host
``remote_jobs`` implements the first, ``server_sink`` the second.
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
    """A leased job with all data that a worker needs, so that it needs no pool.

    ``lease_s`` is the number of seconds until the lease expires. ``run`` is the name of the run on
    the data server, empty without a server.
    """

    lease_s: float = 30.0
    run: str = ""


class JobSource(Protocol):
    """Gives jobs to a worker. Every method may raise Unavailable, and InputError for an error that
    the user has to fix."""

    def lease(self, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs. May wait up to a second for the first."""
        ...

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        """Renew leases."""
        ...

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        """Hand in results. The results of jobs whose lease was lost are ignored."""
        ...

    def fail(self, leased: Leased, error: str) -> None:
        """Give a job back after an error. ``error`` is the traceback."""
        ...

    def release(self, leased: Sequence[Leased]) -> None:
        """Give back jobs that were not tried. This does not count as an attempt."""
        ...


@dataclass(frozen=True)
class SubmitCounts:
    """How many jobs the queue took (``submitted``) and did not take (``dropped``).

    A job is dropped if there is no room or its parent may not have more children. ``dropped_ids``
    are the ids of the dropped jobs, which never have an outcome. A job that the queue had already
    is in neither number.
    """

    submitted: int = 0
    dropped: int = 0
    dropped_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, requests: Sequence[JobRequest], result: SubmitResult) -> SubmitCounts:
        """Return the counts of one submission."""
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
    """Takes jobs and measurements from the trainer.

    ``away``: whether the server behind it did not answer the last request.
    """

    away: bool

    def send(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        """Pass on measurements and jobs. A record that was sent before is ignored.

        Raises an error that has occurred in the background since the last call.
        """
        ...

    def counts(self) -> list[SubmitCounts]:
        """Return the counts of submitted jobs that were learned since the last call."""
        ...

    def close(self) -> None: ...


def run_job(painter: Painter, source: JobSource, leased: Leased) -> bool:
    """Paint one leased job and report the result. Return False if it failed or was handed back.

    Raises InputError when the disk is too full for the result. The job then stays leased.
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
