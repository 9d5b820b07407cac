"""Synthesis jobs: the plain data that trainer, queue and workers exchange, and their table.

A trainer submits a ``JobRequest``. A worker leases it as a ``Job``, and hands in ``Admitted`` or
``Rejected``. Then the trainer gets an ``Outcome``, and another pool that mirrors this one gets an
``EndedJob``. The functions below read and write the table ``jobs`` inside a transaction of the
caller.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal, NamedTuple

from syngrpo.pool.bundles import join_bundle
from syngrpo.pool.image_store import ImageFiles
from syngrpo.pool.stored_samples import select_samples
from syngrpo.sample import Sample

EndState = Literal["admitted", "rejected", "dead"]
_ENDED = "('admitted', 'rejected', 'dead')"
"""The states of jobs that have ended. A job that was dead and is queued again has a cursor, too."""


@dataclass(frozen=True)
class JobRequest:
    """A request to paint new surroundings. Two requests with the same first four fields are the
    same job.

    ``policy_version`` and ``response`` record which policy wrote the description and its whole
    response; None where no policy wrote it. ``bundle`` and ``bundle_size`` are the name of the
    job's bundle and the number of its jobs (see ``bundles``); None for a job without siblings.
    """

    parent_id: str
    description: str
    seed: int
    generator: str
    """Fingerprint of the generator that shall paint."""
    policy_version: int | None = None
    response: str | None = None
    bundle: str | None = None
    bundle_size: int | None = None

    @property
    def id(self) -> str:
        """The sha256 of the first four fields, hexadecimal."""
        key = json.dumps([self.parent_id, self.description, self.seed, self.generator])
        return hashlib.sha256(key.encode()).hexdigest()


def bundled(requests: Sequence[JobRequest]) -> list[JobRequest]:
    """Return the requests as one bundle. Its name depends on the jobs alone, so that a resumed run
    does not add other jobs to a bundle of before."""
    name = hashlib.sha256("".join(request.id for request in requests).encode()).hexdigest()
    return [replace(request, bundle=name, bundle_size=len(requests)) for request in requests]


def split_bundles(requests: Sequence[JobRequest]) -> Iterator[list[JobRequest]]:
    """Yield adjacent requests of one bundle and parent together, and every other request alone, in
    order."""
    for _, members in groupby(requests, lambda one: (one.bundle or one.id, one.parent_id)):
        yield list(members)


@dataclass(frozen=True)
class Job:
    """A job that a worker has leased. ``attempts`` includes this lease."""

    id: str
    parent_id: str
    description: str
    seed: int
    generator: str
    attempts: int


@dataclass(frozen=True)
class SubmitResult:
    """What the queue did with submitted requests: the ids it took (``accepted``), the ids it knew
    already (``duplicates``), how many were dropped because the queue is full or enough new samples
    wait to be measured (``dropped``), and how many name a parent that may not have more children
    (``refused``)."""

    accepted: list[str]
    duplicates: list[str]
    dropped: int
    refused: int


@dataclass(frozen=True)
class Admitted:
    """The result of a job whose image passed the gate. ``sample.parent`` is the job's parent;
    ``scores`` are the gate's, by name."""

    sample: Sample
    scores: dict[str, float]


@dataclass(frozen=True)
class Rejected:
    """The result of a job whose image the gate rejected: the name of the check that failed, and
    the gate's scores by name. ``picture`` is a small copy of the image for people to look at, if
    one was made."""

    reason: str
    scores: dict[str, float]
    picture: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Outcome:
    """How a job ended, for the trainer.

    ``cursor`` numbers the ended jobs of a pool from 1 in the order in which they ended.
    ``reason`` is the gate's reason for a rejected job, and the ``error_line`` of a dead job.
    """

    cursor: int
    job_id: str
    state: EndState
    sample_id: str | None
    reason: str | None


@dataclass(frozen=True)
class EndedJob:
    """How a job ended, with everything that another pool needs to record it as well.

    ``error`` is the traceback of the last failed attempt. ``sample`` is the new sample of an
    admitted job.
    """

    cursor: int
    request: JobRequest
    state: EndState
    attempts: int
    reason: str | None
    error: str | None
    scores: dict[str, float]
    sample: Sample | None


class JobRow(NamedTuple):
    """The row numbers of a leased job, of its parent and of the parent's seed, and the number of
    attempts so far."""

    number: int
    parent: int
    root: int
    attempts: int


def select_held(connection: sqlite3.Connection, job_id: str, worker: str) -> JobRow | None:
    """Return the job if this worker holds it, else None. An expired lease counts until it is taken
    back."""
    row = connection.execute(
        "SELECT number, parent, root, attempts FROM jobs "
        "WHERE id = ? AND state = 'leased' AND worker = ?",
        (job_id, worker),
    ).fetchone()
    return JobRow(*row) if row is not None else None


def job_state(connection: sqlite3.Connection, job_id: str) -> str | None:
    """Return the state of the job with this id, None if the pool has none."""
    row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row[0] if row is not None else None


def insert_job(connection: sqlite3.Connection, job: JobRequest, parent: tuple[int, int]) -> None:
    """Add a queued job. ``parent`` holds the row numbers of the parent and of the parent's seed."""
    connection.execute(
        "INSERT INTO jobs (id, parent, root, description, seed, generator, policy_version, "
        "response, bundle, bundle_size, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued')",
        (
            *(job.id, *parent, job.description, job.seed, job.generator),
            *(job.policy_version, job.response, job.bundle, job.bundle_size),
        ),
    )


def end_job(
    connection: sqlite3.Connection,
    number: int,
    state: str,
    *,
    reason: str | None = None,
    scores: str | None = None,
    error: str | None = None,
) -> None:
    """Set the final state and the next cursor of the job with this row number, and update its
    bundle. The sample of an admitted job must have been inserted before.

    ``scores`` is JSON. If ``error`` is None, the error recorded before stays. So does the name of
    the worker, which tells afterwards who has painted what.
    """
    connection.execute(
        "UPDATE jobs SET state = ?, reason = ?, scores = ?, error = COALESCE(?, error), "
        "lease_until = NULL, "
        "cursor = (SELECT COALESCE(MAX(cursor), 0) + 1 FROM jobs WHERE cursor IS NOT NULL) "
        "WHERE number = ?",
        (state, reason, scores, error, number),
    )
    join_bundle(connection, number)


def check_descent(connection: sqlite3.Connection, sample: Sample, parent: int) -> None:
    """Raise ValueError unless the sample is a child of the sample with row number ``parent``."""
    parent_id, depth = connection.execute(
        "SELECT id, depth FROM samples JOIN standing USING (number) WHERE number = ?", (parent,)
    ).fetchone()
    if (sample.parent, sample.depth) != (parent_id, depth + 1):
        raise ValueError(
            f"sample {sample.id} has parent {sample.parent} and depth {sample.depth}; "
            f"its job says {parent_id} and {depth + 1}"
        )


def select_outcomes(connection: sqlite3.Connection, after: int) -> list[Outcome]:
    """Return the jobs that ended after the one with cursor ``after``, in the order of cursors."""
    rows = connection.execute(
        "SELECT j.cursor, j.id, j.state, s.id, j.reason, j.error "
        "FROM jobs j LEFT JOIN samples s ON s.job = j.id "
        f"WHERE j.cursor > ? AND j.state IN {_ENDED} ORDER BY j.cursor",
        (after,),
    ).fetchall()
    return [
        Outcome(cursor, job, state, sample, error_line(error) if state == "dead" else reason)
        for cursor, job, state, sample, reason, error in rows
    ]


def select_ended(
    connection: sqlite3.Connection, images: ImageFiles, after: int, limit: int, admitted: bool
) -> list[EndedJob]:
    """Return the first ``limit`` jobs that ended after the one with cursor ``after``, in order.
    With ``admitted`` return only those whose sample was admitted."""
    which = "j.state = 'admitted'" if admitted else f"j.state IN {_ENDED}"
    rows = connection.execute(
        "SELECT j.id, j.cursor, p.id, j.description, j.seed, j.generator, j.policy_version, "
        "j.response, j.bundle, j.bundle_size, j.state, j.attempts, j.reason, j.error, j.scores "
        "FROM jobs j JOIN samples p ON p.number = j.parent "
        f"WHERE j.cursor > ? AND {which} ORDER BY j.cursor LIMIT ?",
        (after, limit),
    ).fetchall()
    ids = json.dumps([row[0] for row in rows if row[10] == "admitted"])
    where = "s.job IN (SELECT value FROM json_each(?))"
    samples = {one.job_id: one.sample for one in select_samples(connection, images, where, (ids,))}
    return [
        EndedJob(
            cursor=cursor,
            request=JobRequest(*asked),
            state=state,
            attempts=attempts,
            reason=reason,
            error=error,
            scores=json.loads(scores) if scores else {},
            sample=samples.get(job),
        )
        for job, cursor, *asked, state, attempts, reason, error, scores in rows
    ]


def select_failures(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the errors of the dead jobs and how many jobs each has ended, the most frequent
    first."""
    rows = connection.execute(
        "SELECT error, COUNT(*) FROM jobs WHERE state = 'dead' GROUP BY error ORDER BY 2 DESC"
    )
    return dict(rows.fetchall())


def error_line(error: str) -> str:
    """Return the line of a traceback that says what was raised, and the first line of any other
    error."""
    _, frame, rest = error.rpartition("\n  File ")
    lines = rest.splitlines()[1:] if frame else error.splitlines()
    raised = (line for line in lines if line.strip() and not line.startswith(" "))
    return next(raised, "")
