"""The job queue for workers and trainers on the host of the pool.

``PoolJobs`` is the ``JobSource`` of a worker, ``QueueSink`` the ``JobSink`` of a trainer.
``result_for_queue`` makes a new sample from an image that a worker painted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from syngrpo.data_server.job_exchange import Leased, SubmitCounts
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.frame import Frame, framed_sample
from syngrpo.painting.gate import hash_distance
from syngrpo.painting.light import Light
from syngrpo.painting.painting_request import Result
from syngrpo.painting.refused_pictures import RefusedPictures, small_copy
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import Admitted, Job, JobRequest, Rejected
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import Sample
from syngrpo.tasks.asking import constraints_of

SYNTHESIS = "synthesis"
"""The key in a synthetic sample's columns under which it says how the sample was made."""


def open_queue(
    pool: Pool,
    settings: SynthesisSettings,
    sampling: SamplingPolicy | None = None,
    lease_s: float | None = None,
) -> JobQueue:
    """Open the pool's queue with the limits of the settings.

    An image is admitted only if it differs from all its siblings, including those that other
    workers painted at the same time. ``lease_s`` replaces that of the settings.
    """
    return JobQueue(
        pool,
        settings.queue_limit,
        settings.lease_s if lease_s is None else lease_s,
        settings.max_attempts,
        sampling,
        recheck=NearDuplicates(settings.gate.min_distance),
        on_rejected=_KeepsRefused(RefusedPictures(pool.directory, settings.gate.keep_refused)),
    )


class PoolJobs:
    """The ``JobSource`` of one worker on the host of the pool.

    ``worker`` is the name under which jobs are leased. If the fingerprint of a ``generator`` is
    given, only jobs for it are leased. ``run`` is written into every lease.
    """

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
        settings = self._settings
        return [
            Leased(
                job,
                source := self._pool.seed_of(self._pool.get(job.parent_id)),
                constraints_of(source),
                sibling_hashes(self._pool, job.parent_id),
                settings.gate,
                settings.painting,
                settings.lease_s,
                self._run,
            )
            for job in self._queue.lease(self._worker, count, self._generator)
        ]

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        self._queue.heartbeat(self._worker, [one.job.id for one in leased])

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        ended = []
        for leased, result in results:
            parent = self._pool.get(leased.job.parent_id)
            source = self._pool.seed_of(parent)
            ended.append((leased.job.id, result_for_queue(leased.job, parent, source, result)))
        self._queue.complete_all(self._worker, ended)

    def fail(self, leased: Leased, error: str) -> None:
        self._queue.fail(leased.job.id, self._worker, error)

    def release(self, leased: Sequence[Leased]) -> None:
        self._queue.release(self._worker, [one.job.id for one in leased])


class QueueSink:
    """The ``JobSink`` of a trainer on the host of the pool. It passes on jobs only, because the
    client itself records observations in the pool."""

    away = False

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._counts: list[SubmitCounts] = []

    def send(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        if requests:
            self._counts.append(SubmitCounts.of(requests, self._queue.submit(requests)))

    def counts(self) -> list[SubmitCounts]:
        counts, self._counts = self._counts, []
        return counts

    def close(self) -> None:
        """Do nothing. The owner of the pool closes it."""


def result_for_queue(
    job: Job, parent: Sample, source: Sample, result: Result
) -> Admitted | Rejected:
    """Return what the queue needs for the result of a worker: the rejection, or the new sample.
    ``source`` is the seed of the ``parent``.

    The sample has the labels of its seed, where the frame places them. Its columns say how it was
    made. Only the image, the prompt, the hash, the frame, the light and the scores come from the
    worker.
    """
    if isinstance(result, Rejected):
        return result
    made = {
        "generator": job.generator,
        "seed": job.seed,
        "prompt": result.prompt,
        "hash": result.hash.hex(),
        "frame": result.frame.lineage(),
        "light": result.light.lineage(),
    }
    keep = constraints_of(source).keep
    labelled = framed_sample(source, result.frame)
    child = replace(
        labelled,
        id=f"syn-{job.id[:16]}",
        image=result.image,
        objects=tuple(labelled.objects[index] for index in keep),
        parent=parent.id,
        description=job.description,
        depth=parent.depth + 1,
        columns=source.columns | {SYNTHESIS: made},
    )
    return Admitted(child, result.scores)


class _KeepsRefused:
    """A ``job_queue.OnRejected`` that keeps a small copy of each rejected picture."""

    def __init__(self, pictures: RefusedPictures) -> None:
        self._pictures = pictures

    def __call__(self, job_id: str, reason: str, result: Admitted | Rejected) -> None:
        if not self._pictures.keep:
            return
        if isinstance(result, Rejected):
            copy = result.picture
        else:
            made = result.sample.columns[SYNTHESIS]
            frame, light = Frame.of(made["frame"]), Light.of(made["light"])
            copy = small_copy(result.sample.image.decode(), frame, light)
        if copy is not None:  # there was none to refuse: the description was empty
            self._pictures.add(job_id, reason, copy)


class NearDuplicates:
    """A ``job_queue.Recheck`` that rejects an image if its perceptual distance to a sibling is
    below ``min_distance``."""

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
    """Return the perceptual hashes of the parent, if it is synthetic, and of its children, oldest
    first."""
    with pool.database.read() as connection:
        rows = connection.execute(
            f"SELECT json_extract(s.body, '$.columns.{SYNTHESIS}.hash') FROM samples s "
            "WHERE s.id = :id OR s.parent = (SELECT number FROM samples WHERE id = :id) "
            "ORDER BY s.number",
            {"id": parent_id},
        ).fetchall()
    return [bytes.fromhex(text) for (text,) in rows if text is not None]
