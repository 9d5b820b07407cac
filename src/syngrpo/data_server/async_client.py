"""The asynchronous ``PoolClient``: a thread between the training step and the pool.

The training step appends measurements and jobs to a spill file, and takes batches from a stock in
memory. A batch is drawn as a whole, because siblings must be in the same one. The step never waits
for the database or the workers. The thread passes on the records of the spill file, fills the
stock, and collects outcomes.

Step and thread share no lock: a step that waits for a lock might wait until Python's interpreter
switches to the thread, which takes up to 5 ms. Each attribute that both use is written by only one
of them and replaced as a whole, or is a deque to which one appends and from which the other pops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from syngrpo.data_server.job_exchange import JobSink, SubmitCounts
from syngrpo.data_server.pool_client import REMEMBERED_BATCHES, draw_decoded
from syngrpo.data_server.pool_jobs import QueueSink, open_queue
from syngrpo.data_server.spill import Pending, Spill
from syngrpo.data_server.spill_records import of_kind
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.jobs import JobRequest, Outcome
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import DescriptionReward, Observation, PoolSample, PoolStats
from syngrpo.sample import Sample
from syngrpo.serving.timeline import span, traced

_log = logging.getLogger(__name__)

LOOK_S = 0.05
"""Seconds between two rounds of the thread."""
WAIT_S = 0.001
"""Seconds after which a draw looks again into a stock without a batch."""
SPILL_NAME = "spill.jsonl"


class AsyncClient:
    """A ``PoolClient`` that leaves painting to workers and does not make the step wait.

    ``batch`` is the number of samples that each ``draw`` asks for; ``prefetch`` batches are kept
    ready (0: none, so every draw waits for the database). A batch of another size, or with samples
    to avoid, as for a refill, is drawn when the step asks for it. When observations arrive, the
    batches of the stock are drawn anew, so that a batch is drawn with the measurements of the batch
    before.
    The next client of the pool passes on the records that a killed process left in its spill file.
    """

    def __init__(
        self,
        settings: SynthesisSettings,
        sampling: SamplingPolicy,
        *,
        batch: int,
        prefetch: int = 1,
        seed: int = 0,
        sink: JobSink | None = None,
        weights: Mapping[str, float] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Open the pool and the spill file, and start the thread.

        Without a ``sink`` jobs go to the pool's own queue. ``fingerprint`` is that of the
        generator; without it the generator of the settings is asked. ``weights`` are those of the
        datasets, as in ``Pool.draw``. Raises InputError when the generator or the pool cannot be
        used.
        """
        self.fingerprint = fingerprint or settings.make_generator().fingerprint
        self._directory = settings.directory
        self._sampling = sampling
        self._weights = weights
        self._seed = seed
        self._batch = batch
        self._prefetch = prefetch
        self._pool = Pool.open(settings.directory)
        self._reader = Pool.open(settings.directory)
        self._queue = open_queue(self._pool, settings, sampling)
        self._sink = sink if sink is not None else QueueSink(self._queue)
        with explain_disk_errors(settings.directory):
            self._spill = Spill(settings.directory / SPILL_NAME)
        # Written by the step, read by the thread:
        self._closing = False
        # Number, size and samples to avoid of the last batch that the step has asked for:
        self._asked: tuple[int, int, Collection[str]] = (0, 0, ())
        self._handed_out: deque[list[str]] = deque()
        self._prepare: Callable[[Sequence[Sample]], None] = lambda samples: None
        # Written by the thread, but only the step takes batches out of the stock:
        self._stock: deque[list[PoolSample]] = deque()
        self._answers: deque[list[PoolSample]] = deque()
        self._counts: deque[SubmitCounts] = deque()
        self._ended: deque[Outcome] = deque()
        self._stats = self._pool.stats()
        self._error: Exception | None = None
        # Used by the step alone:
        self._delivered = 0
        self._error_told = False
        # Used by the thread alone:
        self._unobserved: dict[str, None] = {}
        self._stock_is_old = False
        self._fills = 0
        self._answered = 0
        self._seen = 0
        self._thread = threading.Thread(target=self._serve, name="data-client", daemon=True)
        self._thread.start()

    def draw(self, count: int, avoid: Collection[str] = ()) -> list[PoolSample]:
        """Take a batch from the stock, and wait only if it is empty, as at the start. A batch of
        another size than usual, or with samples to ``avoid``, is drawn now."""
        self._raise_error()
        asks = count != self._batch or self._prefetch == 0 or bool(avoid)
        if asks:
            self._asked = (self._asked[0] + 1, count, avoid)
        while not (stock := self._answers if asks else self._stock):
            time.sleep(WAIT_S)
            self._raise_error()
        drawn = stock.popleft()
        self._handed_out.append([item.sample.id for item in drawn])
        return drawn

    def prefetch_with(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        self._prepare = prepare
        prepare([item.sample for batch in self._stock.copy() for item in batch])

    def submit(self, requests: Sequence[JobRequest]) -> SubmitCounts:
        """Write jobs to the spill file. Return the counts of the jobs that have reached the queue
        since the last call."""
        self._append([{"job": asdict(request)} for request in requests])
        counts = SubmitCounts()
        while self._counts:
            counts += self._counts.popleft()
        return counts

    def observe(self, observations: Sequence[Observation]) -> None:
        """Write measurements to the spill file."""
        self._append([{"observation": asdict(observation)} for observation in observations])

    def record_rewards(self, rewards: Sequence[DescriptionReward]) -> None:
        """Write rewards to the spill file."""
        self._append([{"reward": asdict(reward)} for reward in rewards])

    def outcomes(self) -> list[Outcome]:
        self._raise_error()
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        new = [outcome for outcome in ended if outcome.cursor > self._delivered]
        self._delivered = new[-1].cursor if new else self._delivered
        return new

    def get(self, sample_id: str) -> Sample:
        """Read a sample over a second connection, which does not wait for writers."""
        return self._reader.get(sample_id)

    def stats(self) -> PoolStats:
        self._raise_error()
        return self._stats

    def server_away(self) -> bool:
        return self._sink.away

    def state_dict(self) -> dict[str, Any]:
        return {"draws": self._fills, "cursor": self._delivered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved position. If the pool has lost jobs since, this begins at its end: the
        next ones to end get the cursors of lost ones."""
        self._fills += state["draws"]
        ended = self._queue.last_cursor()
        self._delivered = min(state["cursor"], ended)
        if ended < state["cursor"]:
            _log.warning(
                "pool %s knows %d of the %d jobs that had ended when the checkpoint was saved, and "
                "has lost the images of the others",
                *(self._directory, ended, state["cursor"]),
            )

    def backup(self, path: Path) -> None:
        self._reader.backup(path)

    def close(self) -> None:
        """Pass on the rest of the spill file and end the thread. Raises an error of the thread,
        unless an earlier call has raised it."""
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

    # The methods below run in the thread.

    def _serve(self) -> None:
        try:
            while not (self._closing and self._spill.backlog() == 0):
                self._pass_on()
                if not self._closing:
                    self._fill_stock()
                    self._collect()
                    time.sleep(LOOK_S)
        except Exception as error:  # raised again in the trainer's thread
            self._error = error

    def _pass_on(self) -> None:
        """Send the records of the spill file to the pool and the sink.

        This may be repeated after a crash: both ignore a record that they have already.
        """
        while self._handed_out:
            self._unobserved |= dict.fromkeys(self._handed_out.popleft())
        pending = self._spill.pending()
        if not pending.records:
            self._sink.send([], [])
            self._counts.extend(self._sink.counts())
            return
        with span("report records", records=len(pending.records)):
            self._report(pending)

    def _report(self, pending: Pending) -> None:
        observations = of_kind(pending.records, "observation", Observation)
        requests = of_kind(pending.records, "job", JobRequest)
        if observations:
            self._pool.observe(observations, self._sampling)
        self._sink.send(observations, requests)
        self._pool.record_rewards(of_kind(pending.records, "reward", DescriptionReward))
        self._counts.extend(self._sink.counts())
        self._spill.acknowledge(pending.offset)
        self._stock_is_old |= bool(observations)
        for observation in observations:
            self._unobserved.pop(observation.sample_id, None)

    def _fill_stock(self) -> None:
        """Draw the batch that the step has asked for, and the missing batches of the stock, or all
        of them if there are new measurements."""
        number, count, avoid = self._asked
        if number > self._answered:
            self._answered = number
            self._answers.append(self._drawn(count, list(self._stock), avoid))
        if not self._stock_is_old:
            for _ in range(self._prefetch - len(self._stock)):
                batch = self._drawn(self._batch, list(self._stock))
                self._tell([batch])
                self._stock.append(batch)
            return
        renewed: list[list[PoolSample]] = []
        for _ in range(self._prefetch):
            renewed.append(self._drawn(self._batch, renewed))
        self._tell(renewed)
        # The step may have taken a batch of the old stock meanwhile. It must not get its samples
        # again.
        taken = self._taken()
        self._stock = deque(
            batch for batch in renewed if taken.isdisjoint(item.sample.id for item in batch)
        )
        self._stock_is_old = False

    def _tell(self, batches: Sequence[Sequence[PoolSample]]) -> None:
        """Let the samples of new batches be prepared, unless the stock will be drawn anew with the
        measurements of samples in use."""
        if not self._unobserved:
            self._prepare([item.sample for batch in batches for item in batch])

    @traced("draw ahead")
    def _drawn(
        self, count: int, before: Sequence[Sequence[PoolSample]], avoid: Collection[str] = ()
    ) -> list[PoolSample]:
        """Draw one batch, without samples to ``avoid``, in use or in the batches ``before``.

        The outcomes of all jobs that the batch depends on are collected with it.
        """
        surplus = max(0, len(self._unobserved) - REMEMBERED_BATCHES * self._batch)
        for forgotten in list(self._unobserved)[:surplus]:
            del self._unobserved[forgotten]
        in_use = {*avoid, *self._unobserved, *self._taken()}
        in_use |= {item.sample.id for batch in before for item in batch}
        rng = np.random.default_rng([self._seed, self._fills])
        self._fills += 1
        drawn = draw_decoded(self._pool, count, self._sampling, rng, in_use, self._weights)
        self._collect()
        return drawn

    def _taken(self) -> set[str]:
        """Return the ids of the samples that the step has taken since the last ``_pass_on``."""
        return {name for names in self._handed_out.copy() for name in names}

    def _collect(self) -> None:
        ended, self._stats = self._queue.outcomes(self._seen), self._pool.stats()
        self._ended.extend(ended)
        self._seen = ended[-1].cursor if ended else self._seen
