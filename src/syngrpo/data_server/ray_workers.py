"""Workers as actors of a Ray cluster, placed by GPU and kept alive."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from syngrpo.data_server.options import RemoteSettings
from syngrpo.data_server.ray_cluster import RayCluster, connect, import_ray, needs, reachable
from syngrpo.data_server.supervisor import Slot
from syngrpo.data_server.worker import Worker
from syngrpo.sample import InputError

log = logging.getLogger(__name__)

LOOK_S = 0.2
ROOM_S = 30.0
"""Actors that have no place in the cluster after so long are reported."""


class SynGrpoWorker:
    """One worker in a process that Ray starts, on a node with room for it."""

    def __init__(self, settings: RemoteSettings) -> None:
        # Ray ends the process when its driver or its node does, and has set its priority.
        self._worker = Worker(settings, lambda: True, log.error)

    def place(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"

    def run(self) -> None:
        self._worker.run()

    def stop(self) -> None:
        self._worker.stop()


@dataclass(eq=False)
class _ActorSlot(Slot):
    """``life`` is done when the actor is, ``placed`` once it runs."""

    actor: Any = None
    life: Any = None
    placed: Any = None


class RayWorkers:
    """Keeps ``settings.workers`` actors at work for the service at ``settings.server``.

    An actor that dies is replaced, wherever there is room; its leases expire, so nothing is lost
    with it, or with its node. The actors end when the process that started them does.
    """

    def __init__(self, settings: RemoteSettings, cluster: RayCluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._slots = [_ActorSlot() for _ in range(settings.workers)]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._connected = False
        self._needs: dict[str, float] = {}
        self.restarts = 0
        self.problem: str | None = None
        """What the last actor that died said, for the user."""

    def start(self) -> None:
        """Returns once the cluster knows of the actors; they come up where there is room.

        Raises InputError when Ray is missing or the cluster does not answer.
        """
        ray = import_ray()
        if not ray.is_initialized():
            connect(self._cluster.address)
            self._connected = True
        url = reachable(self._settings.server.url)
        self._settings = replace(self._settings, server=replace(self._settings.server, url=url))
        self._needs = needs(self._settings, self._cluster, ray.cluster_resources())
        self._stopping.clear()
        for slot in self._slots:
            self._spawn(slot)
        self._thread = threading.Thread(target=self._supervise, name="ray-workers", daemon=True)
        self._thread.start()

    def stop_soon(self) -> None:
        """Tells every actor to end after its job at hand; ``stop`` waits for them."""
        self._stopping.set()  # the rest is for the thread: this may run in a signal's handler

    def stop(self, timeout_s: float = 10.0) -> None:
        """Lets every actor finish its job; one that takes longer than ``timeout_s`` is killed."""
        ray = import_ray()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        at_work = [slot.life for slot in self._slots if slot.life and _is_done(slot.placed)]
        if at_work:
            ray.wait(at_work, num_returns=len(at_work), timeout=timeout_s)
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        self._slots = [_ActorSlot() for _ in self._slots]
        if self._connected:
            ray.shutdown()
            self._connected = False

    def __enter__(self) -> RayWorkers:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, slot: _ActorSlot) -> None:
        # Restarts are ours: Ray's own have no pause, and a model that fails to load is a big file.
        kind = (
            import_ray()
            .remote(SynGrpoWorker)
            .options(max_restarts=0, max_concurrency=3, **self._needs)
        )
        slot.actor = kind.remote(self._settings)
        slot.placed = slot.actor.place.remote()
        slot.life = slot.actor.run.remote()
        slot.started = time.monotonic()

    def _supervise(self) -> None:
        began, told = time.monotonic(), False
        while not self._stopping.wait(LOOK_S):
            for slot in self._slots:
                self._look_after(slot)
            if not told and time.monotonic() - began > ROOM_S:
                told = True
                self._report_room()
        for slot in self._slots:
            if slot.actor is not None:
                slot.actor.stop.remote()

    def _look_after(self, slot: _ActorSlot) -> None:
        now = time.monotonic()
        if slot.actor is None:
            if now >= slot.not_before:
                self._spawn(slot)
            return
        if not _is_done(slot.life):
            return
        self.problem = line = _last_words(slot.life)
        delay = slot.back_off(now)
        log.warning("a worker on the Ray cluster ended (%s); replacing it in %g s", line, delay)
        import_ray().kill(slot.actor)  # an actor that is only out of reach may still be alive
        slot.actor, slot.life = None, None
        self.restarts += 1

    def _report_room(self) -> None:
        waiting = [slot for slot in self._slots if slot.life and not _is_done(slot.placed)]
        if waiting:
            each = f"{self._needs['num_cpus']:g} CPU and {self._needs['num_gpus']:g} GPU"
            log.warning(
                "%d of %d workers wait for room in the Ray cluster; each asks for %s",
                len(waiting),
                len(self._slots),
                each,
            )


def _is_done(reference: Any) -> bool:
    return bool(import_ray().wait([reference], timeout=0)[0])


def _last_words(life: Any) -> str:
    """Why an actor's work is over, in one line."""
    ray = import_ray()
    try:
        ray.get(life)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        known = isinstance(cause, InputError)
        return str(cause) if known else " ".join(str(error).split())
    except ray.exceptions.RayError as error:
        return " ".join(str(error).split())
    return "it had nothing more to do"
