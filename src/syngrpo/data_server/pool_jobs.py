"""Both ends of the queue, where the pool is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from syngrpo.data_server.counts import SubmitCounts, count_submitted
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.data_server.ports import Leased
from syngrpo.painting.displacement import with_labels_moved
from syngrpo.painting.gate import hash_distance
from syngrpo.painting.painting_request import Result
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import Admitted, Job, JobRequest, Rejected
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import Sample
from syngrpo.tasks import get_task

SYNTHESIS = "synthesis"
"""The key in a synthetic sample's columns that holds how it was made."""


def open_queue(
    pool: Pool,
    settings: SynthesisSettings,
    policy: SamplingPolicy | None = None,
    lease_s: float | None = None,
) -> JobQueue:
    """The pool's queue as the settings say. What is admitted must differ from its siblings, also
    from those that others painted at the same time."""
    return JobQueue(
        pool,
        settings.queue_limit,
        settings.lease_s if lease_s is None else lease_s,
        settings.max_attempts,
        policy,
        recheck=NearDuplicates(settings.thresholds.min_distance),
    )


class PoolJobs:
    """A ``JobSource`` beside its pool, for one worker; ``generator``: see ``JobQueue.lease``."""

    def __init__(
        self,
        pool: Pool,
        queue: JobQueue,
        settings: SynthesisSettings,
        worker: str,
        generator: str | None = None,
        run: str = "",
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._settings = settings
        self._worker = worker
        self._generator = generator
        self._run = run

    def lease(self, count: int) -> list[Leased]:
        """See ``JobSource``. Never waits."""
        settings = self._settings
        return [
            Leased(
                job,
                parent := self._pool.get(job.parent_id),
                get_task(parent.task).constraints(parent),
                sibling_hashes(self._pool, job.parent_id),
                settings.thresholds,
                settings.canvas,
                settings.lease_s,
                self._run,
            )
            for job in self._queue.lease(self._worker, count, self._generator)
        ]

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        """See ``JobSource``."""
        self._queue.heartbeat(self._worker, [one.job.id for one in leased])

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        """See ``JobSource``."""
        self._queue.complete_all(
            self._worker, [(one.job.id, outcome(one.job, one.parent, r)) for one, r in results]
        )

    def fail(self, leased: Leased, error: str) -> None:
        """See ``JobSource``."""
        self._queue.fail(leased.job.id, self._worker, error)

    def release(self, leased: Sequence[Leased]) -> None:
        """See ``JobSource``."""
        self._queue.release(self._worker, [one.job.id for one in leased])


class QueueSink:
    """A ``JobSink`` beside the pool. Observations are the pool's already."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._counts: list[SubmitCounts] = []

    def hand_on(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        """See ``JobSink``."""
        if requests:
            self._counts.append(count_submitted(requests, self._queue.submit(requests)))

    def counts(self) -> list[SubmitCounts]:
        """See ``JobSink``."""
        counts, self._counts = self._counts, []
        return counts

    def close(self) -> None:
        """The pool belongs to whoever opened it."""


def outcome(job: Job, parent: Sample, result: Result) -> Admitted | Rejected:
    """What the queue is told: a rejection, or the child with its parent's labels, moved as its
    picture was, and how it was made. Everything but picture, prompt, hash and scores is the job's
    and the parent's."""
    if isinstance(result, Rejected):
        return result
    made = {
        "generator": job.generator,
        "seed": job.seed,
        "prompt": result.prompt,
        "hash": result.hash.hex(),
    }
    keep = get_task(parent.task).constraints(parent).keep
    labelled = with_labels_moved(parent, result.right)
    child = replace(
        labelled,
        id=f"syn-{job.id[:16]}",
        image=result.image,
        objects=tuple(labelled.objects[index] for index in keep),
        parent=parent.id,
        description=job.description,
        depth=parent.depth + 1,
        columns=parent.columns | {SYNTHESIS: made},
    )
    return Admitted(child, result.scores)


class NearDuplicates:
    """A ``queue.Recheck``: rejects what is nearer than ``min_distance`` to a sibling."""

    def __init__(self, min_distance: float) -> None:
        self._min_distance = min_distance

    def __call__(
        self, admitted: Admitted, siblings: Sequence[Mapping[str, Any]]
    ) -> Admitted | Rejected:
        own = bytes.fromhex(admitted.sample.columns[SYNTHESIS]["hash"])
        others = [bytes.fromhex(columns[SYNTHESIS]["hash"]) for columns in siblings]
        nearest = min(hash_distance(own, other) for other in others)
        scores = admitted.scores | {"distance_sibling": nearest}
        if nearest < self._min_distance:
            return Rejected("near_duplicate", scores)
        return replace(admitted, scores=scores)


def sibling_hashes(pool: Pool, parent_id: str) -> list[bytes]:
    """Perceptual hashes of the children that the parent already has, oldest first."""
    with pool.database.read() as connection:
        rows = connection.execute(
            f"SELECT json_extract(s.body, '$.columns.{SYNTHESIS}.hash') "
            "FROM samples s JOIN samples p ON p.number = s.parent WHERE p.id = ? "
            "ORDER BY s.number",
            (parent_id,),
        ).fetchall()
    return [bytes.fromhex(text) for (text,) in rows if text is not None]
