"""The client of the data server: what a trainer needs to train on images that evolve.

This is the public interface, for any trainer; ``syngrpo train`` uses it, too. It needs neither
PyTorch nor transformers. ``docs/trainers.md`` explains it with examples. Its version is
``API_VERSION``, and a change that breaks callers raises the first number.

A step of training calls, in this order:

1. ``draw(n)`` for the samples of the batch. The trainer samples G responses to each.
2. ``observe(sample, accuracies)`` once for each of them: records D, and returns it.
3. ``submit(sample, responses)`` for those whose responses describe new surroundings.
4. ``outcomes()`` ends the step. It sends the descriptions to be painted, and returns those of
   earlier steps whose reward ρ is known now. The trainer adds them to its update.

Nothing of this waits for the data server or its workers: records go to a file, from which a thread
sends them, and samples are drawn ahead from the pool in the client's directory. While the server is
away, training goes on with the samples that are there; ``stats`` says so. Only one process may use
a directory. In a training run with several processes the main one has the client, and shares what
it returns with the others (``shared_draw``).

``pool_access`` chooses the access to the pool below this: ``pool_client`` or ``async_client``.
``method`` decides what is submitted and how it is rewarded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from syngrpo.data_server.async_client import SPILL_NAME
from syngrpo.data_server.client_checks import (
    check_bundles,
    check_numbers,
    check_options,
    locked_directory,
    whole_number,
    with_waiting_limit,
)
from syngrpo.data_server.description_rewards import DescriptionQueue, Settled
from syngrpo.data_server.drawn_sample import AskedSample, DrawnSample, ModelCoordinates
from syngrpo.data_server.group_reports import (
    GroupReport,
    WrittenResponse,
    report_metrics,
    report_of,
    written_descriptions,
)
from syngrpo.data_server.job_failures import JobFailures
from syngrpo.data_server.painting_warnings import PaintingWarnings
from syngrpo.data_server.pool_access import open_pool_client
from syngrpo.data_server.pool_client import PoolClient
from syngrpo.data_server.server_sink import OUTBOX_NAME
from syngrpo.data_server.spill_records import require_records
from syngrpo.data_server.synthesis_options import (
    ServerOptions,
    SynthesisOptions,
    SynthesisSettings,
)
from syngrpo.method import METHODS
from syngrpo.method.base import Method, MethodOptions
from syngrpo.method.ledger import Ledger
from syngrpo.method.response import parse_response
from syngrpo.pool.repair import sample_ids
from syngrpo.pool.sampling import SamplingPolicy, dataset_weights
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, PoolStats
from syngrpo.sample import InputError, Sample
from syngrpo.serving.wording import count as counted
from syngrpo.serving.wording import one_line

__all__ = [
    "API_VERSION",
    "AskedSample",
    "AsyncDataClient",
    "ClientStats",
    "DataClient",
    "DrawnSample",
    "Measurement",
    "MethodOptions",
    "ModelCoordinates",
    "SamplingPolicy",
    "ServerOptions",
    "Settled",
    "SynthesisOptions",
    "WrittenResponse",
    "as_lists",
    "shared_draw",
]

API_VERSION = "1.0.0"
"""The version of this interface (semver.org)."""

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Measurement:
    """What ``observe`` has measured: D of the group in [0, 1], and the moving mean that
    descriptions of this task are compared with: of D, or with ``method.credit: parent`` of
    D − D of the parent. None before the first was measured, and with ``siblings``."""

    diversity: float
    baseline: float | None


@dataclass(frozen=True)
class ClientStats:
    """The state of a client.

    ``steps``: finished steps. ``version``: the policy version, by which descriptions grow old.
    ``waiting``: descriptions that wait for their reward. ``server_away``: whether the data server
    did not answer the last request; jobs wait in a file meanwhile. ``counts``: D and ρ of the last
    step, and what it has submitted, admitted, settled, …, named as in ``metrics.jsonl``.
    """

    steps: int
    version: int
    waiting: int
    server_away: bool
    pool: PoolStats
    counts: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """Return the numbers for a metrics log, by name."""
        return {
            **self.counts,
            "synthesis/waiting": self.waiting,
            "synthesis/server_away": float(self.server_away),
            "pool/seed": self.pool.seed,
            "pool/synthetic": self.pool.synthetic,
            "pool/depth_mean": self.pool.depth_mean,
        }


class DataClient:
    """A trainer's client. ``open`` makes one from options; the constructor is for tests and for
    ``syngrpo train``, which have a pool client already.

    ``groups_per_step`` is the number of samples of a batch, ``updates_per_step`` the number of
    optimizer updates in a step. ``sampling`` is the section ``pool``. Every random choice comes
    from ``seed`` and the number of the step. Any method may raise InputError for an error that the
    user can fix, also one that happened in the background since the last call.
    """

    def __init__(
        self,
        pool: PoolClient,
        method: Method,
        sampling: SamplingPolicy,
        *,
        groups_per_step: int,
        updates_per_step: int = 1,
        seed: int = 0,
        describer: str | None = None,
    ) -> None:
        self.method = method
        self.pool = pool
        self.steps = 0
        self.version = 0
        self.max_depth = sampling.max_depth
        self.updates_per_step = updates_per_step
        self.groups_per_step = groups_per_step
        self._descriptions = DescriptionQueue(
            pool,
            method,
            places=groups_per_step * sampling.synthetic_ratio,
            seed=seed,
            describer=describer,
        )
        self._reports: dict[str, GroupReport] = {}
        self._counts: dict[str, float] = {}
        self._families: dict[str, str] = {}
        self._watch: _PaintingWatch | None = None
        self._unobserved: set[str] = set()
        self._process = os.getpid()
        self._closed = False
        self._closing = ExitStack()
        self._closing.callback(pool.close)

    @classmethod
    def open(
        cls,
        directory: Path | str,
        samples: Sequence[Sample],
        *,
        groups_per_step: int,
        synthesis: SynthesisOptions = SynthesisOptions(),  # noqa: B008
        fingerprint: str | None = None,
        server: ServerOptions = ServerOptions(),  # noqa: B008
        method: MethodOptions = MethodOptions(),  # noqa: B008
        pool: SamplingPolicy = SamplingPolicy(),  # noqa: B008
        steps: int = 1000,
        updates_per_step: int = 1,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        max_image_pixels: int | None = None,
    ) -> DataClient:
        """Open the pool in ``directory``, add the ``samples`` as its seeds, and start the thread.

        The options are the sections of a configuration file with these names; ``steps`` is the
        length of the run, which only some methods ask for. With ``server.url`` painting is left to
        that data server; without one local workers are started, or each step paints by itself
        (``synthesis.mode: inline``). ``fingerprint`` names the generator where it is not installed
        here: ``syngrpo worker`` and ``syngrpo serve`` print it as they start. ``weights`` are the
        proportions in which data sets are drawn, by name. Raises InputError for options, samples or
        a directory that cannot be used, and when another trainer uses the directory.
        """
        folder = Path(directory)
        check_numbers(samples, groups_per_step, updates_per_step, seed, weights or {})
        check_options(synthesis, server, fingerprint)
        rules = METHODS.load(method.name)(method, steps)
        sampling = with_waiting_limit(rules.sampling(pool), groups_per_step)
        if rules.paints:
            check_bundles(rules.bundle_size, sampling, groups_per_step, synthesis.queue_limit)
        weights = dataset_weights(weights or {})
        settings = SynthesisSettings(folder, **vars(synthesis))
        if max_image_pixels is not None:
            settings = replace(settings, max_image_pixels=max_image_pixels)
        if not rules.paints:
            settings = replace(settings, mode="off")
        elif fingerprint is None:
            settings.make_generator()  # raises before anything is written
        with ExitStack() as opened:
            opened.enter_context(closing(locked_directory(folder)))
            with closing(Pool.open(folder)) as stored:
                stored.add_seeds(samples)
                waiting = stored.stats().open_jobs
            for name in (SPILL_NAME, OUTBOX_NAME):
                require_records(folder / name, lambda: sample_ids(folder))
            access = open_pool_client(
                opened,
                settings,
                server,
                sampling,
                batch=groups_per_step,
                seed=seed,
                weights=weights,
                fingerprint=fingerprint,
            )
            client = cls(
                access,
                rules,
                sampling,
                groups_per_step=groups_per_step,
                updates_per_step=updates_per_step,
                seed=seed,
                describer=synthesis.describer,
            )
            client._closing = opened.pop_all()
        if rules.paints:
            client._watch = _PaintingWatch(client, folder, server.url, waiting)
        return client

    def __enter__(self) -> DataClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send what is left, for a few seconds at most, and stop the thread and the workers. What
        could not be sent stays in the directory for the next client. Warn if jobs have failed."""
        self._closed = True
        self._closing.close()
        if self._watch is not None:
            self._watch.failures.end()
            self._watch = None

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("the client is closed; open another one to go on")
        if os.getpid() != self._process:
            raise InputError(
                f"the client was opened by process {self._process}, this is {os.getpid()}; call it "
                "there, without worker processes of the data loader, and share what it returns "
                "(shared_draw)"
            )

    # The four calls of a step.

    def draw(self, count: int | None = None, avoid: Collection[str] = ()) -> list[DrawnSample]:
        """Return ``count`` different samples (``groups_per_step`` unless given).

        A sample that is drawn and never observed is drawn again later. Those with the ids in
        ``avoid`` are only drawn if no others are left, for a step that draws twice. Raises
        InputError when the pool has fewer samples.
        """
        self._require_open()
        wanted = self.groups_per_step if count is None else count
        drawn = self.pool.draw(whole_number("the number of samples to draw", wanted, 0), avoid)
        self._unobserved.update(one.sample.id for one in drawn)
        return [
            DrawnSample(
                one.sample, one.visits, one.job_id, one.diversity_mean, self._family(one.sample)
            )
            for one in drawn
        ]

    def observe(self, sample: DrawnSample, accuracies: Sequence[float]) -> Measurement:
        """Record the accuracies of the G responses to a sample, each in [0, 1].

        Raises InputError for an accuracy that is no such number, for a sample that is not in the
        pool, and when the sample was observed in this step already: then its responses would count
        twice.
        """
        self._require_open()
        if sample.id in self._reports:
            raise InputError(
                f"sample {sample.id} is observed twice in step {self.steps + 1}; pass the "
                "accuracies of all its responses in one call"
            )
        if sample.id not in self._unobserved:
            self.get(sample.id)  # raises before anything is written
        place = len(self._reports)
        report = report_of(
            place, sample.sample, sample.job_id, accuracies, self.method, self.max_depth
        )
        self.record([report])
        self._reports[sample.id] = report
        self._unobserved.discard(sample.id)
        return Measurement(report.diversity, self.method.baselines().get(sample.task))

    def submit(self, sample: DrawnSample, responses: Sequence[WrittenResponse]) -> int:
        """Offer the descriptions in these responses for painting, and return how many are usable.

        The first different, well-formed descriptions are taken, at most ``descriptions_per_group``;
        none of a sample from which nothing may be painted. ``outcomes`` sends them. Raises
        InputError for a sample that was not observed in this step, and for a response whose scene
        is not one run of tokens.
        """
        self._require_open()
        report = self._reports.get(sample.id)
        if report is None:
            raise InputError(
                f"sample {sample.id} was not observed in step {self.steps + 1}; call observe "
                "before submit"
            )
        limits = self.method.options.wording_limits
        read = ((parse_response(response.text, limits), response) for response in responses)
        found = written_descriptions(read, self.method.written_descriptions)
        self._reports[sample.id] = replace(report, descriptions=found)
        return len(found) if report.parenthood == "parent" else 0

    def outcomes(self) -> list[Settled]:
        """End the step: send its descriptions, and return those whose reward is known now.

        Each description is returned at most once, with its tokens and its reward. One that came
        without the log-probabilities of its tokens (NaN) is painted, but not returned: nothing
        could be learned from it.
        """
        self._require_open()
        reports = list(self._reports.values())
        counts = self.submit_reports(reports)
        settled, more = self.settle_reports(reports)
        self._counts = {**report_metrics(reports), **counts, **more}
        if settled:
            rewards = [one.reward for one in settled]
            self._counts["diversity/reward"] = sum(rewards) / len(rewards)
        if baselines := self.method.baselines().values():
            self._counts["diversity/baseline"] = sum(baselines) / len(baselines)
        self.end_step()
        if self._watch is not None:
            self._watch.step(self.steps, self._counts)
        return [one for one in settled if np.isfinite(one.logprobs[one.scene_mask]).all()]

    # The same in parts, for a trainer that has made the reports in several processes.

    def record(self, reports: Sequence[GroupReport]) -> None:
        """Record the measurements of groups in the pool."""
        step = self.steps + 1
        versions = [self.version if one.version is None else one.version for one in reports]
        self.pool.observe(
            [
                Observation(one.sample_id, step, version, one.diversity, one.accuracy)
                for one, version in zip(reports, versions, strict=True)
            ]
        )

    def submit_reports(self, reports: Sequence[GroupReport]) -> dict[str, float]:
        """Submit the descriptions of the groups of a step as jobs. Return counts by the names of
        their metrics. Call this once a step."""
        return self._descriptions.submit(reports, self.steps, self.version)

    def settle_reports(
        self, reports: Sequence[GroupReport]
    ) -> tuple[list[Settled], dict[str, float]]:
        """Return the descriptions whose reward is known with the measurements of a step, and counts
        by the names of their metrics. Call this once a step, after ``submit_reports``."""
        return self._descriptions.settle(reports, self.steps, self.version)

    def end_step(self) -> None:
        """Count the step and its updates. ``outcomes`` does so itself."""
        self._reports = {}
        self.steps += 1
        self.version += self.updates_per_step

    # What goes with it.

    def get(self, sample_id: str) -> Sample:
        """Return any sample of the pool. Raises InputError for an unknown id."""
        return self.pool.get(sample_id)

    def prefetch_with(self, prepare: Callable[[Sequence[Sample]], None]) -> None:
        """Set a function that is called with the samples of coming batches, see PoolClient."""
        self.pool.prefetch_with(prepare)

    def pool_stats(self) -> PoolStats:
        """Return the counts of the pool. They may be up to one refresh old."""
        return self.pool.stats()

    def stats(self) -> ClientStats:
        """Return counts of the pool and of the last step, without waiting for the server."""
        self._require_open()
        return ClientStats(
            self.steps,
            self.version,
            len(self.ledger),
            self.pool.server_away(),
            self.pool_stats(),
            self._counts,
        )

    @property
    def ledger(self) -> Ledger:
        """The descriptions that wait for their reward."""
        return self._descriptions.ledger

    def backup(self, path: Path) -> None:
        """Write the exact state of the pool to one file, see PoolClient."""
        self.pool.backup(path)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: plain values and NumPy arrays. Call it between two
        steps. The pool itself is not in it; it stays in the directory."""
        return {
            "steps": self.steps,
            "version": self.version,
            "pool": self.pool.state_dict(),
            "ledger": self.ledger.state_dict(),
            "method": self.method.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; arrays may be tensors or lists. Call this before
        drawing.

        Raises InputError, and changes nothing, when ``state`` is nothing of this kind. Waiting
        descriptions of samples that the pool does not have are given up, with a warning.
        """
        self._require_open()
        try:
            steps, version = int(state["steps"]), int(state["version"])
            place = {name: int(state["pool"][name]) for name in ("draws", "cursor")}
            ledger = Ledger(self.ledger.max_staleness)
            ledger.load_state_dict(state["ledger"])
            self.method.load_state_dict(state["method"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"the state is not one that a client has returned ({one_line(error)}); resume from "
                "another checkpoint"
            ) from None
        self.steps, self.version = steps, version
        self.pool.load_state_dict(place)
        self._descriptions.ledger = ledger
        self._give_up_strangers()
        self._reports = {}

    def _give_up_strangers(self) -> None:
        """Give up the descriptions of samples that the pool does not have."""
        strange: list[str] = []
        for pending in self.ledger.pending():
            try:
                self.get(pending.parent_id)
            except InputError:
                strange.append(pending.job_id)
        for job_id in strange:
            self.ledger.lose(job_id)
        if strange:
            log.warning(
                "%s of the checkpoint are given up, because this pool does not have the samples "
                "that they are about; if that is unexpected, open the directory of the run that "
                "made the checkpoint",
                counted(len(strange), "waiting description"),
            )

    def _family(self, sample: Sample) -> str:
        """Return the id of the seed that a sample descends from."""
        if sample.parent is None:
            return sample.id
        if sample.depth == 1:
            return sample.parent
        if sample.parent not in self._families:
            self._families[sample.parent] = self._family(self.pool.get(sample.parent))
        return self._families[sample.parent]


class AsyncDataClient:
    """A DataClient for a trainer with an event loop. Every call runs in one thread beside the loop,
    in the order in which they were made, also if the coroutine that waits for it is cancelled."""

    def __init__(self, client: DataClient) -> None:
        self.client = client
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="data-client-calls")

    async def __aenter__(self) -> AsyncDataClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def draw(
        self, count: int | None = None, avoid: Collection[str] = ()
    ) -> list[DrawnSample]:
        return await self._called(self.client.draw, count, avoid)

    async def observe(self, sample: DrawnSample, accuracies: Sequence[float]) -> Measurement:
        return await self._called(self.client.observe, sample, accuracies)

    async def submit(self, sample: DrawnSample, responses: Sequence[WrittenResponse]) -> int:
        return await self._called(self.client.submit, sample, responses)

    async def outcomes(self) -> list[Settled]:
        return await self._called(self.client.outcomes)

    async def stats(self) -> ClientStats:
        return await self._called(self.client.stats)

    async def get(self, sample_id: str) -> Sample:
        return await self._called(self.client.get, sample_id)

    async def state_dict(self) -> dict[str, Any]:
        return await self._called(self.client.state_dict)

    async def load_state_dict(self, state: Mapping[str, Any]) -> None:
        await self._called(self.client.load_state_dict, state)

    async def close(self) -> None:
        await self._called(self.client.close)

    async def _called(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        named = partial(copy_context().run, call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, named)


class _PaintingWatch:
    """Logs a warning, each once, when painting gives a client no images. ``waiting`` is the number
    of open jobs at the start."""

    def __init__(self, client: DataClient, folder: Path, url: str | None, waiting: int) -> None:
        self.failures = JobFailures(folder, "its traceback is logged at level INFO")
        self._ended_at = time.monotonic()
        self._warnings = PaintingWarnings(
            "the messages of the workers beside this process"
            if url is None
            else f"that workers of {url} run and paint with {client.pool.fingerprint} (syngrpo "
            "serve and syngrpo worker print with what they paint)",
            lambda: client.pool_stats().rejected,
            waiting,
        )

    def step(self, number: int, counts: Mapping[str, float]) -> None:
        """Look at the counts of a finished step."""
        before, self._ended_at = self._ended_at, time.monotonic()
        for text in self._warnings.step(counts, self._ended_at - before):
            log.warning("step %d: %s", number, text)
        self.failures.step(counts)


def shared_draw(
    client: DataClient | None,
    count: int,
    share: Callable[[list[DrawnSample] | None], list[DrawnSample]],
) -> list[DrawnSample]:
    """Draw in the one process that has the client, and return the same samples in all of them.

    ``share`` is the trainer's own broadcast of a Python object from that process. All processes
    call this together.
    """
    return share(None if client is None else client.draw(count))


def as_lists(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state of ``DataClient.state_dict`` as JSON data, with lists for arrays."""
    return {
        name: as_lists(value)
        if isinstance(value, Mapping)
        else value.tolist()
        if isinstance(value, np.ndarray)
        else value
        for name, value in state.items()
    }
