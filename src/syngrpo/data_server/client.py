"""The trainer's side of the pool and the data server: one protocol, two implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.counts import SubmitCounts, count_submitted
from syngrpo.data_server.drawing import draw_decoded
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue
from syngrpo.data_server.ports import run_job
from syngrpo.painting.generators import make_generator
from syngrpo.painting.judges.panel import load_judges
from syngrpo.painting.painter import Painter
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, PoolSample, PoolStats
from syngrpo.sample import Sample

__all__ = ["AsyncClient", "DataClient", "InlineClient", "SubmitCounts"]

INLINE = "inline"
"""The worker that inline mode is, to the queue."""
FOREVER_S = 10 * 365 * 86400.0
"""Inline, nobody else may take a job, however long it takes."""


class DataClient(Protocol):
    """What a trainer needs of the evolving training set.

    Every method may raise InputError for what the user can fix (a full disk, a broken pool); the
    asynchronous client raises what went wrong in the background at the next call.
    """

    fingerprint: str
    """The generator's, for job requests."""

    def draw(self, count: int) -> list[PoolSample]:
        """``count`` different samples, their images decoded."""
        ...

    def foresee(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        """Has ``prepare`` told what will be drawn, by another thread and as soon as it is chosen;
        it may turn out otherwise. Inline: nothing is chosen before it is drawn."""
        ...

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Hands jobs on; what does not fit is dropped, never waited for."""
        ...

    def observe(self, observations: Sequence[Observation]) -> None:
        """Reports what was measured on drawn samples."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Jobs that ended since the last call, in order."""
        ...

    def get(self, sample_id: str) -> Sample:
        """Any sample of the pool, in whatever state. Raises InputError for an unknown id."""
        ...

    def stats(self) -> PoolStats:
        """Counts of the pool as of now, or of a moment ago."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Position in the pool, plain JSON data, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there. Call it before anything is drawn."""
        ...

    def backup(self, path: Path) -> None:
        """Inline: writes the pool's exact state to one file, for ``Pool.restore``. Async: nothing,
        the pool lives on by itself and a resumed run goes on with what it has become."""
        ...

    def close(self) -> None: ...


class InlineClient:
    """Synchronous and deterministic: a job is synthesised within ``submit``.

    The same seeds, settings and calls give the same samples and images; the pool may be used by
    this client only.
    """

    def __init__(
        self,
        settings: SynthesisSettings,
        policy: SamplingPolicy,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """``weights``: of the datasets, as in ``Pool.draw``. Raises InputError when the generator
        or the pool cannot be used."""
        self._painter = Painter(
            make_generator(settings.generator, settings.options), load_judges(settings.judges)
        )
        self.fingerprint = self._painter.fingerprint
        self._pool = Pool.open(settings.directory)
        self._queue = open_queue(self._pool, settings, policy, FOREVER_S)
        self._queue.reclaim_worker(INLINE)  # what a crash left half done
        self._source = PoolJobs(self._pool, self._queue, settings, INLINE)
        self._policy = policy
        self._weights = weights
        self._seed = seed
        self._draws = 0
        self._cursor = 0

    def draw(self, count: int) -> list[PoolSample]:
        """See ``DataClient.draw``."""
        rng = np.random.default_rng([self._seed, self._draws])
        self._draws += 1
        return draw_decoded(self._pool, count, self._policy, rng, weights=self._weights)

    def foresee(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        """Nothing: see ``DataClient.foresee``."""

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Synthesises the images, one after the other, before it returns."""
        counts = count_submitted(requests, self._queue.submit(requests))
        while jobs := self._source.lease(1):
            run_job(self._painter, self._source, jobs[0])
        return counts

    def observe(self, observations: Sequence[Observation]) -> None:
        """See ``DataClient.observe``."""
        self._pool.observe(observations, self._policy)

    def outcomes(self) -> list[Outcome]:
        """See ``DataClient.outcomes``."""
        ended = self._queue.outcomes(self._cursor)
        self._cursor = ended[-1].cursor if ended else self._cursor
        return ended

    def get(self, sample_id: str) -> Sample:
        """See ``DataClient.get``."""
        return self._pool.get(sample_id)

    def stats(self) -> PoolStats:
        """See ``DataClient.stats``."""
        return self._pool.stats()

    def state_dict(self) -> dict[str, Any]:
        """See ``DataClient.state_dict``."""
        return {"draws": self._draws, "cursor": self._cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``DataClient.load_state_dict``."""
        self._draws, self._cursor = state["draws"], state["cursor"]

    def backup(self, path: Path) -> None:
        """See ``DataClient.backup``."""
        self._pool.backup(path)

    def close(self) -> None:
        self._pool.close()
