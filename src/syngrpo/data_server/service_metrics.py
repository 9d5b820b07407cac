"""Collects the metrics of a data server and writes them for Prometheus (``GET /metrics``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from syngrpo.data_server.server_runs import Runs
from syngrpo.serving.refusals import Refused

SEEN_S = 60.0
"""A worker counts as present for this many seconds after its last request."""
MOST_WORKERS = 10_000
"""Number of workers that are remembered. Requests choose their names."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts requests and workers. Reads the pools when the metrics are requested."""

    def __init__(self, runs: Runs) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "syngrpo_request_seconds",
            "Time to answer a request, by route.",
            ["route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "syngrpo_requests", "Requests.", ["route", "status"], registry=self._registry
        )
        workers = Gauge(
            "syngrpo_workers", "Workers heard of in the last minute.", registry=self._registry
        )
        workers.set_function(lambda: len(self.workers()))
        self._lock = threading.Lock()
        self._workers: dict[str, float] = {}  # in the order of their last request
        self._registry.register(_Pools(runs))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._latency.labels(route).observe(seconds)
        self._requests.labels(route, str(status)).inc()

    def worker(self, name: str) -> None:
        """Note that a worker has sent a request."""
        with self._lock:
            self._workers.pop(name, None)
            if len(self._workers) >= MOST_WORKERS:
                del self._workers[next(iter(self._workers))]
            self._workers[name] = time.monotonic()

    def workers(self) -> dict[str, float]:
        """Return the seconds since the last request of each worker that is present, by name."""
        now = time.monotonic()
        with self._lock:
            since = {name: now - last for name, last in self._workers.items()}
            present = {name: seconds for name, seconds in since.items() if seconds <= SEEN_S}
            self._workers = {name: now - seconds for name, seconds in present.items()}
        return present

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Pools(Collector):
    """The sizes of the pools and queues of all runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        queue = GaugeMetricFamily("syngrpo_queue_jobs", "Open jobs.", labels=["run", "state"])
        ended = CounterMetricFamily("syngrpo_ended_jobs", "Ended jobs.", labels=["run", "state"])
        reasons = CounterMetricFamily(
            "syngrpo_rejected_jobs", "Pictures that the gate refused.", labels=["run", "reason"]
        )
        samples = GaugeMetricFamily("syngrpo_samples", "Samples.", labels=["run", "kind"])
        offline = GaugeMetricFamily("syngrpo_runs_offline", "Runs whose folder is damaged.")
        offline.add_metric([], sum(run.problem is not None for run in self._runs))
        for run in self._runs:
            try:
                stats = run.stats()
            except Refused:  # it is offline
                continue
            for state, count in stats.jobs.items():
                family = queue if state in ("queued", "leased") else ended
                family.add_metric([run.name, state], count)
            for reason, count in stats.rejected.items():
                reasons.add_metric([run.name, reason], count)
            samples.add_metric([run.name, "seed"], stats.seed)
            samples.add_metric([run.name, "synthetic"], stats.synthetic)
            samples.add_metric([run.name, "unmeasured"], stats.unmeasured)
        yield from (queue, ended, reasons, samples, offline)
