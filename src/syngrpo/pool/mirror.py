"""Another pool's ended jobs, recorded here with their samples: how a run that shares a data server
keeps a pool of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from syngrpo.pool.job_rows import check_descent, finish, insert_job, known
from syngrpo.pool.jobs import EndedJob
from syngrpo.pool.rows import insert_sample, pack
from syngrpo.pool.store import Pool


def mirrored_up_to(pool: Pool, source: str) -> int:
    """The cursor in ``source``, another pool's name, of the last job recorded; 0 for none."""
    with pool.database.read() as connection:
        return _cursor(connection, source)


def mirror(pool: Pool, source: str, jobs: Sequence[EndedJob]) -> int:
    """Records what ``source`` handed out after ``mirrored_up_to``, in one transaction: each job
    exactly once, however often it comes. Returns how many were new.

    Their cursors here are this pool's own. A job whose parent is not in this pool is passed over:
    it is none of ours.
    """
    samples = [job.sample for job in jobs if job.sample is not None]
    with pool.adding(samples) as digests:
        images = iter(digests)
        rows = [(job, (next(images), pack(job.sample)) if job.sample else None) for job in jobs]
        recorded = 0
        with pool.database.write() as connection:
            last = _cursor(connection, source)
            for job, row in rows:
                if job.cursor > last and not known(connection, job.request.id):
                    recorded += _record(connection, job, row)
            connection.execute(
                "INSERT INTO mirrored VALUES (?, ?) "
                "ON CONFLICT (source) DO UPDATE SET cursor = MAX(cursor, excluded.cursor)",
                (source, max((job.cursor for job in jobs), default=last)),
            )
    return recorded


def _record(connection: sqlite3.Connection, job: EndedJob, row: tuple[str, str] | None) -> bool:
    parent = connection.execute(
        "SELECT number, root FROM samples JOIN standing USING (number) WHERE id = ?",
        (job.request.parent_id,),
    ).fetchone()
    if parent is None:
        return False
    insert_job(connection, job.request, parent)
    if job.sample is not None and row is not None:
        check_descent(connection, job.sample, parent[0])
        insert_sample(connection, job.sample, *row, parent, job.request.id)
    number = connection.execute(
        "UPDATE jobs SET attempts = ? WHERE id = ? RETURNING number",
        (job.attempts, job.request.id),
    ).fetchone()[0]
    scores, reason = json.dumps(job.scores), job.reason
    finish(connection, number, job.state, reason=reason, scores=scores, error=job.error)
    return True


def _cursor(connection: sqlite3.Connection, source: str) -> int:
    query = "SELECT cursor FROM mirrored WHERE source = ?"
    row = connection.execute(query, (source,)).fetchone()
    return row[0] if row is not None else 0
