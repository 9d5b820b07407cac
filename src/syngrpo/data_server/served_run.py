"""One run that uses a data server: its folder, with a pool and a queue, and what it is asked for.

``routes`` calls the methods of ``ServerRun`` in threads. ``server_runs`` holds all runs.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from syngrpo.boxes import area, clip
from syngrpo.data_server.api_schemas import JobOptions
from syngrpo.data_server.job_exchange import Leased
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue, result_for_queue
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.painting_request import PaintingOptions, Result
from syngrpo.pool.database import FILE_NAME, require_file
from syngrpo.pool.filesystem import PoolDamaged, PoolStorageError, explain_disk_errors
from syngrpo.pool.image_store import ImageFiles
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import Admitted, EndedJob, Job, JobRequest, Rejected, SubmitResult
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, PoolStats, SampleIdTaken, select_known
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.refusals import Refused
from syngrpo.serving.wording import first_line, one_line
from syngrpo.tasks import get_task

log = logging.getLogger(__name__)

RECORD = "run.json"
"""The file in a run's folder with its identity and its options."""
_OF_TRAINER = ("config.yaml", ".lock")
"""Files that every directory of a training run has."""
_GONE = f"is missing beside a {FILE_NAME} with samples"
OFFLINE_AGAIN_S = 30
"""Seconds after which a client may ask again for a run that is offline."""


class RunOffline(Refused):
    """The run is offline, because its folder is damaged or its task is not known."""


@dataclass
class _Opened:
    """What is open of a run's folder."""

    pool: Pool
    settings: SynthesisSettings
    queue: JobQueue


@dataclass(frozen=True)
class HeldJob:
    """A job that a worker holds, with its parent and the seed of that."""

    job: Job
    parent: Sample
    source: Sample


class ServerRun:
    """One run on the server. Threads may call its methods at the same time.

    Its pool is opened by the first call that needs it, and closed by ``rest``. All methods raise
    RunOffline while the run is offline.
    """

    def __init__(self, directory: Path, make_room: Callable[[], None] = lambda: None) -> None:
        """``make_room`` is called before the pool is opened."""
        self.name = directory.name
        self.identity = ""
        self.problem: str | None = None
        """Why the run is offline; None for a run that serves."""
        self._directory = directory
        self._make_room = make_room
        self._lock = threading.Lock()
        self._users = 0
        self._used = time.monotonic()
        self._options = JobOptions()
        self._opened: _Opened | None = None
        self._exists = False
        # Of the pool, while it is closed:
        self._stats: PoolStats | None = None
        self._wanted: frozenset[str] = frozenset()

    def create(self, options: JobOptions) -> None:
        """Make the folder of a new run. If it holds the pool of another, the run is offline.
        Raises Refused if it is the directory of a training run."""
        if belongs_to_trainer(self._directory):
            raise Refused(
                409,
                f"{self._directory} is the directory of a training run, whose pool is its own; "
                "set server.namespace to another name",
            )
        if holds_samples(self._directory):
            self._put_offline(self._damaged(_GONE))
        self.identity = uuid.uuid4().hex
        self.configure(options)

    def load(self) -> None:
        """Read the folder of an existing run. The run is offline afterwards if its folder is
        damaged, or if this process does not know a task of its samples."""
        self._exists = True
        try:
            self._read_record()
            with self._open() as opened:
                for name in opened.pool.task_names():
                    get_task(name)
        except (InputError, OSError) as error:
            self._put_offline(error)
        except Refused:  # _open has put it offline
            return

    def configure(self, options: JobOptions) -> None:
        """Use new options from now on. Leased jobs keep the old ones."""
        with self._open() as opened:
            self._options = options
            opened.settings, opened.queue = self._queue(opened.pool)
            record = {"identity": self.identity, "options": options.model_dump()}
            atomic_write(self._directory / RECORD, json.dumps(record, indent=2))
            self._exists = True

    def rest(self, before: float) -> bool:
        """Close the pool if nobody uses it now and nobody has used it since ``before`` (a time of
        the monotonic clock). Does not wait. Return whether the pool is closed now."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._opened is not None and not self._users and self._used <= before:
                pool, queue = self._opened.pool, self._opened.queue
                try:
                    if self.problem is None:
                        self._stats, self._wanted = pool.stats(), queue.generators()
                except PoolDamaged as error:
                    self._put_offline(error)
                self._opened = None
                pool.close()
            return self._opened is None
        finally:
            self._lock.release()

    @property
    def used(self) -> float:
        """The time of the monotonic clock at which somebody used the pool for the last time."""
        return self._used

    def is_open(self) -> bool:
        return self._opened is not None

    def close(self) -> None:
        """Close the pool. Nobody may use it any more."""
        if self._opened is not None:
            self._opened.pool.close()

    def stats(self) -> PoolStats:
        """Return the counts of the pool and the queue. A closed pool stays closed."""
        known = self._stats
        if self._opened is None and known is not None and self.problem is None:
            return known
        with self._open() as opened:
            return opened.pool.stats()

    @property
    def max_image_pixels(self) -> int:
        """The largest area of a picture in pixels that the run takes."""
        return self._options.max_image_pixels

    def image_path(self, digest: str) -> Path:
        """Return the path of an image. The file may not exist."""
        return ImageFiles(self._directory / "images").path(digest)

    def submit(self, jobs: Sequence[JobRequest]) -> tuple[SubmitResult, list[str]]:
        """Submit the jobs whose parents are in the pool. Return their result, and the ids of the
        missing parents. Raises Refused when there is no room for any of the jobs."""
        with self._open() as opened:
            missing = opened.queue.unknown_parents(jobs)
            known = [job for job in jobs if job.parent_id not in missing]
            result = opened.queue.submit(known)
        if result.dropped and not (result.accepted or result.duplicates or missing):
            raise Refused(429, f"the queue of run {self.name} is full; try again later", 5)
        return result, missing

    def observe(self, observations: Sequence[Observation]) -> list[str]:
        """Record measurements of samples that are in the pool. Return the ids of the others."""
        names = {one.sample_id for one in observations}
        with self._open() as opened:
            with opened.pool.database.read() as connection:
                known = select_known(connection, names)
            here = [one for one in observations if one.sample_id in known]
            if here:
                opened.pool.observe(here, self._options.policy)
        return sorted(names - known)

    def add_seeds(self, samples: Sequence[Sample]) -> int:
        """Add the samples that are not in the pool, and return their number. Raises Refused when
        the pool has another sample with one of the ids."""
        with self._open() as opened:
            try:
                return opened.pool.add_seeds(samples)
            except SampleIdTaken as error:
                raise Refused(409, str(error)) from None

    def ended(self, after: int, limit: int, admitted: bool) -> list[EndedJob]:
        """Return the jobs that ended after the cursor ``after``, as ``JobQueue.ended`` does."""
        with self._open() as opened:
            return opened.queue.ended(after, limit, admitted)

    def last_cursor(self) -> int:
        """Return the cursor of the job that ended last, 0 before the first."""
        with self._open() as opened:
            return opened.queue.last_cursor()

    def lease(self, worker: str, generator: str, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs to a worker with this generator (fingerprint). If the task of
        a sample fails, the run is offline afterwards: the other runs are to go on."""
        if self._opened is None and generator not in self._wanted:
            return []
        with self._open() as opened:
            jobs = PoolJobs(
                opened.pool, opened.queue, opened.settings, worker, generator, self.name
            )
            try:
                return jobs.lease(count)
            except PoolStorageError:
                raise
            except InputError as error:
                self._put_offline(error)
                raise self._offline() from None

    def heartbeat(self, worker: str, job_ids: Sequence[str]) -> list[str]:
        with self._open() as opened:
            return opened.queue.heartbeat(worker, job_ids)

    def release(self, worker: str, job_ids: Sequence[str]) -> list[str]:
        with self._open() as opened:
            return opened.queue.release(worker, job_ids)

    def fail(self, worker: str, job_id: str, error: str) -> bool:
        with self._open() as opened:
            return opened.queue.fail(job_id, worker, error)

    def held(self, worker: str, job_ids: Sequence[str]) -> dict[str, HeldJob]:
        """Return those of these jobs that the worker holds, by id."""
        held = {}
        with self._open() as opened:
            for job_id, job in opened.queue.held(worker, job_ids).items():
                parent = opened.pool.get(job.parent_id)
                held[job_id] = HeldJob(job, parent, opened.pool.seed_of(parent))
        return held

    def complete(self, worker: str, ended: Mapping[str, Admitted | Rejected]) -> list[str]:
        """End jobs by their ids, and return the ids of those that the worker held."""
        with self._open() as opened:
            done = opened.queue.complete_all(worker, list(ended.items()))
        return [job_id for job_id, took in zip(ended, done, strict=True) if took]

    @contextmanager
    def _open(self) -> Iterator[_Opened]:
        """Open the pool if it is closed, and keep it open during the block.

        Raises RunOffline when the run is offline. When SQLite finds that the database is damaged,
        the run is offline from then on.
        """
        if self.problem is not None:
            raise self._offline()
        try:
            with self._lock:
                opened = self._opened = self._opened or self._opened_now()
                self._users += 1
            try:
                yield opened
            finally:
                with self._lock:
                    self._users -= 1
                    self._used = time.monotonic()
        except PoolDamaged as error:
            self._put_offline(error)
            raise self._offline() from None

    def _opened_now(self) -> _Opened:
        if self._exists and not _holds_tables(self._directory):
            raise PoolDamaged(self._directory, f"{FILE_NAME} is missing or empty")
        self._make_room()
        pool = Pool.open(self._directory)
        return _Opened(pool, *self._queue(pool))

    def _queue(self, pool: Pool) -> tuple[SynthesisSettings, JobQueue]:
        options = self._options
        settings = SynthesisSettings(
            self._directory,
            gate=options.thresholds,
            **{one.name: getattr(options.painting, one.name) for one in fields(PaintingOptions)},
            queue_limit=options.queue_limit,
            lease_s=options.lease_s,
            max_attempts=options.max_attempts,
        )
        return settings, open_queue(pool, settings, options.policy)

    def _read_record(self) -> None:
        path = self._directory / RECORD
        if not path.exists():
            raise self._damaged(_GONE)
        if not path.is_file():  # opening a pipe would wait for ever
            raise self._damaged("is no file")
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.identity = str(kept["identity"])
            self._options = JobOptions.model_validate(kept["options"])
        except RecursionError:
            raise self._damaged("is damaged (it is nested too deeply)") from None
        except (ValueError, KeyError, TypeError) as error:
            lacking = isinstance(error, KeyError)
            reason = f"it has no {error.args[0]}" if lacking else first_line(error)
            raise self._damaged(f"is damaged ({reason})") from None

    def _damaged(self, what: str) -> InputError:
        path = self._directory / RECORD
        return InputError(f"{path} {what}; restore it or move the folder away")

    def _put_offline(self, error: Exception) -> None:
        self.problem = one_line(error)
        log.warning("run %s is offline: %s; the other runs are served", self.name, self.problem)

    def _offline(self) -> RunOffline:
        return RunOffline(
            503,
            f"run {self.name} is offline: {self.problem}; then start the server again",
            OFFLINE_AGAIN_S,
        )


def belongs_to_trainer(directory: Path) -> bool:
    """Return whether a folder is the directory of a training run and not of a server's."""
    return all((directory / name).is_file() for name in _OF_TRAINER)


def holds_samples(directory: Path) -> bool:
    """Return whether a folder has a pool with samples, or with a database that cannot be read."""
    try:
        if not _holds_tables(directory):
            return False
        return bool(_count(directory, "SELECT COUNT(*) FROM (SELECT 1 FROM samples LIMIT 1)"))
    except (InputError, OSError):
        return True


def _holds_tables(directory: Path) -> bool:
    """Return whether a run's folder has a database with tables. Opening it would create them.
    Raises PoolDamaged when it cannot be read."""
    path = directory / FILE_NAME
    require_file(path)
    if not path.exists() or not path.stat().st_size:
        return False
    return bool(_count(directory, "SELECT COUNT(*) FROM sqlite_master"))


def _count(directory: Path, query: str) -> int:
    place = f"{(directory / FILE_NAME).as_uri()}?mode=rw"
    with (
        explain_disk_errors(directory),
        closing(sqlite3.connect(place, uri=True)) as connection,
    ):
        number: int = connection.execute(query).fetchone()[0]
        return number


def ended_by(held: HeldJob, result: Result) -> Admitted | Rejected:
    """Return what ends a job that a worker holds, from its result. Takes a while if the source has
    many masks, and uses no pool.

    Raises Refused if an image has another size than its frame says, or if an object lies outside of
    it.
    """
    if isinstance(result, Rejected):
        return result
    size, frame = (result.image.width, result.image.height), result.frame
    if size != frame.size:
        raise Refused(422, f"the picture is {size}, its frame {frame.size} pixels")
    ended = result_for_queue(held.job, held.parent, held.source, result)
    assert isinstance(ended, Admitted)
    for thing in ended.sample.objects:
        if area(clip(thing.box, *size)) <= 0:
            raise Refused(422, f"the frame leaves nothing of the object {thing.box}")
    return ended
