"""The ``JobSink`` of a run that uses a data server.

The run has a pool of its own, and the server has another pool for the run's jobs. The sink sends
jobs and measurements to the server, and copies ended jobs and new samples into the run's pool.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from syngrpo.data_server.data_connection import (
    ContentRefused,
    DataServerConnection,
    NoRoom,
    NotKnown,
)
from syngrpo.data_server.job_exchange import SubmitCounts
from syngrpo.data_server.sample_wire import (
    PROTOCOL,
    Data,
    ended_from,
    parent_data,
    requests_data,
)
from syngrpo.data_server.spill import Pending, Spill
from syngrpo.data_server.synthesis_options import RUN_PATTERN, SynthesisSettings
from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.jobs import EndedJob, JobRequest, SubmitResult, split_bundles
from syngrpo.pool.mirror import forget_after, mirror, mirrored_up_to
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.http_client import (
    ServerAddress,
    Stopped,
    Unavailable,
    call_until_available,
)
from syngrpo.serving.timeline import traced
from syngrpo.serving.wording import count

log = logging.getLogger(__name__)

OUTBOX_NAME = "outbox.jsonl"
NAMESPACE_NAME = "namespace.json"
WAIT_S = 0.25
"""Seconds that the server may wait for outcomes before it answers. Meanwhile no records are
sent."""
SENT_BYTES, SENT_RECORDS = 1 << 20, 128
"""Most bytes and records of the outbox in one request. The server accepts 4 MiB and 256 records."""
PULLED = 16
"""Number of ended jobs that one request asks for."""
CLOSE_S = 5.0
"""Seconds that the end of a run waits for the server."""
OUTBOX_BYTES = 64 << 20
"""New jobs are dropped when the outbox holds this many bytes, because the server is down.
Measurements are never dropped."""


class ServerSink:
    """Writes jobs and measurements to a file, the outbox, from which a thread sends them.

    The same thread copies outcomes and admitted samples into the run's own pool, each exactly once.
    While the server does not answer, it tries again with growing pauses. The next process sends the
    records that a killed process left in the outbox.
    """

    def __init__(
        self,
        server: ServerAddress,
        namespace: str,
        settings: SynthesisSettings,
        sampling: SamplingPolicy,
    ) -> None:
        """Open the pool and the outbox, and start the thread.

        Raises InputError when the address or the pool cannot be used.
        """
        self._connection = DataServerConnection(server)
        self._path = f"/v1/runs/{namespace}"
        self._options = {
            "queue_limit": settings.queue_limit,
            "lease_s": settings.lease_s,
            "max_attempts": settings.max_attempts,
            "policy": asdict(sampling),
            "thresholds": asdict(settings.gate),
            "painting": asdict(settings.painting),
            "max_image_pixels": settings.max_image_pixels,
        }
        self._pool = Pool.open(settings.directory)
        with explain_disk_errors(settings.directory):
            self._outbox = Spill(settings.directory / OUTBOX_NAME)
        self._closing = threading.Event()
        self._counts: deque[SubmitCounts] = deque()
        # Used by the thread alone:
        self._taken: dict[str, bool] = {}
        """Whether the server took each job of the records that are being sent."""
        self._refused_parents: set[str] = set()
        self._error: Exception | None = None
        self._identity: str | None = None
        self.away = False
        self._thread = threading.Thread(target=self._serve, name="data-server-link", daemon=True)
        self._thread.start()

    def send(self, observations: Sequence[Observation], requests: Sequence[JobRequest]) -> None:
        """Write records to the outbox. Does not wait for the server."""
        if self._error is not None:
            raise self._error
        records: list[dict[str, Any]] = [{"observation": asdict(one)} for one in observations]
        if self._outbox.backlog() < OUTBOX_BYTES:
            records += [{"job": asdict(request)} for request in requests]
        elif requests:
            names = tuple(request.id for request in requests)
            self._counts.append(SubmitCounts(0, len(names), names))
        if records:
            with explain_disk_errors(self._pool.directory):
                self._outbox.append(records)

    def counts(self) -> list[SubmitCounts]:
        return [self._counts.popleft() for _ in range(len(self._counts))]

    def close(self) -> None:
        """Send the rest of the outbox if the server answers within ``CLOSE_S`` seconds. Otherwise
        it stays in the outbox until the run is resumed."""
        self._closing.set()
        self._thread.join(CLOSE_S)
        unsent = self._outbox.backlog()
        if self._thread.is_alive():
            log.warning(
                "the data server %s has not answered for %g s; the run ends without it",
                self._connection.url,
                CLOSE_S,
            )
        if unsent:
            log.warning(
                "%d bytes for the data server are still in %s; the resumed run sends them",
                unsent,
                OUTBOX_NAME,
            )
        # A thread that still waits for an answer ends when it comes, or with the process.
        self._connection.close()
        self._outbox.close()
        self._pool.close()

    # The methods below run in the thread.

    def _serve(self) -> None:
        try:
            with suppress(Stopped):
                while not self._closing.is_set():
                    call_until_available(
                        self._exchange,
                        "the data server",
                        "training goes on without it",
                        stopping=self._closing,
                    )
            self._send_last()
        except Exception as error:  # raised again in the trainer's thread
            self._error = error

    def _send_last(self) -> None:
        try:
            while self._outbox.backlog() and self._identity is not None:
                self._push()
        except Unavailable:
            return

    def _exchange(self) -> None:
        """Exchange records once, and note whether the server answers."""
        try:
            self._exchange_once()
        except Unavailable:
            self.away = True
            raise
        self.away = False

    def _exchange_once(self) -> None:
        """Open the run on the server if needed, send the outbox, and fetch outcomes."""
        if self._identity is None:
            self._identity = self._open_run()
        try:
            while self._outbox.backlog() and not self._closing.is_set():
                self._push()
            self._pull(self._identity)
        except NotKnown as error:  # another server, or one that has lost its directory
            self._identity = None
            raise Unavailable(str(error)) from None

    def _open_run(self) -> str:
        """Open the run on the server and return its identity. Raises InputError when the server
        has another version of the API."""
        try:
            answer = self._connection.send("PUT", self._path, self._options)
        except (NotKnown, ContentRefused) as error:
            raise InputError(
                f"{error}; if the data server has another version of syngrpo, install the same one "
                "on both"
            ) from None
        if answer.get("protocol") != PROTOCOL:
            raise InputError(
                f"data server {self._connection.url} has version {answer.get('protocol')} of the "
                f"API, this client version {PROTOCOL}; install the same version of syngrpo on both"
            )
        return str(answer["identity"])

    @traced("send records")
    def _push(self) -> None:
        """Send the next records of the outbox. Measurements come first, because they make room in
        the queue."""
        pending = self._pending()
        records = pending.records
        if not records:  # its offset may be one from before append began the file again
            return
        observations = [one["observation"] for one in records if "observation" in one]
        for part in _parts(observations):
            self._observe(part)
        for jobs in _job_parts([JobRequest(**one["job"]) for one in records if "job" in one]):
            self._submit(jobs)
        self._outbox.acknowledge(pending.offset)
        # Count only now: after an error the records are sent again, and jobs may then find room.
        dropped = tuple(name for name, taken in self._taken.items() if not taken)
        self._counts.append(SubmitCounts(len(self._taken) - len(dropped), len(dropped), dropped))
        self._taken = {}

    def _pending(self) -> Pending:
        """Return the next records, about ``SENT_BYTES``, so that they end with a whole bundle."""
        limit = SENT_BYTES
        pending = self._outbox.pending(limit)
        while _ends_within_bundle(pending.records) and limit < self._outbox.backlog():
            limit *= 2
            pending = self._outbox.pending(limit)
        return pending

    def _observe(self, observations: list[Data]) -> None:
        """Send measurements. Those that the server refuses are left out."""
        try:
            self._connection.send(
                "POST", f"{self._path}/observations", {"observations": observations}
            )
        except ContentRefused as error:
            if len(observations) == 1:
                log.warning("a measurement is left out: %s", error)
                return
            for one in observations:
                self._observe([one])

    def _submit(self, requests: Sequence[JobRequest]) -> None:
        """Submit jobs. Upload their parents first where the server does not have them. Jobs that
        the server refuses are dropped, together with the others of their bundle."""
        try:
            missing = self._submit_known(requests)
        except ContentRefused as error:
            bundles = list(split_bundles(requests))
            if len(bundles) == 1:
                log.warning("%s dropped: %s", count(len(requests), "job"), error)
                self._drop(requests)
                return
            for together in bundles:
                self._submit(together)
            return
        if missing:
            self._upload(missing)
            orphans = [request for request in requests if request.parent_id in missing]
            if still := self._submit_known(orphans):
                # The server refuses these parents, or they are synthetic and it has lost them, so
                # it cannot paint from them.
                self._drop([request for request in orphans if request.parent_id in still])

    def _submit_known(self, requests: Sequence[JobRequest]) -> set[str]:
        """Submit jobs. Return the ids of parents that the server does not have."""
        data = {"jobs": requests_data(requests)}
        try:
            answer = self._connection.send("POST", f"{self._path}/jobs", data)
        except NoRoom:
            self._drop(requests)
            return set()
        missing = set(answer.pop("missing_parents"))
        result = SubmitResult(**answer)
        self._taken |= dict.fromkeys(result.accepted, True)
        known = {*result.accepted, *result.duplicates}
        self._drop(
            [one for one in requests if one.parent_id not in missing and one.id not in known]
        )
        return missing

    def _upload(self, names: set[str]) -> None:
        """Upload those of these samples that are seeds. One that the server refuses is not sent a
        second time."""
        for name in sorted(names - self._refused_parents):
            sample = self._pool.get(name)
            if sample.parent is not None:
                continue
            rows = {"samples": [parent_data(sample)]}
            try:
                self._connection.send("POST", f"{self._path}/samples", rows)
            except ContentRefused as error:
                log.warning("nothing is painted from sample %s: %s", name, error)
                self._refused_parents.add(name)

    def _drop(self, requests: Sequence[JobRequest]) -> None:
        """Note that the server does not take these jobs."""
        self._taken |= dict.fromkeys((request.id for request in requests), False)

    @traced("fetch pictures")
    def _pull(self, identity: str) -> None:
        """Copy new outcomes, with the admitted samples, into the run's pool."""
        after = mirrored_up_to(self._pool, identity)
        query = {"after": after, "limit": PULLED, "wait_s": WAIT_S, "images": "true"}
        answer = self._connection.send("GET", f"{self._path}/outcomes", **query)
        ended = [_ended(data) for data in answer["jobs"]]
        if ended:
            mirror(self._pool, identity, ended)
        if answer["last"] < after:
            log.warning(
                "data server %s has lost the last %d jobs of this run that had ended; their images "
                "are in the pool of the run",
                *(self._connection.url, after - answer["last"]),
            )
            forget_after(self._pool, identity, answer["last"])


def _ended(data: Data) -> EndedJob:
    """Return the ended job. One whose sample is not valid is dead, so that it is counted and its
    error shown, but nothing is trained on it."""
    try:
        return ended_from(data)
    except InputError as error:
        log.warning("a sample of the data server is left out: %s", error)
        dead = {"state": "dead", "sample": None, "reason": None, "error": str(error)}
        return ended_from({**data, **dead})


def namespace_of(run_dir: Path) -> str:
    """Return the name of a run on a server: the name of its directory and random characters. It is
    kept in a file in that directory."""
    kept = run_dir / NAMESPACE_NAME
    if not kept.exists():
        stem = re.sub(r"[^a-z0-9_-]+", "-", run_dir.resolve().name.lower()).strip("-")[:50]
        name = f"{stem or 'run'}-{uuid.uuid4().hex[:10]}"
        atomic_write(kept, json.dumps({"namespace": name}))
    try:
        name = str(json.loads(kept.read_text(encoding="utf-8"))["namespace"])
    except (ValueError, KeyError, TypeError):
        name = ""
    if not re.fullmatch(RUN_PATTERN, name):
        raise InputError(f"{kept} is damaged; set server.namespace to the run's name")
    return name


def _job_parts(requests: Sequence[JobRequest]) -> Iterator[list[JobRequest]]:
    """Yield the requests in parts that the server accepts. A bundle stays in one part, so that the
    server can queue all of it or nothing."""
    part: list[JobRequest] = []
    for together in split_bundles(requests):
        if part and len(part) + len(together) > SENT_RECORDS:
            yield part
            part = []
        part += together
    if part:
        yield part


def _ends_within_bundle(records: Sequence[Data]) -> bool:
    """Return whether the last record is a job of a bundle that is not complete."""
    last = records[-1].get("job") if records else None
    if last is None or last["bundle"] is None:
        return False
    bundles = [one["job"]["bundle"] for one in records if "job" in one]
    return bundles.count(last["bundle"]) < last["bundle_size"]


def _parts(records: list[Any]) -> list[list[Any]]:
    return [records[at : at + SENT_RECORDS] for at in range(0, len(records), SENT_RECORDS)]
