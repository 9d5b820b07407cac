"""The loop that runs the engine, with the queue through which other threads give it work.

Requests of several trainer processes are sampled together as they arrive. New weights are loaded
when no prompt is unfinished; everything that arrived after them waits until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import torch

from syngrpo.rollout.base import IncrementalEngine, SampledTokens
from syngrpo.rollout.server.model_outline import ModelOutline
from syngrpo.rollout.server_messages import Request
from syngrpo.sample import InputError
from syngrpo.serving.refusals import Refused

WEIGHTS_S = 10.0
"""Seconds that a request waits for its version of the weights, which another process sends."""
IDLE_S = 0.1
"""Seconds after which an idle loop checks waiting requests, and whether to stop, again."""


@dataclass(eq=False)
class PendingRollout:
    """A request that waits or is being sampled. ``outline`` holds its banned and stop tokens.

    ``future`` gets one list of responses for each prompt.
    """

    request: Request
    outline: ModelOutline
    future: Future[list[list[SampledTokens]]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    groups: dict[int, list[SampledTokens]] = field(default_factory=dict)

    def has_distribution_of(self, other: PendingRollout) -> bool:
        """Return whether the engine can sample both together: it has one temperature and one set of
        banned tokens at a time."""
        return self.request.sampling.temperature == other.request.sampling.temperature and (
            torch.equal(self.outline.banned, other.outline.banned)
        )


@dataclass(eq=False)
class WeightUpdate:
    """New weights, called ``version``. The loop reads them when nothing else is unfinished."""

    version: str
    weights: Iterable[tuple[str, torch.Tensor]]
    future: Future[None] = field(default_factory=Future)


class EngineLoop:
    """Runs an engine for requests and weights that other threads queue with ``put``.

    ``version`` names the weights that the engine has; None when it has none, or only a part.
    """

    def __init__(self, engine: IncrementalEngine) -> None:
        self.max_length = engine.max_length
        self.version: str | None = None
        self._engine = engine
        self._inbox: SimpleQueue[PendingRollout | WeightUpdate] = SimpleQueue()
        self._waiting: list[PendingRollout | WeightUpdate] = []
        self._running: dict[int, tuple[PendingRollout, int]] = {}

    def put(self, item: PendingRollout | WeightUpdate) -> None:
        """Queue a request or weights, from any thread.

        The item's future gets the result. It gets Refused when the version of the weights that a
        request names does not arrive, and InputError when the weights cannot be read; the engine
        may then have a part of them. Cancel the future to drop the request.
        """
        self._inbox.put(item)

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Process the queue as long as ``goes_on()`` is true. Raises what the engine raises."""
        while goes_on():
            self._receive()
            self._start_waiting()
            self._drop_cancelled()
            if self._running:
                self._step()

    def _receive(self) -> None:
        try:
            if not self._running:
                self._waiting.append(self._inbox.get(timeout=IDLE_S))
            while True:
                self._waiting.append(self._inbox.get_nowait())
        except Empty:
            return

    def _start_waiting(self) -> None:
        """Start every item that can start now, in the order of arrival."""
        waiting, still = self._waiting, list[PendingRollout]()
        self._waiting = []
        for place, item in enumerate(waiting):
            if isinstance(item, PendingRollout):
                still += [item] if self._must_wait(item) else []
            elif self._running:
                self._waiting = waiting[place:]
                break
            else:
                self._load_weights(item)
                still = [rollout for rollout in still if self._must_wait(rollout)]
        self._waiting = [*still, *self._waiting]

    def _must_wait(self, rollout: PendingRollout) -> bool:
        """Start the request if that is possible. Return False when it was started, was cancelled,
        or was refused because its weights did not arrive."""
        if rollout.future.cancelled():
            return False
        if rollout.request.version != self.version:
            if time.monotonic() - rollout.since < WEIGHTS_S:
                return True
            has = f"has version {self.version}" if self.version else "has none yet"
            problem = f"the server {has}, not version {rollout.request.version}; send the weights"
            if rollout.future.set_running_or_notify_cancel():
                rollout.future.set_exception(Refused(409, problem))
            return False
        others = next(iter(self._running.values()), None)
        if others is not None and not rollout.has_distribution_of(others[0]):
            return True
        self._start(rollout)
        return False

    def _start(self, rollout: PendingRollout) -> None:
        request, outline = rollout.request, rollout.outline
        if not self._running:
            self._engine.begin(outline, request.sampling.temperature)
        for index, (prompt, seed) in enumerate(zip(request.prompts, request.seeds, strict=True)):
            number = self._engine.add(outline, prompt, request.sampling, request.count, seed)
            self._running[number] = rollout, index

    def _drop_cancelled(self) -> None:
        """Drop the prompts of requests whose future was cancelled."""
        gone = [n for n, (rollout, _) in self._running.items() if rollout.future.cancelled()]
        if gone:
            self._engine.drop(gone)
            for number in gone:
                del self._running[number]

    def _step(self) -> None:
        """Let the engine sample, and finish the requests whose last prompt is done."""
        for number, sampled in self._engine.step().items():
            rollout, index = self._running.pop(number)
            rollout.groups[index] = sampled
            size = len(rollout.request.prompts)
            if len(rollout.groups) == size and rollout.future.set_running_or_notify_cancel():
                rollout.future.set_result([rollout.groups[i] for i in range(size)])

    def _load_weights(self, update: WeightUpdate) -> None:
        """Load new weights. If reading them fails, the iterator that the engine gets ends normally,
        so that the engine can load others afterwards."""
        if not update.future.set_running_or_notify_cancel():
            return
        problems: list[InputError] = []

        def readable() -> Iterable[tuple[str, torch.Tensor]]:
            try:
                yield from update.weights
            except InputError as error:
                problems.append(error)

        self.version = None
        self._engine.load_weights(readable())
        if problems:
            update.future.set_exception(problems[0])
            return
        self.version = update.version
        update.future.set_result(None)
