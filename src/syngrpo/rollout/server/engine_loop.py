"""The one thread that talks to the engine, and what others hand to it.

Requests of several trainer processes are sampled together as they come. New weights wait until
nothing is under way, and all that came after them waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import torch

from syngrpo.rollout.rollout_wire import Request
from syngrpo.rollout.sampled import Engine, Sampled
from syngrpo.rollout.server.blueprint import Blueprint
from syngrpo.sample import InputError
from syngrpo.serving.refusals import Refused

WAIT_S = 10.0
"""How long a request waits for its version of the weights, which another process sends."""
LOOK_S = 0.1
"""How often an idle loop looks whether it has waited too long, or is to stop."""


@dataclass(eq=False)
class Rollout:
    """A request on its way; ``policy`` carries its rules."""

    request: Request
    policy: Blueprint
    future: Future[list[list[Sampled]]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    groups: dict[int, list[Sampled]] = field(default_factory=dict)

    def samples_as(self, other: Rollout) -> bool:
        """Whether both can be under way at once: the engine has one distribution."""
        return self.request.sampling.temperature == other.request.sampling.temperature and (
            torch.equal(self.policy.banned, other.policy.banned)
        )


@dataclass(eq=False)
class Exchange:
    """New weights on their way, read from ``weights`` when their turn has come."""

    version: str
    weights: Iterable[tuple[str, torch.Tensor]]
    future: Future[None] = field(default_factory=Future)


class EngineLoop:
    """``version`` names the weights that the engine has; None: none, or not all of them."""

    def __init__(self, engine: Engine) -> None:
        self.max_length = engine.max_length
        self.version: str | None = None
        self._engine = engine
        self._inbox: SimpleQueue[Rollout | Exchange] = SimpleQueue()
        self._waiting: list[Rollout | Exchange] = []
        self._running: dict[int, tuple[Rollout, int]] = {}

    def put(self, item: Rollout | Exchange) -> None:
        """From any thread. The future gets a result; or Refused where a version does not come; or
        the InputError that reading the weights raised, of which some may be in the engine then."""
        self._inbox.put(item)

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Works until told otherwise. What the engine raises ends it."""
        while goes_on():
            self._receive()
            self._admit()
            self._drop()
            if self._running:
                self._step()

    def _receive(self) -> None:
        try:
            if not self._running:
                self._waiting.append(self._inbox.get(timeout=LOOK_S))
            while True:
                self._waiting.append(self._inbox.get_nowait())
        except Empty:
            return

    def _admit(self) -> None:
        """Begins with all that can begin, in order."""
        waiting, still = self._waiting, list[Rollout]()
        self._waiting = []
        for place, item in enumerate(waiting):
            if isinstance(item, Rollout):
                still += [item] if self._waits(item) else []
            elif self._running:
                self._waiting = waiting[place:]
                break
            else:
                self._exchange(item)
                still = [rollout for rollout in still if self._waits(rollout)]
        self._waiting = [*still, *self._waiting]

    def _waits(self, rollout: Rollout) -> bool:
        """Whether it stays where it is; else it has begun, or ended without."""
        if rollout.future.cancelled():
            return False
        if rollout.request.version != self.version:
            if time.monotonic() - rollout.since < WAIT_S:
                return True
            has = f"version {self.version}" if self.version else "none yet"
            problem = f"no weights of version {rollout.request.version} here, but {has}; send them"
            rollout.future.set_exception(Refused(409, problem))
            return False
        others = next(iter(self._running.values()), None)
        if others is not None and not rollout.samples_as(others[0]):
            return True
        self._start(rollout)
        return False

    def _start(self, rollout: Rollout) -> None:
        request, policy = rollout.request, rollout.policy
        if not self._running:
            self._engine.begin(policy, request.sampling.temperature)
        for index, (prompt, seed) in enumerate(zip(request.prompts, request.seeds, strict=True)):
            number = self._engine.add(policy, prompt, request.sampling, request.count, seed)
            self._running[number] = rollout, index

    def _drop(self) -> None:
        gone = [n for n, (rollout, _) in self._running.items() if rollout.future.cancelled()]
        if gone:
            self._engine.drop(gone)
            for number in gone:
                del self._running[number]

    def _step(self) -> None:
        for number, sampled in self._engine.step().items():
            rollout, index = self._running.pop(number)
            rollout.groups[index] = sampled
            size = len(rollout.request.prompts)
            if len(rollout.groups) == size and rollout.future.set_running_or_notify_cancel():
                rollout.future.set_result([rollout.groups[i] for i in range(size)])

    def _exchange(self, exchange: Exchange) -> None:
        """The engine reads all it is given, so that it is ready for others after a failure."""
        if not exchange.future.set_running_or_notify_cancel():
            return
        problems: list[InputError] = []

        def readable() -> Iterable[tuple[str, torch.Tensor]]:
            try:
                yield from exchange.weights
            except InputError as error:
                problems.append(error)

        self.version = None
        self._engine.take_weights(readable())
        if problems:
            exchange.future.set_exception(problems[0])
            return
        self.version = exchange.version
        exchange.future.set_result(None)
