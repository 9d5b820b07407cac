"""The routes of the data server: the requests of trainers and workers.

``trainer_routes``: open a run, submit jobs, report measurements, fetch the results of jobs.
``worker_routes``: lease jobs of any run, renew leases, hand in results, give jobs back. Both share
one ``ServiceState``. Threads read and write the pools. A ``Signal`` wakes requests that wait for
jobs or for results.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import JSONResponse, Response

from syngrpo.data_server import api_schemas as schemas
from syngrpo.data_server.request_checks import Limits, checked_images, stopped
from syngrpo.data_server.sample_wire import (
    PROTOCOL,
    Data,
    ended_data,
    leased_data,
    sample_from,
)
from syngrpo.data_server.served_run import HeldJob, RunOffline, ServerRun, ended_by
from syngrpo.data_server.server_runs import Runs
from syngrpo.data_server.service_metrics import Metrics
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.painting.painting_request import Painted, Result
from syngrpo.painting.refused_pictures import SIDE
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.pool.image_store import is_whole
from syngrpo.pool.jobs import Admitted, JobRequest, Rejected
from syngrpo.pool.stored_samples import Observation, PoolStats
from syngrpo.sample import EncodedImage, Sample
from syngrpo.serving.refusals import Refused

T = TypeVar("T")

THREADS = 4
"""Number of threads for databases. More would only wait for the write lock."""
PICTURE_THREADS = 2
"""Number of threads that decode pictures, so that large ones do not keep the databases waiting."""
FINISH_S = 0.5
"""Seconds that the reading of pictures may still take after the server was told to stop."""
TIDY_S = 5.0
"""Seconds between two looks for pools that nobody uses."""
RECHECK_S = 1.0
"""Seconds after which a waiting request looks again, because no signal is sent when a lease
expires."""

RunName = Annotated[str, InPath(pattern=schemas.RUN_PATTERN, description="The name of the run.")]
Digest = Annotated[str, InPath(pattern=schemas.DIGEST_PATTERN, description="sha256 of the image.")]
After = Annotated[int, Query(ge=0, le=schemas.INTEGER, description="cursor of the last job known")]
Limit = Annotated[int, Query(ge=1, le=256)]
Wait = Annotated[float, Query(ge=0, le=30, description="seconds to wait for the first job")]
Images = Annotated[bool, Query(description="whether to send the images' bytes, in base64")]

MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
"""The media types of image files, by their first bytes."""


class Signal:
    """Wakes all requests that wait for the same thing to happen."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        """Wake all requests that wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def next(self) -> asyncio.Event:
        """Return an event that is set by the next ``send``."""
        return self._event


class ServiceState:
    """What the routes share: the runs, the metrics, threads for the databases, and signals."""

    def __init__(self, runs: Runs, limits: Limits) -> None:
        self.runs = runs
        self.limits = limits
        self.metrics = Metrics(runs)
        self.jobs_queued = Signal()
        self.jobs_ended: defaultdict[str, Signal] = defaultdict(Signal)
        """The signals that a job has ended, by the name of the run."""
        self.stopping = asyncio.Event()
        self._threads = ThreadPoolExecutor(THREADS, "database")
        self._picture_threads = ThreadPoolExecutor(PICTURE_THREADS, "pictures")
        self._reading: set[Future[Any]] = set()

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a function that reads or writes disks, without blocking the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def reading_pictures(self, call: Callable[[], T]) -> T:
        """Run a function that decodes pictures and checks samples, without blocking the event loop.
        Raises Refused when the server stops and the function does not end soon."""
        reading = self._picture_threads.submit(call)
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        read = asyncio.wrap_future(reading)
        stopping = asyncio.ensure_future(self.stopping.wait())
        either: set[asyncio.Future[Any]] = {read, stopping}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({read}, timeout=FINISH_S)
            if not read.done():
                raise stopped()
            return await read
        finally:
            stopping.cancel()
            read.cancel()

    def reads_pictures(self) -> bool:
        """Return whether a thread still decodes pictures. Nothing can end it from outside."""
        return bool(self._reading)

    async def tidy_up(self) -> None:
        """Close the pools that nobody uses, again and again."""
        while True:
            await asyncio.sleep(TIDY_S)
            await self.in_thread(self.runs.tidy)

    async def wait_for(
        self, signal: Signal, look: Callable[[], Awaitable[list[T]]], seconds: float
    ) -> list[T]:
        """Call ``look`` now and after every signal, until it returns something or the time is over.
        Return its last result. Raises Refused when the server stops meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            event = signal.next()  # taken before look(), so that a signal meanwhile is not missed
            if found := await look():
                return found
            left = end - loop.time()
            if left <= 0:
                return []
            if self.stopping.is_set():
                raise stopped()
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left, RECHECK_S))

    def close_soon(self) -> None:
        """Make all waiting requests answer now."""
        self.stopping.set()
        self.jobs_queued.send()
        for signal in self.jobs_ended.values():
            signal.send()

    def close(self) -> None:
        """Close the pools. Does not wait for threads that decode pictures, which use no pool."""
        self._picture_threads.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown()
        self.runs.close()


def trainer_routes(state: ServiceState) -> APIRouter:
    """Make the routes below ``/v1/runs``."""
    router = APIRouter(prefix="/v1/runs", tags=["trainer"])
    _add_run_routes(router, state)
    _add_result_routes(router, state)
    return router


def _add_run_routes(router: APIRouter, state: ServiceState) -> None:
    """Add the routes for what a trainer sends: options, jobs, samples and measurements."""

    @router.get("", response_model=schemas.RunStats)
    async def all_stats() -> Response:
        """Return the counts of all runs, and why some are offline."""
        return JSONResponse(await state.in_thread(lambda: _all_stats(state.runs)))

    @router.put("/{run}", response_model=schemas.RunInfo)
    async def open_run(run: RunName, options: schemas.JobOptions) -> Response:
        """Open a run, or resume it. It uses these options from now on."""
        opened = await state.in_thread(lambda: state.runs.open(run, options))
        about = {"run": opened.name, "identity": opened.identity, "protocol": PROTOCOL}
        return JSONResponse(about)

    @router.get("/{run}/stats", response_model=PoolStats)
    async def stats(run: RunName) -> Response:
        """Return the counts of one run's pool and queue."""
        return JSONResponse(asdict(await state.in_thread(state.runs.get(run).stats)))

    @router.post("/{run}/jobs", response_model=schemas.Submitted)
    async def submit(run: RunName, body: schemas.SubmittedJobs) -> Response:
        """Submit jobs. Those that do not fit are dropped; the status is 429 if none fits."""
        jobs = [JobRequest(**job.model_dump()) for job in body.jobs]
        known = state.runs.get(run)
        result, missing = await state.in_thread(lambda: known.submit(jobs))
        state.jobs_queued.send()
        return JSONResponse({**asdict(result), "missing_parents": missing})

    @router.post("/{run}/samples", response_model=schemas.Added)
    async def upload(run: RunName, body: schemas.SeedSamples) -> Response:
        """Upload samples that are parents of jobs. Those that the server has are ignored."""
        known = state.runs.get(run)
        most = known.max_image_pixels
        samples = await state.reading_pictures(lambda: _seeds(body, most, state.limits))
        return JSONResponse({"added": await state.in_thread(lambda: known.add_seeds(samples))})

    @router.post("/{run}/observations", response_model=schemas.Observed)
    async def observe(run: RunName, body: schemas.ReportedObservations) -> Response:
        """Report measurements of samples. The same visit counts only once."""
        observed = [Observation(**one.model_dump()) for one in body.observations]
        known = state.runs.get(run)
        return JSONResponse({"ignored": await state.in_thread(lambda: known.observe(observed))})


def _add_result_routes(router: APIRouter, state: ServiceState) -> None:
    """Add the routes for what a trainer fetches: ended jobs, admitted samples and images."""

    async def ended(
        run: str, admitted: bool, after: int, limit: int, wait_s: float, images: bool
    ) -> Response:
        known = state.runs.get(run)

        def read() -> list[Data]:
            return [ended_data(job, images) for job in known.ended(after, limit, admitted)]

        async def look() -> list[Data]:
            return await state.in_thread(read)

        jobs = await state.wait_for(state.jobs_ended[run], look, wait_s)
        return JSONResponse({"jobs": jobs, "last": await state.in_thread(known.last_cursor)})

    @router.get("/{run}/outcomes", response_model=schemas.EndedJobs)
    async def outcomes(
        run: RunName, after: After = 0, limit: Limit = 64, wait_s: Wait = 0, images: Images = False
    ) -> Response:
        """Return the jobs that ended after a cursor, in order: admitted, rejected or dead."""
        return await ended(run, False, after, limit, wait_s, images)

    @router.get("/{run}/samples", response_model=schemas.EndedJobs)
    async def samples(
        run: RunName, after: After = 0, limit: Limit = 64, wait_s: Wait = 0, images: Images = False
    ) -> Response:
        """Return the jobs after a cursor whose images were admitted, with their samples."""
        return await ended(run, True, after, limit, wait_s, images)

    @router.get("/{run}/images/{digest}", response_class=Response)
    async def image(run: RunName, digest: Digest, request: Request) -> Response:
        """Return an image's encoded bytes. The image of a digest never changes."""
        path = state.runs.get(run).image_path(digest)
        lasting = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if request.headers.get("if-none-match") == lasting["ETag"] and is_whole(path):
            return Response(status_code=304, headers=lasting)
        content = await state.in_thread(lambda: _content(path))
        media_type = next((t for head, t in MEDIA_TYPES.items() if content.startswith(head)), None)
        headers = lasting | {"X-Content-Type-Options": "nosniff"}
        return Response(
            content, media_type=media_type or "application/octet-stream", headers=headers
        )


def worker_routes(state: ServiceState) -> APIRouter:
    """Make the routes for workers. Every worker needs a name of its own, because the name
    identifies its leases."""
    router = APIRouter(prefix="/v1", tags=["worker"])
    _add_lease_routes(router, state)
    _add_completion_routes(router, state)
    return router


def _add_lease_routes(router: APIRouter, state: ServiceState) -> None:
    """Add the routes that lease jobs, renew leases, and give untried jobs back."""

    @router.post("/lease", response_model=schemas.Leases)
    async def lease(body: schemas.LeaseRequest) -> Response:
        """Lease jobs of any run for one generator. A lease expires unless it is renewed."""
        if body.protocol != PROTOCOL:
            raise Refused(
                409,
                f"this data server has version {PROTOCOL} of the API, worker {body.worker} version "
                f"{body.protocol}; install the same version of syngrpo on both",
            )
        state.metrics.worker(body.worker)

        def take() -> list[Data]:
            leased = state.runs.lease(body.worker, body.generator, body.count)
            data = []
            for one in leased:
                try:
                    data.append(leased_data(one))
                except OSError as error:  # the image is gone; the other jobs are not to suffer
                    line = f"image {one.source.image.path} cannot be read ({error.strerror})"
                    with suppress(RunOffline):
                        state.runs.get(one.run).fail(body.worker, one.job.id, line)
            return data

        async def look() -> list[Data]:
            return await state.in_thread(take)

        leases = await state.wait_for(state.jobs_queued, look, body.wait_s)
        return JSONResponse({"leases": leases})

    @router.post("/heartbeat", response_model=schemas.Taken)
    async def heartbeat(body: schemas.HeldJobs) -> Response:
        """Renew leases. The answer names the jobs that the worker still holds."""
        state.metrics.worker(body.worker)
        return await for_each_run(body, lambda run, ids: run.heartbeat(body.worker, ids))

    @router.post("/release", response_model=schemas.Taken)
    async def release(body: schemas.HeldJobs) -> Response:
        """Give back jobs that were not tried. This does not count as an attempt."""
        answer = await for_each_run(body, lambda run, ids: run.release(body.worker, ids))
        state.jobs_queued.send()
        return answer

    async def for_each_run(
        body: schemas.HeldJobs, call: Callable[[ServerRun, list[str]], Iterable[str]]
    ) -> Response:
        held: defaultdict[ServerRun, list[str]] = defaultdict(list)
        for one in body.jobs:
            held[state.runs.get(one.run)].append(one.job)
        return JSONResponse({"jobs": await state.in_thread(lambda: _of_online(held, call))})


def _add_completion_routes(router: APIRouter, state: ServiceState) -> None:
    """Add the routes that take results and failures."""

    @router.post("/fail", response_model=schemas.Taken)
    async def fail(body: schemas.Failure) -> Response:
        """Give back a job after an error. After the last attempt it is dead."""
        run = state.runs.get(body.run)

        def give_back(run: ServerRun, error: str) -> list[str]:
            return [body.job] if run.fail(body.worker, body.job, error) else []

        taken = await state.in_thread(lambda: _of_online({run: body.error}, give_back))
        state.jobs_queued.send()
        state.jobs_ended[body.run].send()
        return JSONResponse({"jobs": taken})

    @router.post("/complete", response_model=schemas.Taken)
    async def complete(body: schemas.JobResults) -> Response:
        """Hand in images and rejections. The answer names the jobs that this ended."""
        state.metrics.worker(body.worker)
        runs = {result.run: state.runs.get(result.run) for result in body.results}
        read = await state.reading_pictures(lambda: _results(body, state.limits))
        results: defaultdict[ServerRun, dict[str, Result]] = defaultdict(dict)
        for one, result in zip(body.results, read, strict=True):
            results[runs[one.run]][one.job] = result

        def hold() -> dict[ServerRun, dict[str, HeldJob]]:
            held = {}
            for run, of in results.items():
                with suppress(RunOffline):
                    held[run] = run.held(body.worker, list(of))
            return held

        held = await state.in_thread(hold)

        def end() -> dict[ServerRun, dict[str, Admitted | Rejected]]:
            return {
                run: {job: ended_by(one, results[run][job]) for job, one in of.items()}
                for run, of in held.items()
            }

        ended = await state.reading_pictures(end)
        done = await state.in_thread(
            lambda: _of_online(ended, lambda run, of: run.complete(body.worker, of))
        )
        for run in results:
            state.jobs_ended[run.name].send()
        return JSONResponse({"jobs": done})


def _of_online(
    parts: Mapping[ServerRun, T], call: Callable[[ServerRun, T], Iterable[str]]
) -> list[str]:
    """Call ``call`` for every run with its part of a worker's request. Return the jobs that it
    returns, none for a run that is offline. So the worker goes on with its jobs of other runs."""
    jobs: list[str] = []
    for run, part in parts.items():
        with suppress(RunOffline):
            jobs += call(run, part)
    return jobs


def _all_stats(runs: Runs) -> dict[str, dict[str, Any]]:
    found: dict[str, Any] = {}
    for run in runs:
        with suppress(Refused):  # it is offline
            found[run.name] = asdict(run.stats())
    return {"runs": found, "offline": {run.name: run.problem for run in runs if run.problem}}


def _seeds(body: schemas.SeedSamples, most: int, limits: Limits) -> list[Sample]:
    images = checked_images([(row.content, most) for row in body.samples], limits)
    samples = []
    for row, image in zip(body.samples, images, strict=True):
        if (image.width, image.height) != row.size:
            raise Refused(
                422,
                f"sample {row.id} says its image has {row.size[0]}x{row.size[1]} pixels, the image "
                f"{image.width}x{image.height}",
            )
        samples.append(sample_from(row.model_dump(exclude={"content"}), image))
    return samples


def _results(body: schemas.JobResults, limits: Limits) -> list[Result]:
    """Check the results. A painted image may be larger than the seeds of its run may be, because
    its canvas may grow with the frame (``synthesis.frame.canvas``)."""
    contents = [(one.painted.image if one.painted else one.picture) for one in body.results]
    given = {
        place: (content, MAX_PIXELS)
        for place, content in enumerate(contents)
        if content is not None
    }
    images = dict(zip(given, checked_images(list(given.values()), limits), strict=True))
    return [_result(one, images.get(place)) for place, one in enumerate(body.results)]


def _result(one: schemas.JobResult, image: EncodedImage | None) -> Result:
    how = one.painted
    if how is None:
        if image is not None and max(image.width, image.height) > SIDE:
            raise Refused(422, f"the copy of a rejected picture has more than {SIDE} pixels a side")
        return Rejected(str(one.reason), one.scores, one.picture)
    assert image is not None
    frame, light = Frame.of(how.frame.model_dump()), Light.of(how.light.model_dump())
    return Painted(image, how.prompt, how.hash, one.scores, frame, light)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Refused(404, f"there is no image {path.name} here") from None
