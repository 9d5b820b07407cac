"""Writes the status page of a data server (``GET /``): runs, queue, workers, versions in words."""

from __future__ import annotations

import importlib.metadata
import platform
import sqlite3

from syngrpo.data_server.served_run import ServerRun
from syngrpo.data_server.server_runs import Runs
from syngrpo.data_server.service_metrics import Metrics
from syngrpo.serving.refusals import Refused
from syngrpo.serving.wording import count

LIBRARIES = ("syngrpo", "fastapi", "uvicorn", "pydantic", "pillow")


def status_page(runs: Runs, metrics: Metrics) -> str:
    """Return the page. Names of workers are written in ASCII, because they come from requests."""
    lines = [f"Syn-GRPO data server over {runs.directory}", ""]
    lines += [_of_run(run) for run in runs] or ["There are no runs yet."]
    workers = metrics.workers()
    lines += ["", f"{count(len(workers), 'worker')} in the last minute"]
    lines += [f"  {ascii(name)[1:-1]}, {seconds:.0f} s ago" for name, seconds in workers.items()]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    versions += [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    lines += ["", ", ".join(versions), "The API is described at /docs; /metrics is for Prometheus."]
    return "".join(f"{line}\n" for line in lines)


def _of_run(run: ServerRun) -> str:
    try:
        stats = run.stats()
    except Refused:
        return f"Run {run.name} is offline: {run.problem}"
    jobs, reasons = stats.jobs, stats.rejected.items()
    why = f" ({', '.join(f'{reason} {number}' for reason, number in reasons)})" if reasons else ""
    seeds, samples = count(stats.seed, "seed"), count(stats.synthetic, "painted sample")
    return (
        f"Run {run.name}: {seeds} received, {samples} ({stats.unmeasured} not measured yet). "
        f"Jobs: {jobs['queued']} waiting, {jobs['leased']} being painted, "
        f"{jobs['admitted']} admitted, {jobs['rejected']} rejected{why}, "
        f"{jobs['dead']} given up."
    )
