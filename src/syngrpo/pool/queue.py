"""The queue of synthesis jobs, in the pool's own database.

Claim, result, lineage and admission of a job are one transaction each, so no crash can lose a job
or admit its image twice. A job is *queued* → *leased* to a worker → *admitted* or *rejected* by
the gate, or, after ``max_attempts`` errors or expired leases, *dead*.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from syngrpo.pool.jobs import Admitted, Job, JobRequest, Outcome, Rejected, SubmitResult
from syngrpo.pool.rows import insert_sample, pack
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError, Sample

__all__ = ["Admitted", "Job", "JobRequest", "Outcome", "Queue", "Rejected", "SubmitResult"]


class Queue:
    """The jobs of a pool.

    ``limit`` caps the jobs queued and leased; ``policy`` gives the caps on depth, children and
    unmeasured samples; ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        pool: Pool,
        limit: int,
        lease_s: float,
        max_attempts: int,
        policy: SamplingPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._database = pool.database
        self._limit = limit
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._policy = policy or SamplingPolicy()
        self._clock = clock

    def submit(self, jobs: Sequence[JobRequest]) -> SubmitResult:
        """Queues what is new and fits; never waits for room. Raises InputError when a parent is
        not in the pool."""
        accepted: list[str] = []
        duplicates: list[str] = []
        dropped = refused = 0
        with self._database.write() as connection:
            room = self._room(connection)
            for job in jobs:
                if _known(connection, job.id):
                    duplicates.append(job.id)
                elif len(accepted) >= room:
                    dropped += 1
                elif (parent := self._parent(connection, job.parent_id)) is None:
                    refused += 1
                else:
                    _insert(connection, job, parent)
                    accepted.append(job.id)
        return SubmitResult(accepted, duplicates, dropped, refused)

    def lease(self, worker: str, count: int) -> list[Job]:
        """Up to ``count`` of the oldest queued jobs, for ``lease_s`` seconds. Reclaims expired
        leases first. Looks without the write lock, so that idle workers disturb nobody."""
        with self._database.read() as connection:
            if not self._has_work(connection):
                return []
        with self._database.write() as connection:
            self._expire(connection, "lease_until <= ?", (self._clock(),))
            rows = connection.execute(
                "SELECT j.number, j.id, s.id, description, seed, generator, attempts + 1 "
                "FROM jobs j JOIN samples s ON s.number = j.parent "
                "WHERE j.state = 'queued' ORDER BY j.number LIMIT ?",
                (count,),
            ).fetchall()
            connection.executemany(
                "UPDATE jobs SET state = 'leased', attempts = attempts + 1, worker = ?, "
                "lease_until = ? WHERE number = ?",
                [(worker, self._clock() + self._lease_s, row[0]) for row in rows],
            )
        return [Job(*row[1:]) for row in rows]

    def heartbeat(self, worker: str, job_ids: Sequence[str]) -> list[str]:
        """Prolongs leases; returns the ids the worker still holds."""
        with self._database.write() as connection:
            held = [job for job in job_ids if _held(connection, job, worker) is not None]
            connection.executemany(
                "UPDATE jobs SET lease_until = ? WHERE id = ?",
                [(self._clock() + self._lease_s, job) for job in held],
            )
        return held

    def complete(self, job_id: str, worker: str, outcome: Admitted | Rejected) -> bool:
        """Ends a job, and admits its sample, in one transaction. False, and nothing changed, when
        the worker no longer holds the lease.

        Raises ValueError when the sample does not descend from the job's parent.
        """
        scores = json.dumps({name: float(score) for name, score in outcome.scores.items()})
        image = body = ""
        if isinstance(outcome, Admitted):
            # The file first: a row never refers to an image that is not on the disk yet.
            body = pack(outcome.sample)
            (image,) = self._pool.images.add([outcome.sample])
        with self._database.write() as connection:
            job = _held(connection, job_id, worker)
            if job is None:
                return False
            if isinstance(outcome, Admitted):
                _check_descent(connection, outcome.sample, job.parent)
                parent = (job.parent, job.root)
                insert_sample(connection, outcome.sample, image, body, parent, job_id)
            state = "admitted" if isinstance(outcome, Admitted) else "rejected"
            reason = outcome.reason if isinstance(outcome, Rejected) else None
            _finish(connection, job.number, state, reason=reason, scores=scores)
        return True

    def fail(self, job_id: str, worker: str, error: str) -> bool:
        """Gives a job back after an error (a traceback); the last attempt makes it dead. False,
        and nothing changed, when the worker no longer holds the lease."""
        with self._database.write() as connection:
            job = _held(connection, job_id, worker)
            if job is None:
                return False
            self._give_back(connection, job.number, job.attempts, error)
        return True

    def reclaim_expired(self) -> int:
        """Takes back every lease that ran out; returns how many. ``lease`` does so by itself."""
        with self._database.write() as connection:
            return self._expire(connection, "lease_until <= ?", (self._clock(),))

    def reclaim_worker(self, worker: str) -> int:
        """Takes back the leases of a worker known to be gone, without waiting; returns how many."""
        with self._database.write() as connection:
            return self._expire(connection, "worker = ?", (worker,))

    def outcomes(self, after: int) -> list[Outcome]:
        """Everything that ended since the outcome with cursor ``after`` (0: all), in order."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT j.cursor, j.id, j.state, s.id, j.reason, j.error "
                "FROM jobs j LEFT JOIN samples s ON s.job = j.id "
                "WHERE j.cursor > ? ORDER BY j.cursor",
                (after,),
            ).fetchall()
        return [
            Outcome(cursor, job, state, sample, _last_line(error) if state == "dead" else reason)
            for cursor, job, state, sample, reason, error in rows
        ]

    def _room(self, connection: sqlite3.Connection) -> int:
        tallies = dict(
            connection.execute(
                "SELECT name, count FROM tallies "
                "WHERE name IN ('job/queued', 'job/leased', 'unmeasured')"
            ).fetchall()
        )
        if tallies.get("unmeasured", 0) >= self._policy.max_unmeasured:
            return 0
        return self._limit - tallies.get("job/queued", 0) - tallies.get("job/leased", 0)

    def _parent(self, connection: sqlite3.Connection, sample_id: str) -> tuple[int, int] | None:
        """(number of the parent, number of its seed), or None when it may have no more children."""
        row = connection.execute(
            "SELECT number, root, depth, t.state FROM samples JOIN standing t USING (number) "
            "WHERE id = ?",
            (sample_id,),
        ).fetchone()
        if row is None:
            raise InputError(
                f"pool {self._pool.directory} has no sample {sample_id} to be the parent of a job"
            )
        number, root, depth, state = row
        if state == "quarantined" or depth >= self._policy.max_depth:
            return None
        (children,) = connection.execute(
            "SELECT (SELECT COUNT(*) FROM standing"
            "        WHERE root = :root AND depth > 0 AND state = 'active')"
            "     + (SELECT COUNT(*) FROM jobs"
            "        WHERE root = :root AND state IN ('queued', 'leased'))",
            {"root": root},
        ).fetchone()
        return (number, root) if children < self._policy.max_children else None

    def _has_work(self, connection: sqlite3.Connection) -> bool:
        (work,) = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued')"
            " OR EXISTS (SELECT 1 FROM jobs WHERE state = 'leased' AND lease_until <= ?)",
            (self._clock(),),
        ).fetchone()
        return bool(work)

    def _expire(self, connection: sqlite3.Connection, which: str, values: tuple) -> int:
        rows = connection.execute(
            f"SELECT number, attempts, worker FROM jobs WHERE state = 'leased' AND {which}", values
        ).fetchall()
        for number, attempts, worker in rows:
            self._give_back(
                connection, number, attempts, f"worker {worker} was lost while it held the job"
            )
        return len(rows)

    def _give_back(
        self, connection: sqlite3.Connection, number: int, attempts: int, error: str
    ) -> None:
        if attempts >= self._max_attempts:
            _finish(connection, number, "dead", error=error)
            return
        connection.execute(
            "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = NULL, error = ? "
            "WHERE number = ?",
            (error, number),
        )


class _Held(NamedTuple):
    number: int
    parent: int
    root: int
    attempts: int


def _held(connection: sqlite3.Connection, job_id: str, worker: str) -> _Held | None:
    """The job, if this worker holds it. A lease that ran out counts until it is taken back."""
    row = connection.execute(
        "SELECT number, parent, root, attempts FROM jobs "
        "WHERE id = ? AND state = 'leased' AND worker = ?",
        (job_id, worker),
    ).fetchone()
    return _Held(*row) if row is not None else None


def _known(connection: sqlite3.Connection, job_id: str) -> bool:
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None


def _insert(connection: sqlite3.Connection, job: JobRequest, parent: tuple[int, int]) -> None:
    connection.execute(
        "INSERT INTO jobs (id, parent, root, description, seed, generator, state) "
        "VALUES (?, ?, ?, ?, ?, ?, 'queued')",
        (job.id, *parent, job.description, job.seed, job.generator),
    )


def _finish(
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


def _check_descent(connection: sqlite3.Connection, sample: Sample, parent: int) -> None:
    parent_id, depth = connection.execute(
        "SELECT id, depth FROM samples JOIN standing USING (number) WHERE number = ?", (parent,)
    ).fetchone()
    if (sample.parent, sample.depth) != (parent_id, depth + 1):
        raise ValueError(
            f"sample {sample.id} has parent {sample.parent} and depth {sample.depth}; "
            f"its job says {parent_id} and {depth + 1}"
        )


def _last_line(error: str) -> str:
    lines = error.strip().splitlines()
    return lines[-1] if lines else ""
