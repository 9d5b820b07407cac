"""The runs that use a data server. Each has a pool and a queue in a folder of its own.

``routes`` calls the methods of ``Runs`` and ``ServerRun`` in threads.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from filelock import FileLock, Timeout

from syngrpo.boxes import area, clip
from syngrpo.data_server.api_schemas import JobOptions
from syngrpo.data_server.job_exchange import Leased
from syngrpo.data_server.pool_jobs import PoolJobs, open_queue, result_for_queue
from syngrpo.data_server.synthesis_options import RUN_PATTERN, SynthesisSettings
from syngrpo.painting.painting_request import PaintingOptions, Result
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import Admitted, Job, JobRequest, Rejected, SubmitResult
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, SampleIdTaken
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.refusals import Refused

RECORD = "run.json"
"""The file in a run's folder with its identity and its options."""


class ServerRun:
    """One run on the server. Threads may call its methods at the same time."""

    def __init__(self, directory: Path, identity: str, options: JobOptions) -> None:
        self.name = directory.name
        self.identity = identity
        self.pool = Pool.open(directory)
        self.configure(options)

    def configure(self, options: JobOptions) -> None:
        """Use new options from now on. Leased jobs keep the old ones."""
        self._options = options
        self._settings = SynthesisSettings(
            self.pool.directory,
            gate=options.thresholds,
            **{one.name: getattr(options.painting, one.name) for one in fields(PaintingOptions)},
            queue_limit=options.queue_limit,
            lease_s=options.lease_s,
            max_attempts=options.max_attempts,
        )
        self.queue: JobQueue = open_queue(self.pool, self._settings, options.policy)

    def submit(self, jobs: Sequence[JobRequest]) -> tuple[SubmitResult, list[str]]:
        """Submit the jobs whose parents are in the pool. Return their result, and the ids of the
        missing parents. Raises Refused when there is no room for any of the jobs."""
        missing = self.queue.unknown_parents(jobs)
        known = [job for job in jobs if job.parent_id not in missing]
        result = self.queue.submit(known)
        if result.dropped and not (result.accepted or result.duplicates or missing):
            raise Refused(429, f"the queue of run {self.name} is full; try again later", 5)
        return result, missing

    def observe(self, observations: Sequence[Observation]) -> list[str]:
        """Record measurements of samples that are in the pool. Return the ids of the others."""
        names = json.dumps(list({one.sample_id for one in observations}))
        with self.pool.database.read() as connection:
            known = {
                name
                for (name,) in connection.execute(
                    "SELECT id FROM samples WHERE id IN (SELECT value FROM json_each(?))", (names,)
                )
            }
        here = [one for one in observations if one.sample_id in known]
        if here:
            self.pool.observe(here, self._options.policy)
        return sorted({one.sample_id for one in observations} - known)

    def add_seeds(self, samples: Sequence[Sample]) -> int:
        """Add the samples that are not in the pool, and return their number. Raises Refused when
        the pool has another sample with one of the ids."""
        try:
            return self.pool.add_seeds(samples)
        except SampleIdTaken as error:
            raise Refused(409, str(error)) from None

    def lease(self, worker: str, generator: str, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs to a worker with this generator (fingerprint)."""
        queue = self.queue
        return PoolJobs(self.pool, queue, self._settings, worker, generator, self.name).lease(count)

    def complete(self, worker: str, results: dict[str, Result]) -> list[str]:
        """End jobs by their ids, and return the ids of those that the worker held. Raises Refused
        if an image has another size than its frame says, or if an object lies outside of it."""
        held = self.queue.held(worker, list(results))
        ended: list[tuple[str, Admitted | Rejected]] = []
        for job_id, job in held.items():
            result = results[job_id]
            ended.append((job_id, self._ended(job, result)))
        done = self.queue.complete_all(worker, ended)
        return [job_id for (job_id, _), took in zip(ended, done, strict=True) if took]

    def _ended(self, job: Job, result: Result) -> Admitted | Rejected:
        ended = result_for_queue(job, self.pool, result)
        if isinstance(ended, Rejected) or isinstance(result, Rejected):
            return ended
        size = (ended.sample.image.width, ended.sample.image.height)
        if size != result.frame.size:
            raise Refused(422, f"the picture is {size}, its frame {result.frame.size} pixels")
        for thing in ended.sample.objects:
            if area(clip(thing.box, *size)) <= 0:
                raise Refused(422, f"the frame leaves nothing of the object {thing.box}")
        return ended


class Runs:
    """All runs in a directory, which only one server may use at a time."""

    def __init__(self, directory: Path) -> None:
        """Open all runs in the directory. Raises InputError when another server uses the directory,
        or when it cannot be used."""
        self.directory = directory
        self._lock = threading.Lock()
        self._runs: dict[str, ServerRun] = {}
        self._turn = 0
        self._claim = _claim(directory)
        for record in sorted(directory.glob(f"*/{RECORD}")):
            if re.fullmatch(RUN_PATTERN, record.parent.name):
                kept = json.loads(record.read_text(encoding="utf-8"))
                options = JobOptions.model_validate(kept["options"])
                run = ServerRun(record.parent, kept["identity"], options)
                self._runs[run.name] = run

    def open(self, name: str, options: JobOptions) -> ServerRun:
        """Return the run with this name; make it if there is none. It uses these options from now
        on. Raises Refused for a name that is not allowed."""
        if not re.fullmatch(RUN_PATTERN, name):
            raise Refused(422, "the name of a run is 1 to 64 of a-z, 0-9, - and _")
        with self._lock:
            run = self._runs.get(name)
            identity = run.identity if run is not None else uuid.uuid4().hex
            directory = self.directory / name
            if run is None:
                run = ServerRun(directory, identity, options)
            else:
                run.configure(options)
            record = {"identity": identity, "options": options.model_dump()}
            atomic_write(directory / RECORD, json.dumps(record, indent=2))
            self._runs[name] = run
            return run

    def get(self, name: str) -> ServerRun:
        """Return the run with this name. Raises Refused when there is none."""
        run = self._runs.get(name)
        if run is None:
            raise Refused(404, f"there is no run {name[:64]!r} here; PUT /v1/runs/NAME opens one")
        return run

    def lease(self, worker: str, generator: str, count: int) -> list[Leased]:
        """Lease up to ``count`` jobs of any run. Each call begins with another run, so that all
        runs get their turn."""
        leased: list[Leased] = []
        self._turn += 1
        runs = list(self)
        for offset in range(len(runs)):
            if len(leased) == count:
                break
            run = runs[(self._turn + offset) % len(runs)]
            leased += run.lease(worker, generator, count - len(leased))
        return leased

    def __iter__(self) -> Iterator[ServerRun]:
        return iter(list(self._runs.values()))

    def close(self) -> None:
        for run in self:
            run.pool.close()
        self._claim.release()


def _claim(directory: Path) -> FileLock:
    """Create the directory and lock it until the process ends or the lock is released."""
    lock = FileLock(directory / "server.lock", thread_local=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"{directory} belongs to another server; stop it first") from None
    except OSError as error:
        reason = error.strerror
        raise InputError(f"pool directory {directory} cannot be used ({reason})") from None
    return lock
