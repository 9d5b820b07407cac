"""The queue of synthesis jobs, a table of the pool's database.

A job is *queued*, then *leased* to a worker, then *admitted* or *rejected* by the gate; after
``max_attempts`` errors or expired leases it is *dead*. Each of these steps is one transaction. That
also holds for the step that ends a job and adds its sample, so that no crash can lose a job or add
its image twice.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from syngrpo.pool.jobs import (
    Admitted,
    EndedJob,
    Job,
    JobRequest,
    Outcome,
    Rejected,
    SubmitResult,
    check_descent,
    end_job,
    insert_job,
    job_state,
    select_ended,
    select_held,
    select_outcomes,
    split_bundles,
)
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import insert_sample, pack, select_known
from syngrpo.sample import InputError

Recheck = Callable[[Admitted, Sequence[dict[str, Any]]], Admitted | Rejected]
"""A function that may reject an admitted result, given the columns of the parent's other
children."""

OnRejected = Callable[[str, str, Admitted | Rejected], None]
"""A function that is told of each rejected job, after the transaction: its id, the reason, and what
the worker has handed in, which is ``Admitted`` if ``Recheck`` has rejected it."""


class JobQueue:
    """The jobs of a pool.

    ``limit``: the largest number of jobs that are queued or leased. ``lease_s``: seconds after
    which a lease expires if no heartbeat prolongs it. ``sampling``: the limits on depth, children
    and unmeasured samples (None: the defaults). ``clock``: returns seconds; it must be the same in
    all processes that have the pool open, and never jump.
    ``recheck``: is called in the transaction that adds a sample, so it sees the children that other
    workers have added since the job was leased. ``on_rejected``: is told of rejected jobs.
    """

    def __init__(
        self,
        pool: Pool,
        limit: int,
        lease_s: float,
        max_attempts: int,
        sampling: SamplingPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        recheck: Recheck | None = None,
        on_rejected: OnRejected | None = None,
    ) -> None:
        self._pool = pool
        self._database = pool.database
        self._limit = limit
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._sampling = sampling or SamplingPolicy()
        self._clock = clock
        self._recheck = recheck
        self._on_rejected = on_rejected

    def submit(self, jobs: Sequence[JobRequest]) -> SubmitResult:
        """Queue the new jobs as far as there is room. Does not wait for room.

        The new jobs of a bundle are queued together, or none of them, because a description without
        siblings cannot be compared. Raises InputError when a parent is not in the pool.
        """
        accepted: list[str] = []
        duplicates: list[str] = []
        dropped = refused = 0
        with self._database.write() as connection:
            room = self._room(connection)
            for together in split_bundles(jobs):
                new: dict[str, JobRequest] = {}
                for job in together:
                    if job.id in new or job_state(connection, job.id) is not None:
                        duplicates.append(job.id)
                    else:
                        new[job.id] = job
                if not new:
                    continue
                if len(accepted) + len(new) > room:
                    dropped += len(new)
                elif (parent := self._parent(connection, together[0].parent_id, len(new))) is None:
                    refused += len(new)
                else:
                    for job in new.values():
                        insert_job(connection, job, parent)
                    accepted += new
        return SubmitResult(accepted, duplicates, dropped, refused)

    def unknown_parents(self, jobs: Sequence[JobRequest]) -> list[str]:
        """Return the ids of the parents of these jobs that are not in the pool, each once."""
        names = dict.fromkeys(job.parent_id for job in jobs)
        with self._database.read() as connection:
            known = select_known(connection, names)
        return [name for name in names if name not in known]

    def generators(self) -> frozenset[str]:
        """Return the fingerprints of the generators that open jobs ask for."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT generator FROM jobs WHERE state IN ('queued', 'leased')"
            ).fetchall()
        return frozenset(generator for (generator,) in rows)

    def lease(self, worker: str, count: int, generator: str | None = None) -> list[Job]:
        """Lease up to ``count`` of the oldest queued jobs to a worker for ``lease_s`` seconds.

        If the fingerprint of a ``generator`` is given, only jobs for it are leased. Expired leases
        are taken back first. The write lock is only taken if there is a job, so that idle workers
        do not slow down others.
        """
        with self._database.read() as connection:
            if not self._has_work(connection, generator):
                return []
        wanted = "" if generator is None else "AND j.generator = :generator "
        with self._database.write() as connection:
            self._expire(connection, *self._expired())
            rows = connection.execute(
                "SELECT j.number, j.id, s.id, description, seed, generator, attempts + 1 "
                "FROM jobs j JOIN samples s ON s.number = j.parent "
                f"WHERE j.state = 'queued' {wanted}ORDER BY j.number LIMIT :count",
                {"generator": generator, "count": count},
            ).fetchall()
            connection.executemany(
                "UPDATE jobs SET state = 'leased', attempts = attempts + 1, worker = ?, "
                "lease_until = ? WHERE number = ?",
                [(worker, self._clock() + self._lease_s, row[0]) for row in rows],
            )
        return [Job(*row[1:]) for row in rows]

    def held(self, worker: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return those of these jobs that the worker holds, by id."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT j.id, s.id, description, seed, generator, attempts "
                "FROM jobs j JOIN samples s ON s.number = j.parent "
                "WHERE j.state = 'leased' AND j.worker = ? "
                "AND j.id IN (SELECT value FROM json_each(?))",
                (worker, json.dumps(list(job_ids))),
            ).fetchall()
        return {row[0]: Job(*row) for row in rows}

    def heartbeat(self, worker: str, job_ids: Sequence[str]) -> list[str]:
        """Prolong leases to ``lease_s`` seconds from now. Return the ids that the worker still
        holds."""
        with self._database.write() as connection:
            kept = [job for job in job_ids if select_held(connection, job, worker) is not None]
            connection.executemany(
                "UPDATE jobs SET lease_until = ? WHERE id = ?",
                [(self._clock() + self._lease_s, job) for job in kept],
            )
        return kept

    def complete(self, job_id: str, worker: str, result: Admitted | Rejected) -> bool:
        """End one job, as ``complete_all`` does."""
        return self.complete_all(worker, [(job_id, result)])[0]

    def complete_all(
        self, worker: str, results: Sequence[tuple[str, Admitted | Rejected]]
    ) -> list[bool]:
        """End jobs with their results, and add the admitted samples, in one transaction.

        Return for each job whether it was ended. A job that the worker no longer holds does not
        change. Raises ValueError when a sample is not a child of its job's parent.
        """
        # Recheck once before, so that images that will be rejected are rarely written.
        with self._database.read() as connection:
            finals = [self._final(connection, worker, *result) for result in results]
        # Write the files first: a row must not refer to an image that is not on the disk yet.
        samples = [one.sample for one in finals if isinstance(one, Admitted)]
        bodies = [pack(sample) for sample in samples]
        with self._pool.adding(samples) as digests:
            stored = iter(list(zip(digests, bodies, strict=True)))
            ends = []
            with self._database.write() as connection:
                for (job_id, _), result in zip(results, finals, strict=True):
                    row = next(stored) if isinstance(result, Admitted) else ("", "")
                    ends.append(self._end(connection, worker, job_id, result, row))
        for (job_id, handed_in), end in zip(results, ends, strict=True):
            if isinstance(end, Rejected) and self._on_rejected is not None:
                self._on_rejected(job_id, end.reason, handed_in)
        return [end is not None for end in ends]

    def release(self, worker: str, job_ids: Sequence[str]) -> list[str]:
        """Put jobs that the worker has not tried back into the queue. This does not count as an
        attempt. Return the ids that the worker held."""
        with self._database.write() as connection:
            kept = [job for job in job_ids if select_held(connection, job, worker) is not None]
            connection.executemany(
                "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = NULL, "
                "attempts = attempts - 1 WHERE id = ?",
                [(job,) for job in kept],
            )
        return kept

    def fail(self, job_id: str, worker: str, error: str) -> bool:
        """Put a job back into the queue after an error, or make it dead after the last attempt.

        ``error`` is the traceback. Returns False and changes nothing if the worker does not hold
        the job.
        """
        with self._database.write() as connection:
            job = select_held(connection, job_id, worker)
            if job is None:
                return False
            self._give_back(connection, job.number, job.attempts, error)
        return True

    def reclaim_expired(self) -> int:
        """Take back all expired leases, and return their number. ``lease`` does this as well."""
        with self._database.write() as connection:
            return self._expire(connection, *self._expired())

    def reclaim_worker(self, worker: str) -> int:
        """Take back all leases of a worker that has ended, and return their number."""
        with self._database.write() as connection:
            return self._expire(connection, "worker = :worker", {"worker": worker})

    def requeue_dead(self, job_ids: Sequence[str]) -> list[str]:
        """Put dead jobs back into the queue as if they had not been tried, also beyond its limit.
        Return the ids of those that were dead.

        A trainer that has counted them as dead counts them once more when they end. Their
        descriptions earn nothing; an image that is admitted is trained on as any other. Raises
        InputError in the pool of a run that uses a data server, because nobody paints its jobs.
        """
        with self._database.write() as connection:
            if connection.execute("SELECT EXISTS (SELECT 1 FROM mirrored)").fetchone()[0]:
                raise InputError(
                    f"the jobs of {self._pool.directory} are painted by a data server; requeue "
                    "them in the pool of the server"
                )
            return [
                job_id
                for job_id in job_ids
                if connection.execute(
                    "UPDATE jobs SET state = 'queued', attempts = 0, worker = NULL, error = NULL "
                    "WHERE id = ? AND state = 'dead'",
                    (job_id,),
                ).rowcount
            ]

    def last_cursor(self) -> int:
        """Return the cursor of the job that ended last, 0 before the first."""
        with self._database.read() as connection:
            query = "SELECT COALESCE(MAX(cursor), 0) FROM jobs WHERE cursor IS NOT NULL"
            return connection.execute(query).fetchone()[0]

    def outcomes(self, after: int) -> list[Outcome]:
        """Return the jobs that ended after the one with cursor ``after`` (0: all), in order."""
        with self._database.read() as connection:
            return select_outcomes(connection, after)

    def ended(self, after: int, limit: int, admitted: bool = False) -> list[EndedJob]:
        """Return the first ``limit`` jobs that ended after the one with cursor ``after``, with all
        that is known of them. With ``admitted`` return only admitted ones.

        The images of their samples are the files of the pool.
        """
        with self._database.read() as connection:
            return select_ended(connection, self._pool.images, after, limit, admitted)

    def _room(self, connection: sqlite3.Connection) -> int:
        """Return the number of jobs that can be queued now. It may be below 0."""
        tallies = dict(
            connection.execute(
                "SELECT name, count FROM tallies "
                "WHERE name IN ('job/queued', 'job/leased', 'unmeasured')"
            ).fetchall()
        )
        most = self._sampling.max_unmeasured
        if most is not None and tallies.get("unmeasured", 0) >= most:
            return 0
        return self._limit - tallies.get("job/queued", 0) - tallies.get("job/leased", 0)

    def _parent(
        self, connection: sqlite3.Connection, sample_id: str, count: int
    ) -> tuple[int, int] | None:
        """Return the row numbers of the parent and of its seed, None if it may not have ``count``
        more children. Raises InputError when the pool has no such sample."""
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
        if state == "quarantined" or depth >= self._sampling.max_depth:
            return None
        (children,) = connection.execute(
            "SELECT (SELECT COUNT(*) FROM standing"
            "        WHERE root = :root AND depth > 0 AND state = 'active')"
            "     + (SELECT COUNT(*) FROM jobs"
            "        WHERE root = :root AND state IN ('queued', 'leased'))",
            {"root": root},
        ).fetchone()
        return (number, root) if children + count <= self._sampling.max_children else None

    def _expired(self) -> tuple[str, dict[str, Any]]:
        """Return the SQL condition for leases that have expired, and its values.

        The clock begins again when the host is started. A lease of before, which seems to last
        longer than any lease may, has expired, too.
        """
        now = self._clock()
        values = {"now": now, "latest": now + self._lease_s}
        return "(lease_until <= :now OR lease_until > :latest)", values

    def _has_work(self, connection: sqlite3.Connection, generator: str | None) -> bool:
        wanted = "" if generator is None else " AND generator = :generator"
        expired, values = self._expired()
        (work,) = connection.execute(
            f"SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued'{wanted})"
            f" OR EXISTS (SELECT 1 FROM jobs WHERE state = 'leased' AND {expired})",
            {"generator": generator, **values},
        ).fetchone()
        return bool(work)

    def _final(
        self,
        connection: sqlite3.Connection,
        worker: str,
        job_id: str,
        result: Admitted | Rejected,
    ) -> Admitted | Rejected | None:
        """Return the result after ``recheck``, None if the worker does not hold the job."""
        job = select_held(connection, job_id, worker)
        if job is None:
            return None
        if self._recheck is None or isinstance(result, Rejected):
            return result
        siblings = connection.execute(
            "SELECT json_extract(body, '$.columns') FROM samples WHERE parent = ?", (job.parent,)
        ).fetchall()
        columns = [json.loads(text) for (text,) in siblings if text is not None]
        return self._recheck(result, columns) if columns else result

    def _end(
        self,
        connection: sqlite3.Connection,
        worker: str,
        job_id: str,
        result: Admitted | Rejected | None,
        row: tuple[str, str],
    ) -> Admitted | Rejected | None:
        """End one job, and return the result that it has ended with, None if it was not ended.
        ``row`` is the digest of the stored image and the packed sample."""
        job = select_held(connection, job_id, worker)
        if job is None or result is None:
            return None
        final = self._final(connection, worker, job_id, result)
        assert final is not None
        if isinstance(final, Admitted):
            check_descent(connection, final.sample, job.parent)
            insert_sample(connection, final.sample, *row, (job.parent, job.root), job_id)
        state = "admitted" if isinstance(final, Admitted) else "rejected"
        reason = final.reason if isinstance(final, Rejected) else None
        scores = json.dumps({name: float(score) for name, score in final.scores.items()})
        end_job(connection, job.number, state, reason=reason, scores=scores)
        return final

    def _expire(self, connection: sqlite3.Connection, which: str, values: dict[str, Any]) -> int:
        """Take back the leases that fulfil the SQL condition ``which``, and return their number."""
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
        """Put a job back into the queue, or make it dead after the last attempt."""
        if attempts >= self._max_attempts:
            end_job(connection, number, "dead", error=error)
            return
        connection.execute(
            "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = NULL, error = ? "
            "WHERE number = ?",
            (error, number),
        )
