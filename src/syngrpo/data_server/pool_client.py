"""Access to the pool of the evolving training set: ``PoolClient``, and the inline client.

``client.DataClient`` calls it in the order of a training step: ``draw`` for a batch, ``observe``
with the measurements of it, ``submit`` with jobs for new images, and ``outcomes`` for the results
of earlier jobs. ``InlineClient`` paints within ``submit`` and is deterministic.
``async_client.AsyncClient`` leaves painting to workers and never makes the step wait. Both draw
samples with decoded images (``draw_decoded``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from syngrpo.data_server.job_exchange import SubmitCounts, run_job
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.judges.panel import load_judges
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation, PoolSample, PoolStats
from syngrpo.sample import InputError, Sample, with_pixels

INLINE = "inline"
"""The worker name with which an inline client leases jobs."""
REMEMBERED_BATCHES = 4
"""Samples of this many batches are not drawn again before they were observed."""
FOREVER_S = 10 * 365 * 86400.0
"""Seconds of an inline client's lease. It is long, because no other worker may take its jobs."""


class PoolClient(Protocol):
    """The operations of a trainer on the pool.

    Every method may raise InputError for an error that the user can fix (a full disk, a broken
    pool). The asynchronous client raises an error of its thread at the next call.
    """

    fingerprint: str
    """The fingerprint of the generator, for job requests."""

    def draw(self, count: int, avoid: Collection[str] = ()) -> list[PoolSample]:
        """Draw ``count`` different samples. Their images are decoded.

        Samples with the ids in ``avoid`` are only drawn if no others are left.
        """
        ...

    def prefetch_with(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        """Set a function that is called with the samples chosen for coming batches, so that it can
        prepare them.

        It is called in another thread as soon as samples are chosen; another sample may be drawn
        in the end. An inline client never calls it, because it chooses samples when it draws.
        """
        ...

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Submit jobs, and return how many were queued or dropped. Jobs for which there is no room
        are dropped; the call never waits.

        The asynchronous client returns the counts of earlier submissions that it has learned since
        the last call. Over a run they add up to the same.
        """
        ...

    def observe(self, observations: Sequence[Observation]) -> None:
        """Report what was measured on drawn samples."""
        ...

    def record_rewards(self, rewards: Sequence[DescriptionReward]) -> None:
        """Record what descriptions have earned, for people who look at the run."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Return the jobs that ended since the last call, in order."""
        ...

    def get(self, sample_id: str) -> Sample:
        """Return any sample of the pool, in any state. Raises InputError for an unknown id."""
        ...

    def stats(self) -> PoolStats:
        """Return the counts of the pool. They may be up to one refresh old."""
        ...

    def server_away(self) -> bool:
        """Return whether the data server did not answer the last request. False without one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the pool as plain JSON data, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position that ``state_dict`` returned. Call this before drawing."""
        ...

    def backup(self, path: Path) -> None:
        """Write the exact state of the pool to one file, for ``Pool.restore``.

        A run with the asynchronous client goes on with the pool as it is then, because workers
        change it all the time; it needs the file only if its pool is lost or damaged.
        """
        ...

    def close(self) -> None: ...


class InlineClient:
    """A ``PoolClient`` that paints within ``submit``. No other process may use its pool.

    The same seeds, settings and calls give the same samples and images.
    """

    def __init__(
        self,
        settings: SynthesisSettings,
        sampling: SamplingPolicy,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Open the pool and make the generator.

        ``weights`` are those of the datasets, as in ``Pool.draw``. Without a generator no job can
        be submitted. Raises InputError when the generator or the pool cannot be used.
        """
        self._painter = None
        if settings.generator is not None:
            self._painter = Painter(settings.make_generator(), load_judges(settings.judges))
        self.fingerprint = self._painter.fingerprint if self._painter is not None else ""
        self._pool = Pool.open(settings.directory)
        self._queue = open_queue(self._pool, settings, sampling, FOREVER_S)
        self._queue.reclaim_worker(INLINE)  # jobs of a process that was killed
        self._source = PoolJobs(self._pool, self._queue, settings, INLINE)
        self._sampling = sampling
        self._weights = weights
        self._seed = seed
        self._draws = 0
        self._cursor = 0
        self._unobserved: deque[set[str]] = deque(maxlen=REMEMBERED_BATCHES)

    def draw(self, count: int, avoid: Collection[str] = ()) -> list[PoolSample]:
        rng = np.random.default_rng([self._seed, self._draws])
        self._draws += 1
        in_use = set(avoid).union(*self._unobserved)
        drawn = draw_decoded(self._pool, count, self._sampling, rng, in_use, self._weights)
        self._unobserved.append({one.sample.id for one in drawn})
        return drawn

    def prefetch_with(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        return

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        counts = SubmitCounts.of(requests, self._queue.submit(requests))
        if self._painter is None:
            assert not requests, "a run without a generator has no jobs"
            return counts
        while jobs := self._source.lease(1):
            run_job(self._painter, self._source, jobs[0])
        return counts

    def observe(self, observations: Sequence[Observation]) -> None:
        self._pool.observe(observations, self._sampling)
        for batch in self._unobserved:
            batch.difference_update(one.sample_id for one in observations)

    def record_rewards(self, rewards: Sequence[DescriptionReward]) -> None:
        self._pool.record_rewards(rewards)

    def outcomes(self) -> list[Outcome]:
        ended = self._queue.outcomes(self._cursor)
        self._cursor = ended[-1].cursor if ended else self._cursor
        return ended

    def get(self, sample_id: str) -> Sample:
        return self._pool.get(sample_id)

    def stats(self) -> PoolStats:
        return self._pool.stats()

    def server_away(self) -> bool:
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"draws": self._draws, "cursor": self._cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._draws, self._cursor = state["draws"], state["cursor"]

    def backup(self, path: Path) -> None:
        self._pool.backup(path)

    def close(self) -> None:
        self._pool.close()


def draw_decoded(
    pool: Pool,
    count: int,
    sampling: SamplingPolicy,
    rng: np.random.Generator,
    avoid: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
) -> list[PoolSample]:
    """Draw samples as ``Pool.draw`` does, with DecodedImage images.

    A sample whose image cannot be decoded is quarantined and logged, and all are drawn again.
    Raises InputError when the pool has fewer than ``count`` samples left.
    """
    while True:
        decoded = [
            _decoded(pool, drawn) for drawn in pool.draw(count, sampling, rng, avoid, weights)
        ]
        readable = [drawn for drawn in decoded if drawn is not None]
        if len(readable) == count:
            return readable


def _decoded(pool: Pool, drawn: PoolSample) -> PoolSample | None:
    try:
        return replace(drawn, sample=with_pixels(drawn.sample))
    except InputError as error:
        pool.quarantine(drawn.sample.id, str(error))
        return None
