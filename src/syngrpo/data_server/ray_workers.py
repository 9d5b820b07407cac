"""Runs workers as actors of a Ray cluster, and replaces those that die.

``workers`` starts and stops ``RayWorkers``. ``SynGrpoWorker`` runs in the processes that Ray
starts.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import replace
from typing import Any

from syngrpo.data_server.ray_cluster import RayCluster, connect, import_ray, needs, reachable
from syngrpo.data_server.synthesis_options import RemoteSettings
from syngrpo.data_server.worker_process import Worker
from syngrpo.sample import InputError
from syngrpo.serving.supervision import Supervisor
from syngrpo.serving.wording import one_line

log = logging.getLogger(__name__)

ROOM_S = 30.0
"""Seconds after which a warning reports actors for which the cluster has no room."""


class SynGrpoWorker:
    """A worker in a process that Ray starts on a node with room for it."""

    def __init__(self, settings: RemoteSettings) -> None:
        # The worker need not watch its parent: Ray ends the process together with its driver. Ray
        # also sets its priority.
        self._worker = Worker(settings, lambda: True, log.error)

    def location(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"

    def run(self) -> None:
        self._worker.run()

    def stop(self) -> None:
        self._worker.stop()


class _Actor:
    """A ``Supervised`` actor. Its work starts when the cluster has room for it."""

    name = "a worker on the Ray cluster"

    def __init__(self, settings: RemoteSettings, needs: dict[str, float]) -> None:
        # Our supervisor replaces dead actors, with growing pauses. Ray would restart them at once,
        # although a worker may have to load a large model.
        actor_class = (
            import_ray().remote(SynGrpoWorker).options(max_restarts=0, max_concurrency=3, **needs)
        )
        self._actor = actor_class.remote(settings)
        self._placed = self._actor.location.remote()
        self._run = self._actor.run.remote()

    def is_placed(self) -> bool:
        """Return whether the cluster has found room for the actor."""
        return _is_done(self._placed)

    def ending(self) -> str | None:
        line = self.problem()
        return None if line is None else f"({line})"

    def problem(self) -> str | None:
        return _reason_of_ending(self._run) if _is_done(self._run) else None

    def finish_soon(self) -> None:
        self._actor.stop.remote()

    def wait(self, seconds: float) -> None:
        if self.is_placed():
            import_ray().wait([self._run], timeout=seconds)

    def kill(self) -> None:
        import_ray().kill(self._actor)  # also if it ended because its node was out of reach


class RayWorkers(Supervisor[_Actor]):
    """Keeps ``settings.workers`` actors running for the data server at ``settings.server``.

    An actor that dies is replaced, on any node with room. Its leases expire, so no job is lost with
    it or with its node. The actors end when the process that started them ends.
    """

    def __init__(self, settings: RemoteSettings, cluster: RayCluster) -> None:
        super().__init__(lambda place: _Actor(self._settings, self._needs), settings.workers)
        self._settings = settings
        self._cluster = cluster
        self._connected = False
        self._needs: dict[str, float] = {}
        self._room_report: threading.Timer | None = None

    def start(self) -> None:
        """Ask the cluster for the actors and return. Each starts when a node has room for it.

        Raises InputError when Ray is missing or the cluster does not answer.
        """
        ray = import_ray()
        if not ray.is_initialized():
            connect(self._cluster.address)
            self._connected = True
        url = reachable(self._settings.server.url)
        self._settings = replace(self._settings, server=replace(self._settings.server, url=url))
        self._needs = needs(self._settings, self._cluster, ray.cluster_resources())
        super().start()
        self._room_report = threading.Timer(ROOM_S, self._report_room)
        self._room_report.daemon = True
        self._room_report.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let every actor finish its job, kill those that take more than ``timeout_s``, and leave
        the cluster if ``start`` connected to it."""
        if self._room_report is not None:
            self._room_report.cancel()
            self._room_report.join()
        super().stop(timeout_s)
        if self._connected:
            import_ray().shutdown()
            self._connected = False

    def _report_room(self) -> None:
        waiting = sum(not actor.is_placed() for actor in self.workers())
        if waiting:
            log.warning(
                "%d of %d workers wait for room in the Ray cluster; each needs %g CPU and %g GPU",
                waiting,
                self._settings.workers,
                self._needs["num_cpus"],
                self._needs["num_gpus"],
            )


def _is_done(reference: Any) -> bool:
    return bool(import_ray().wait([reference], timeout=0)[0])


def _reason_of_ending(run: Any) -> str:
    """Return one line that says why the call ``run`` of an actor has ended."""
    ray = import_ray()
    try:
        ray.get(run)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        known = isinstance(cause, InputError)
        return str(cause) if known else one_line(error)
    except ray.exceptions.RayError as error:
        return one_line(error)
    return "it had nothing more to do"
