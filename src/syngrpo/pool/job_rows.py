"""Jobs as rows of the database."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from syngrpo.pool.image_store import ImageFiles
from syngrpo.pool.jobs import EndedJob, JobRequest, Outcome
from syngrpo.pool.rows import select_samples
from syngrpo.sample import Sample


class Held(NamedTuple):
    """A job that a worker holds: its number, its parent's and its seed's."""

    number: int
    parent: int
    root: int
    attempts: int


def held(connection: sqlite3.Connection, job_id: str, worker: str) -> Held | None:
    """The job, if this worker holds it. A lease that ran out counts until it is taken back."""
    row = connection.execute(
        "SELECT number, parent, root, attempts FROM jobs "
        "WHERE id = ? AND state = 'leased' AND worker = ?",
        (job_id, worker),
    ).fetchone()
    return Held(*row) if row is not None else None


def known(connection: sqlite3.Connection, job_id: str) -> bool:
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None


def insert_job(connection: sqlite3.Connection, job: JobRequest, parent: tuple[int, int]) -> None:
    """Adds a queued job; ``parent`` is (number of the parent, number of its seed)."""
    connection.execute(
        "INSERT INTO jobs (id, parent, root, description, seed, generator, policy_version, "
        "response, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued')",
        (
            *(job.id, *parent, job.description, job.seed, job.generator),
            *(job.policy_version, job.response),
        ),
    )


def finish(
    connection: sqlite3.Connection,
    number: int,
    state: str,
    *,
    reason: str | None = None,
    scores: str | None = None,
    error: str | None = None,
) -> None:
    """Gives a job its final state and the next cursor."""
    connection.execute(
        "UPDATE jobs SET state = ?, reason = ?, scores = ?, error = COALESCE(?, error), "
        "worker = NULL, lease_until = NULL, "
        "cursor = (SELECT COALESCE(MAX(cursor), 0) + 1 FROM jobs WHERE cursor IS NOT NULL) "
        "WHERE number = ?",
        (state, reason, scores, error, number),
    )


def check_descent(connection: sqlite3.Connection, sample: Sample, parent: int) -> None:
    parent_id, depth = connection.execute(
        "SELECT id, depth FROM samples JOIN standing USING (number) WHERE number = ?", (parent,)
    ).fetchone()
    if (sample.parent, sample.depth) != (parent_id, depth + 1):
        raise ValueError(
            f"sample {sample.id} has parent {sample.parent} and depth {sample.depth}; "
            f"its job says {parent_id} and {depth + 1}"
        )


def last_line(error: str) -> str:
    lines = error.strip().splitlines()
    return lines[-1] if lines else ""


def select_outcomes(connection: sqlite3.Connection, after: int) -> list[Outcome]:
    """What ended since the outcome with cursor ``after``, in order."""
    rows = connection.execute(
        "SELECT j.cursor, j.id, j.state, s.id, j.reason, j.error "
        "FROM jobs j LEFT JOIN samples s ON s.job = j.id "
        "WHERE j.cursor > ? ORDER BY j.cursor",
        (after,),
    ).fetchall()
    return [
        Outcome(cursor, job, state, sample, last_line(error) if state == "dead" else reason)
        for cursor, job, state, sample, reason, error in rows
    ]


def select_ended(
    connection: sqlite3.Connection, images: ImageFiles, after: int, limit: int, admitted: bool
) -> list[EndedJob]:
    """The first ``limit`` jobs that ended since cursor ``after``, in order, in full; only those
    whose sample was admitted when that is asked for."""
    which = "AND j.state = 'admitted' " if admitted else ""
    rows = connection.execute(
        "SELECT j.id, j.cursor, p.id, j.description, j.seed, j.generator, j.policy_version, "
        "j.response, j.state, j.attempts, j.reason, j.error, j.scores "
        "FROM jobs j JOIN samples p ON p.number = j.parent "
        f"WHERE j.cursor > ? {which}ORDER BY j.cursor LIMIT ?",
        (after, limit),
    ).fetchall()
    ids = json.dumps([row[0] for row in rows if row[8] == "admitted"])
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
