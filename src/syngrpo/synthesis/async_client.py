"""The asynchronous client: a thread between the training step and the pool.

The step appends what it has to say to a spill file and takes samples from a stock in memory; it
never waits for the database, let alone for the workers. The thread hands the spill on, keeps the
stock, and collects outcomes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.queue import JobRequest, Outcome, Queue
from syngrpo.pool.records import Observation, PoolSample, PoolStats
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.synthesis.counts import SubmitCounts, count_submitted
from syngrpo.synthesis.drawing import draw_decoded
from syngrpo.synthesis.generator import make_generator
from syngrpo.synthesis.settings import SynthesisSettings
from syngrpo.synthesis.spill import Spill

POLL_S = 0.05
"""Pause between two looks for outcomes, in seconds."""
SPILL_NAME = "spill.jsonl"
HANDED_OUT_BATCHES = 4
"""Samples handed out and not yet observed are not drawn again; this many batches are remembered."""


class AsyncClient:
    """See ``DataClient``. ``batch`` samples at a time will be drawn; ``prefetch`` batches of them
    are kept ready (0: none, then every draw waits for the database).

    The stock is drawn anew whenever observations have arrived, as long as nobody took it, so a
    batch knows the measurements of the one before. Records that a killed process left in its spill
    are handed on by the next client of the pool.
    """

    def __init__(
        self,
        settings: SynthesisSettings,
        policy: SamplingPolicy,
        *,
        batch: int,
        prefetch: int = 1,
        seed: int = 0,
    ) -> None:
        """Raises InputError when the generator or the pool cannot be used."""
        self.fingerprint = make_generator(settings.generator).fingerprint
        self._directory = settings.directory
        self._policy = policy
        self._seed = seed
        self._stock_size = batch * prefetch
        self._handed_out_limit = HANDED_OUT_BATCHES * batch
        self._pool = Pool.open(settings.directory)
        self._reader = Pool.open(settings.directory)
        limit, lease_s, attempts = settings.queue_limit, settings.lease_s, settings.max_attempts
        self._queue = Queue(self._pool, limit, lease_s, attempts, policy)
        with explain_disk_errors(settings.directory):
            self._spill = Spill(settings.directory / SPILL_NAME)
        self._condition = threading.Condition()
        # Guarded by the condition, which the thread holds only to exchange:
        self._stock: list[PoolSample] = []
        self._stock_is_old = False
        self._wanted = 0
        self._handed_out: dict[str, None] = {}
        self._taken: set[str] = set()
        self._fills = 0
        self._counts = SubmitCounts()
        self._ended: list[Outcome] = []
        self._seen = self._delivered = 0
        self._stats = self._pool.stats()
        self._error: Exception | None = None
        self._error_told = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def draw(self, count: int) -> list[PoolSample]:
        """From the stock; waits only while that holds less than ``count``, as at the start."""
        with self._running():
            self._wanted = count
            self._condition.notify_all()
            self._condition.wait_for(lambda: len(self._stock) >= count or self._error is not None)
            self._raise_error()
            drawn, self._stock = self._stock[:count], self._stock[count:]
            self._wanted = 0
            ids = [item.sample.id for item in drawn]
            self._taken.update(ids)
            self._handed_out |= dict.fromkeys(ids)
            surplus = max(0, len(self._handed_out) - self._handed_out_limit)
            for forgotten in list(self._handed_out)[:surplus]:
                del self._handed_out[forgotten]
            self._condition.notify_all()
        return drawn

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Never waits. The counts are of what has reached the queue since the last call."""
        self._append([{"job": asdict(request)} for request in requests])
        with self._condition:
            counts, self._counts = self._counts, SubmitCounts()
        return counts

    def observe(self, observations: Sequence[Observation]) -> None:
        """Never waits."""
        self._append([{"observation": asdict(observation)} for observation in observations])

    def outcomes(self) -> list[Outcome]:
        """Never waits."""
        with self._running():
            ended, self._ended = self._ended, []
            self._delivered = ended[-1].cursor if ended else self._delivered
        return ended

    def get(self, sample_id: str) -> Sample:
        """Never waits: a connection of its own, which reads beside every writer."""
        return self._reader.get(sample_id)

    def stats(self) -> PoolStats:
        """Never waits; as of a moment ago."""
        with self._running():
            return self._stats

    def state_dict(self) -> dict[str, Any]:
        """See ``DataClient.state_dict``."""
        with self._condition:
            return {"draws": self._fills, "cursor": self._delivered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``DataClient.load_state_dict``. Raises RuntimeError after the first use."""
        if self._thread is not None:
            raise RuntimeError("load the client's state before its first use")
        self._fills, self._seen = state["draws"], state["cursor"]
        self._delivered = self._seen

    def backup(self, path: Path) -> None:
        """Nothing: see ``DataClient.backup``."""

    def close(self) -> None:
        """Hands on what is left of the spill. Raises what went wrong in the background, unless a
        call before did."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._spill.close()
        self._pool.close()
        self._reader.close()
        if not self._error_told:
            self._raise_error()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Holds the condition, with the thread at work."""
        with self._condition:
            self._raise_error()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="client", daemon=True)
                self._thread.start()
            yield

    def _raise_error(self) -> None:
        if self._error is not None:
            self._error_told = True
            raise self._error

    def _append(self, records: list[dict[str, Any]]) -> None:
        with self._running():
            pass
        if records:
            with explain_disk_errors(self._directory):
                self._spill.append(records)
            with self._condition:
                self._condition.notify_all()

    # What follows runs in the thread.

    def _serve(self) -> None:
        try:
            while not (self._closing and self._spill.backlog() == 0):
                self._hand_on()
                self._fill_stock()
                self._collect()
                with self._condition:
                    self._condition.wait_for(self._has_work, POLL_S)
        except Exception as error:  # raised again in the trainer's thread
            with self._condition:
                self._error = error
                self._condition.notify_all()

    def _has_work(self) -> bool:
        short = len(self._stock) < max(self._wanted, self._stock_size)
        return self._closing or short or self._spill.backlog() > 0

    def _hand_on(self) -> None:
        """The oldest records of the spill go to the pool, which takes one twice without harm."""
        pending = self._spill.pending()
        if not pending.records:
            return
        of = "observation"
        observations = [Observation(**record[of]) for record in pending.records if of in record]
        requests = [JobRequest(**record["job"]) for record in pending.records if "job" in record]
        if observations:
            self._pool.observe(observations, self._policy)
        counts = SubmitCounts()
        if requests:
            counts = count_submitted(requests, self._queue.submit(requests))
        self._spill.acknowledge(pending.offset)
        with self._condition:
            self._counts += counts
            self._stock_is_old |= bool(observations)
            for observation in observations:
                self._handed_out.pop(observation.sample_id, None)

    def _fill_stock(self) -> None:
        """Until the old stock is exchanged for the new one, it can be taken."""
        with self._condition:
            keep = [] if self._stock_is_old else self._stock
            missing = max(self._wanted, self._stock_size) - len(keep)
            if missing <= 0 or self._closing:
                return
            avoid = {*self._handed_out, *(item.sample.id for item in keep)}
            rng = np.random.default_rng([self._seed, self._fills])
            self._fills += 1
            self._stock_is_old = False
            self._taken.clear()
        drawn = draw_decoded(self._pool, missing, self._policy, rng, avoid)
        with self._condition:
            new = [*keep, *drawn]
            self._stock = [item for item in new if item.sample.id not in self._taken]
            self._condition.notify_all()

    def _collect(self) -> None:
        ended, stats = self._queue.outcomes(self._seen), self._pool.stats()
        with self._condition:
            self._ended += ended
            self._seen = ended[-1].cursor if ended else self._seen
            self._stats = stats
