"""Copies ended jobs and their samples from another pool into this one.

A run that uses a data server has a pool of its own. The server's pool holds its open jobs;
``data_server.server_sink`` fetches those that have ended and calls ``mirror``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from syngrpo.pool.jobs import EndedJob, check_descent, end_job, insert_job, job_state
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import insert_sample, pack


def mirrored_up_to(pool: Pool, source: str) -> int:
    """Return the cursor, in the pool named ``source``, of the last job recorded here; 0 for
    none."""
    with pool.database.read() as connection:
        return _cursor(connection, source)


def mirror(pool: Pool, source: str, jobs: Sequence[EndedJob]) -> int:
    """Record jobs that ended in the pool named ``source``, with their samples, in one transaction.

    Return how many were new. A job that is recorded already is left out, so that this may be
    repeated, unless it was dead and was tried again; so is a job whose parent is not in this pool.
    The jobs get cursors of this pool.
    """
    samples = [job.sample for job in jobs if job.sample is not None]
    with pool.adding(samples) as digests:
        images = iter(digests)
        rows = [(job, (next(images), pack(job.sample)) if job.sample else None) for job in jobs]
        recorded = 0
        with pool.database.write() as connection:
            last = _cursor(connection, source)
            for job, row in rows:
                if job.cursor > last and job_state(connection, job.request.id) in (None, "dead"):
                    recorded += _record(connection, job, row)
            connection.execute(
                "INSERT INTO mirrored VALUES (?, ?) "
                "ON CONFLICT (source) DO UPDATE SET cursor = MAX(cursor, excluded.cursor)",
                (source, max((job.cursor for job in jobs), default=last)),
            )
    return recorded


def forget_after(pool: Pool, source: str, cursor: int) -> None:
    """Note that the pool named ``source`` has lost the jobs after this cursor. The next ones to end
    there get the cursors of lost ones, and are recorded here."""
    with pool.database.write() as connection:
        connection.execute(
            "UPDATE mirrored SET cursor = MIN(cursor, ?) WHERE source = ?", (cursor, source)
        )


def _record(connection: sqlite3.Connection, job: EndedJob, row: tuple[str, str] | None) -> bool:
    """Record one job. ``row`` is the digest of the stored image and the packed sample, for an
    admitted job. Return False and change nothing if its parent is not in this pool."""
    parent = connection.execute(
        "SELECT number, root FROM samples JOIN standing USING (number) WHERE id = ?",
        (job.request.parent_id,),
    ).fetchone()
    if parent is None:
        return False
    if job_state(connection, job.request.id) is None:
        insert_job(connection, job.request, parent)
    if job.sample is not None and row is not None:
        check_descent(connection, job.sample, parent[0])
        insert_sample(connection, job.sample, *row, parent, job.request.id)
    number = connection.execute(
        "UPDATE jobs SET attempts = ? WHERE id = ? RETURNING number",
        (job.attempts, job.request.id),
    ).fetchone()[0]
    scores, reason = json.dumps(job.scores), job.reason
    end_job(connection, number, job.state, reason=reason, scores=scores, error=job.error)
    return True


def _cursor(connection: sqlite3.Connection, source: str) -> int:
    query = "SELECT cursor FROM mirrored WHERE source = ?"
    row = connection.execute(query, (source,)).fetchone()
    return row[0] if row is not None else 0
