"""Both ends of the queue as those see it who do not care where it is: beside them, or behind HTTP.

A worker takes leased jobs from a ``JobSource``; the trainer's client hands jobs to a ``JobSink``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from syngrpo.data_server.counts import SubmitCounts
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.settings import Canvas
from syngrpo.pool.jobs import Job, JobRequest, Rejected
from syngrpo.pool.records import Observation
from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import Constraints


class Unavailable(Exception):  # noqa: N818
    """The other side cannot be reached, or is too busy, now: try again later."""


@dataclass(frozen=True)
class Leased:
    """A job with all that a worker needs: no pool.

    ``siblings`` are perceptual hashes of the parent's other children. ``run`` is the namespace
    that the job is of, empty beside the pool.
    """

    job: Job
    parent: Sample
    constraints: Constraints
    siblings: Sequence[bytes] = ()
    thresholds: GateThresholds = field(default_factory=GateThresholds)
    canvas: Canvas = field(default_factory=Canvas)
    lease_s: float = 30.0
    run: str = ""


@dataclass(frozen=True)
class Painted:
    """A picture that passed the gate: as it will be stored, the exact prompt, its perceptual hash,
    every score, and by how many pixels its objects are further right than the parent's."""

    image: EncodedImage
    prompt: str
    hash: bytes
    scores: dict[str, float]
    right: int = 0


Result = Painted | Rejected


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
