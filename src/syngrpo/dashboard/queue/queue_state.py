"""Reads the state of the job queue of a run: who paints what, how fast, and what went wrong.

A limited number of rows is read, found by the indices of the table, so that a queue with 100,000
ended jobs takes some milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syngrpo.dashboard.reading.gate_limits import served_options
from syngrpo.data_server.synthesis_options import SynthesisOptions
from syngrpo.pages.run_data import RunData
from syngrpo.pool.jobs import error_line
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolStats

MOST_LEASES = 100
MOST_DEAD, LOOKED_AT = 500, 20_000
"""Number of dead jobs that are read, the last ones, and of ended jobs among which they are
sought."""
PAINTED = 500
"""Number of pictures by whose times the rate is computed, the last ones, and of ended jobs by which
workers are known."""
MINUTE_S = 60.0
PAUSE_S = 600.0
"""Seconds without a picture that count as a pause of the run."""
NEVER_S = 3600.0
"""A lease that seems to have expired longer ago than this is that of another host's clock, or
nobody has looked at the queue since."""


@dataclass(frozen=True)
class Lease:
    """A job that a worker paints. ``renewed_s`` is the number of seconds since the worker was last
    heard of, more than the length of a lease if it has expired; None if the clock of this host does
    not say it."""

    worker: str
    job_id: str
    parent: str
    description: str
    attempts: int
    renewed_s: float | None


@dataclass(frozen=True)
class SeenWorker:
    """A worker that paints, or that has ended one of the last jobs. ``ended`` is how many of these
    it has ended, by their state; ``idle_s`` the number of seconds since its last picture was
    admitted, None without one; ``holds`` the number of jobs that it paints now."""

    name: str
    ended: dict[str, int]
    idle_s: float | None
    holds: int


@dataclass(frozen=True)
class Failures:
    """Jobs that failed with the same error: the line that says what was raised, the newest
    traceback, and the ids of the jobs, the newest first."""

    line: str
    traceback: str
    job_ids: tuple[str, ...]


@dataclass(frozen=True)
class QueueState:
    """The queue of a run. ``workers`` are those that paint, and those that have ended the last
    ``PAINTED`` jobs; a pool of an earlier version does not say who has ended a job. ``dead`` are
    jobs that were given up, ``retried`` those that have failed and wait for their next attempt.
    ``last_minute`` is the number of pictures that were admitted in the last minute, ``a_minute``
    how many were in a minute on average while the last ones were painted; None with fewer than two.
    ``mirrored``: whether the jobs are those of a data server, of which only the ended ones are
    here."""

    stats: PoolStats
    leases: tuple[Lease, ...]
    workers: tuple[SeenWorker, ...]
    dead: tuple[Failures, ...]
    retried: tuple[Failures, ...]
    last_minute: int
    a_minute: float | None
    mirrored: bool


def queue_state(pool: Pool, lease_s: float, now: float, monotonic: float) -> QueueState:
    """Read the queue. ``now`` is the time in seconds since 1970, ``monotonic`` that of the host's
    monotonic clock, by which leases expire."""
    with pool.database.read() as connection:
        leases = connection.execute(_LEASES, (MOST_LEASES,)).fetchall()
        dead = connection.execute(_DEAD, {"seen": LOOKED_AT, "most": MOST_DEAD}).fetchall()
        retried = connection.execute(_RETRIED, (MOST_DEAD,)).fetchall()
        created = connection.execute(_CREATED, (PAINTED,)).fetchall()
        painters = connection.execute(_PAINTERS, (PAINTED,)).fetchall()
        (mirrored,) = connection.execute("SELECT EXISTS (SELECT 1 FROM mirrored)").fetchone()
    times = [one for (one,) in created]
    return QueueState(
        stats=pool.stats(),
        leases=tuple(
            Lease(worker, job, parent, text, attempts, _renewed_s(until, lease_s, monotonic))
            for worker, job, parent, text, attempts, until in leases
        ),
        workers=_seen_workers(painters, [one[0] for one in leases], now),
        dead=_by_error(dead),
        retried=_by_error(retried),
        last_minute=sum(now - MINUTE_S <= one <= now for one in times),
        a_minute=_a_minute(times),
        mirrored=bool(mirrored),
    )


_LEASES = """
SELECT j.worker, j.id, s.id, j.description, j.attempts, j.lease_until
FROM jobs j JOIN samples s ON s.number = j.parent
WHERE j.state = 'leased' ORDER BY j.lease_until LIMIT ?
"""
_DEAD = """
SELECT id, error FROM jobs
WHERE cursor > (SELECT MAX(cursor) FROM jobs WHERE cursor IS NOT NULL) - :seen AND state = 'dead'
ORDER BY cursor DESC LIMIT :most
"""
_RETRIED = """
SELECT * FROM (
    SELECT id, error FROM jobs WHERE state = 'leased' UNION ALL
    SELECT id, error FROM jobs WHERE state = 'queued' AND error IS NOT NULL
) WHERE error IS NOT NULL LIMIT ?
"""
_PAINTERS = """
SELECT j.worker, j.state, COUNT(*), MAX(s.created)
FROM (
    SELECT id, worker, state FROM jobs
    WHERE cursor IS NOT NULL AND state IN ('admitted', 'rejected', 'dead')
    ORDER BY cursor DESC LIMIT ?
) j LEFT JOIN samples s ON s.job = j.id
WHERE j.worker IS NOT NULL GROUP BY j.worker, j.state
"""
_CREATED = "SELECT created FROM samples WHERE job IS NOT NULL ORDER BY number DESC LIMIT ?"


def _a_minute(times: Sequence[float]) -> float | None:
    """Return how many pictures were painted in a minute while they were: pauses of the run, as
    before it was resumed, are left out. ``times`` are in seconds, the newest first."""
    between = np.abs(np.diff(times))
    painting = between[between <= PAUSE_S] if (between <= PAUSE_S).any() else between
    seconds = float(painting.sum())
    return MINUTE_S * len(painting) / seconds if seconds > 0 else None


def _seen_workers(
    rows: Iterable[Sequence[Any]], holders: Sequence[str], now: float
) -> tuple[SeenWorker, ...]:
    """Return the workers of ended jobs and of leases, those first that paint now, then those with
    the newest pictures."""
    ended: dict[str, dict[str, int]] = {name: {} for name in holders}
    newest: dict[str, float] = {}
    for name, state, number, created in rows:
        ended.setdefault(name, {})[state] = number
        if created is not None:
            newest[name] = max(created, newest.get(name, created))
    names = sorted(ended, key=lambda one: (one not in holders, -newest.get(one, 0.0), one))
    return tuple(
        SeenWorker(
            name,
            ended[name],
            max(0.0, now - newest[name]) if name in newest else None,
            holders.count(name),
        )
        for name in names
    )


def _renewed_s(until: float, lease_s: float, now: float) -> float | None:
    ago = lease_s - (until - now)
    return ago if 0 <= ago <= lease_s + NEVER_S else None


def _by_error(rows: Iterable[Sequence[Any]]) -> tuple[Failures, ...]:
    """Return the jobs by the line of their error, the most frequent first."""
    jobs: dict[str, list[str]] = {}
    newest: dict[str, str] = {}
    for job_id, error in rows:
        line = error_line(error or "") or "no error was recorded"
        jobs.setdefault(line, []).append(job_id)
        newest.setdefault(line, error or "")
    ordered = sorted(jobs, key=lambda line: -len(jobs[line]))
    return tuple(Failures(line, newest[line], tuple(jobs[line])) for line in ordered)


@dataclass(frozen=True)
class QueueSettings:
    """How the jobs of a run are painted, as far as its configuration says it."""

    generator: str = ""
    mode: str = ""
    workers: int | None = None
    devices: tuple[str, ...] = ()
    server: str = ""
    queue_limit: int = SynthesisOptions.queue_limit
    lease_s: float = SynthesisOptions.lease_s
    max_attempts: int = SynthesisOptions.max_attempts


def queue_settings(run: RunData) -> QueueSettings:
    """Return the settings of a run, or of a run on a data server. What cannot be read has its
    default."""
    served = served_options(run.directory)

    def value(key: str, kinds: type | tuple[type, ...], default: Any) -> Any:
        found = served.get(key, run.setting("synthesis", key))
        return found if isinstance(found, kinds) and not isinstance(found, bool) else default

    plain = QueueSettings()
    server = run.setting("server", "url")
    return QueueSettings(
        generator=str(value("generator", str, "")),
        mode=str(value("mode", str, "")),
        workers=value("workers", int, None),
        devices=tuple(str(one) for one in value("devices", (list, tuple), ())),
        server=server if isinstance(server, str) else "",
        queue_limit=value("queue_limit", int, plain.queue_limit),
        lease_s=float(value("lease_s", (int, float), plain.lease_s)),
        max_attempts=value("max_attempts", int, plain.max_attempts),
    )


@dataclass(frozen=True)
class QueueCurves:
    """The queue over the steps (N,): jobs that were open at the end of a step, those submitted and
    dropped in it, those that ended, those among them that were given up, pictures painted in a
    minute, and seconds that training waited for data."""

    steps: tuple[int, ...]
    open: tuple[float, ...]
    submitted: tuple[float, ...]
    dropped: tuple[float, ...]
    ended: tuple[float, ...]
    dead: tuple[float, ...]
    a_minute: tuple[float, ...]
    waited: tuple[float, ...]


@np.errstate(over="ignore", invalid="ignore")  # of metrics that are near the largest number
def queue_curves(run: RunData) -> QueueCurves | None:
    """Return the queue over the steps from the metrics; None for a run that submitted nothing.

    Open jobs are those submitted and not yet ended. A run that goes on at a checkpoint counts those
    of the steps that it does again once.
    """
    rows = run.metrics
    of = {name: _column(rows, f"synthesis/{name}") for name in _COUNTS}
    if not of["submitted"].any() and not of["dropped"].any():
        return None
    ended = of["admitted"] + of["rejected"] + of["dead"]
    open_jobs = open_at_the_end(of["submitted"], ended)
    seconds = _column(rows, "time/step_s")
    rate = np.divide(MINUTE_S * ended, seconds, out=np.zeros(len(rows)), where=seconds > 0)
    values = (open_jobs, of["submitted"], of["dropped"], ended, of["dead"], rate)
    waited = _column(rows, "time/wait_data_s")
    lists = [tuple(one.tolist()) for one in (*values, waited)]
    return QueueCurves(tuple(row["step"] for row in rows), *lists)


def open_at_the_end(submitted: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Return the number of open jobs at the end of each step, (N,), from those that were submitted
    and that ended in it.

    A job that an earlier attempt of the run had submitted may end in a step that is done again.
    It is not among those submitted, so the number is never below 0 in any step.
    """
    sums = np.cumsum(submitted - ended)
    surplus = np.minimum(np.minimum.accumulate(sums), 0) if len(sums) else sums
    return np.asarray(sums - surplus)


_COUNTS = ("submitted", "dropped", "admitted", "rejected", "dead")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Return a metric of all steps, (N,), 0 where it is missing."""
    found = (row.get(name) for row in rows)
    return np.array([one if isinstance(one, int | float) else 0.0 for one in found], float)


def read_queue(pool: Pool, run: RunData) -> QueueState:
    """Read the queue of a run as it is now."""
    return queue_state(pool, queue_settings(run).lease_s, time.time(), time.monotonic())
