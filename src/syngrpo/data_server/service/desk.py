"""What the routes share: the runs, threads for the database, and bells for those who wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from syngrpo.data_server.service.limits import Limits
from syngrpo.data_server.service.runs import Runs
from syngrpo.data_server.service.service_metrics import Metrics

T = TypeVar("T")

THREADS = 4
"""More would only wait for the database's one write lock."""
RECHECK_S = 1.0
"""Who waits looks again so often: leases expire without a bell."""


class Bell:
    """Wakes everybody who waits for something to happen."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def answered(self, look: Callable[[], Awaitable[list[T]]], seconds: float) -> list[T]:
        """What ``look`` finds, at once or after a ring within so many seconds; else nothing."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            event = self._event  # before the look: a ring during it is not missed
            if found := await look():
                return found
            left = end - loop.time()
            if left <= 0:
                return []
            try:
                await asyncio.wait_for(event.wait(), min(left, RECHECK_S))
            except TimeoutError:
                continue


class Desk:
    """One per service."""

    def __init__(self, runs: Runs, limits: Limits) -> None:
        self.runs = runs
        self.limits = limits
        self.metrics = Metrics(runs)
        self.work = Bell()
        self.ended: defaultdict[str, Bell] = defaultdict(Bell)
        self.closing = False
        self._threads = ThreadPoolExecutor(THREADS, "database")

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Runs what reads or writes disks beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def patience(self, seconds: float) -> float:
        """How long a request may still wait."""
        return 0.0 if self.closing else seconds

    def close_soon(self) -> None:
        """Nobody waits any longer."""
        self.closing = True
        self.work.ring()
        for bell in self.ended.values():
            bell.ring()

    def close(self) -> None:
        self._threads.shutdown()
        self.runs.close()
