"""The asynchronous client: a thread between the training step and the pool.

The step appends what it has to say to a spill file and takes samples from a stock in memory; it
never waits for the database, let alone for the workers. The thread hands the spill on, keeps the
stock, and collects outcomes.

The two share no lock: a step that waited for one would wait for the thread to get the interpreter,
5 ms at worst. Each attribute that both use is written by one of them and replaced whole, or is a
deque that one appends to and the other pops.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from syngrpo.data_server.counts import SubmitCounts
from syngrpo.data_server.drawing import draw_decoded
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.data_server.pool_jobs import QueueSink, open_queue
from syngrpo.data_server.ports import JobSink
from syngrpo.data_server.spill import Spill
from syngrpo.painting.generators import make_generator
from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, PoolSample, PoolStats
from syngrpo.sample import Sample

LOOK_S = 0.05
"""Pause of the thread between two looks for work, in seconds."""
WAIT_S = 0.001
"""Pause of a draw between two looks into an empty stock, in seconds."""
SPILL_NAME = "spill.jsonl"
REMEMBERED_BATCHES = 4
"""Samples handed out and not yet observed are not drawn again; of this many batches."""


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
        sink: JobSink | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Raises InputError when the generator or the pool cannot be used. Without a ``sink`` jobs
        go to the pool's own queue. ``weights``: of the datasets, as in ``Pool.draw``."""
        self.fingerprint = make_generator(settings.generator, settings.options).fingerprint
        self._directory = settings.directory
        self._policy = policy
        self._weights = weights
        self._seed = seed
        self._batch = batch
        self._stock_size = batch * prefetch
        self._pool = Pool.open(settings.directory)
        self._reader = Pool.open(settings.directory)
        self._queue = open_queue(self._pool, settings, policy)
        self._sink = sink if sink is not None else QueueSink(self._queue)
        with explain_disk_errors(settings.directory):
            self._spill = Spill(settings.directory / SPILL_NAME)
        # From the step to the thread:
        self._closing = False
        self._wanted = 0
        self._handed_out: deque[list[str]] = deque()
        self._prepare: Callable[[Sequence[Sample]], None] = lambda samples: None
        # From the thread to the step, which alone takes samples out of a stock:
        self._stock: deque[PoolSample] = deque()
        self._counts: deque[SubmitCounts] = deque()
        self._ended: deque[Outcome] = deque()
        self._stats = self._pool.stats()
        self._error: Exception | None = None
        # The step's own:
        self._delivered = 0
        self._error_told = False
        # The thread's own:
        self._unobserved: dict[str, None] = {}
        self._stock_is_old = False
        self._fills = 0
        self._seen = 0
        self._thread = threading.Thread(target=self._serve, name="data-client", daemon=True)
        self._thread.start()

    def draw(self, count: int) -> list[PoolSample]:
        """From the stock; waits only while that holds less than ``count``, as at the start."""
        self._raise_error()
        while len(stock := self._stock) < count:
            self._wanted = count
            time.sleep(WAIT_S)
            self._raise_error()
        drawn = [stock.popleft() for _ in range(count)]
        self._wanted = 0
        self._handed_out.append([item.sample.id for item in drawn])
        return drawn

    def foresee(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        """See ``DataClient.foresee``. What is in the stock already is told at once."""
        self._prepare = prepare
        prepare([item.sample for item in self._stock.copy()])

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Never waits. The counts are of what has reached the queue since the last call."""
        self._append([{"job": asdict(request)} for request in requests])
        counts = SubmitCounts()
        while self._counts:
            counts += self._counts.popleft()
        return counts

    def observe(self, observations: Sequence[Observation]) -> None:
        """Never waits."""
        self._append([{"observation": asdict(observation)} for observation in observations])

    def outcomes(self) -> list[Outcome]:
        """Never waits."""
        self._raise_error()
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        new = [outcome for outcome in ended if outcome.cursor > self._delivered]
        self._delivered = new[-1].cursor if new else self._delivered
        return new

    def get(self, sample_id: str) -> Sample:
        """Never waits: a connection of its own, which reads beside every writer."""
        return self._reader.get(sample_id)

    def stats(self) -> PoolStats:
        """Never waits; as of a moment ago."""
        self._raise_error()
        return self._stats

    def state_dict(self) -> dict[str, Any]:
        """See ``DataClient.state_dict``."""
        return {"draws": self._fills, "cursor": self._delivered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``DataClient.load_state_dict``."""
        self._fills += state["draws"]
        self._delivered = state["cursor"]

    def backup(self, path: Path) -> None:
        """Nothing: see ``DataClient.backup``."""

    def close(self) -> None:
        """Hands on what is left of the spill. Raises what went wrong in the background, unless a
        call before did."""
        self._closing = True
        self._thread.join()
        self._sink.close()
        self._spill.close()
        self._pool.close()
        self._reader.close()
        if not self._error_told:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._error_told = True
            raise self._error

    def _append(self, records: list[dict[str, Any]]) -> None:
        self._raise_error()
        if records:
            with explain_disk_errors(self._directory):
                self._spill.append(records)

    # What follows runs in the thread.

    def _serve(self) -> None:
        try:
            while not (self._closing and self._spill.backlog() == 0):
                self._hand_on()
                if not self._closing:
                    self._fill_stock()
                    self._collect()
                    time.sleep(LOOK_S)
        except Exception as error:  # raised again in the trainer's thread
            self._error = error

    def _hand_on(self) -> None:
        """The spill goes to the pool, which takes a record twice without harm."""
        while self._handed_out:
            self._unobserved |= dict.fromkeys(self._handed_out.popleft())
        pending = self._spill.pending()
        if not pending.records:
            self._sink.hand_on([], [])
            self._counts.extend(self._sink.counts())
            return
        of = "observation"
        observations = [Observation(**record[of]) for record in pending.records if of in record]
        requests = [JobRequest(**record["job"]) for record in pending.records if "job" in record]
        if observations:
            self._pool.observe(observations, self._policy)
        self._sink.hand_on(observations, requests)
        self._counts.extend(self._sink.counts())
        self._spill.acknowledge(pending.offset)
        self._stock_is_old |= bool(observations)
        for observation in observations:
            self._unobserved.pop(observation.sample_id, None)

    def _fill_stock(self) -> None:
        """Adds what is missing, or exchanges the whole stock when there are new measurements."""
        old = self._stock
        before = [] if self._stock_is_old else list(old)
        missing = max(self._wanted, self._stock_size) - len(before)
        if missing <= 0:
            return
        surplus = max(0, len(self._unobserved) - REMEMBERED_BATCHES * self._batch)
        for forgotten in list(self._unobserved)[:surplus]:
            del self._unobserved[forgotten]
        avoid = {*self._unobserved, *(item.sample.id for item in before)}
        rng = np.random.default_rng([self._seed, self._fills])
        self._fills += 1
        drawn = draw_decoded(self._pool, missing, self._policy, rng, avoid, self._weights)
        if not self._unobserved:  # else measurements are to come, and then others are drawn
            self._prepare([item.sample for item in drawn])
        if not self._stock_is_old:
            old.extend(drawn)
            return
        # The step may have taken from the old stock meanwhile; it does not get the same again.
        taken = {name for names in self._handed_out.copy() for name in names}
        self._stock = deque(item for item in drawn if item.sample.id not in taken)
        self._stock_is_old = False

    def _collect(self) -> None:
        ended, self._stats = self._queue.outcomes(self._seen), self._pool.stats()
        self._ended.extend(ended)
        self._seen = ended[-1].cursor if ended else self._seen
