"""The workers' part of the API: lease, renew, hand in, give back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from syngrpo.data_server.sample_wire import Data, leased_data
from syngrpo.data_server.service import schemas
from syngrpo.data_server.service.desk import Desk
from syngrpo.data_server.service.limits import Limits, checked_image
from syngrpo.data_server.service.runs import Run
from syngrpo.painting.painting_request import Painted
from syngrpo.painting.painting_request import Result as Work
from syngrpo.pool.jobs import Rejected


def worker_routes(desk: Desk) -> APIRouter:
    """Jobs of all runs. A worker's name stands for its leases: no two have the same."""
    router = APIRouter(prefix="/v1", tags=["worker"])

    @router.post("/lease", response_model=schemas.Leases)
    async def lease(body: schemas.LeaseRequest) -> Response:
        """Lease jobs of any run for one generator; they come back unless the lease is renewed."""
        desk.metrics.worker(body.worker)

        def take() -> list[Data]:
            leased = desk.runs.lease(body.worker, body.generator, body.count)
            return [leased_data(one) for one in leased]

        async def look() -> list[Data]:
            return await desk.in_thread(take)

        leases = await desk.work.answered(look, desk.patience(body.wait_s))
        return JSONResponse({"leases": leases})

    @router.post("/heartbeat", response_model=schemas.Taken)
    async def heartbeat(body: schemas.HeldJobs) -> Response:
        """Renew leases; the answer names those that still hold."""
        desk.metrics.worker(body.worker)
        return await each_run(body, lambda run, ids: run.queue.heartbeat(body.worker, ids))

    @router.post("/release", response_model=schemas.Taken)
    async def release(body: schemas.HeldJobs) -> Response:
        """Give back jobs that were not tried; that counts as no attempt."""
        answer = await each_run(body, lambda run, ids: run.queue.release(body.worker, ids))
        desk.work.ring()
        return answer

    @router.post("/fail", response_model=schemas.Taken)
    async def fail(body: schemas.Failure) -> Response:
        """Give back a job that went wrong; the last attempt makes it a dead letter."""
        run = desk.runs.get(body.run)
        taken = await desk.in_thread(lambda: run.queue.fail(body.job, body.worker, body.error))
        desk.work.ring()
        desk.ended[body.run].ring()
        return JSONResponse({"jobs": [body.job] if taken else []})

    @router.post("/complete", response_model=schemas.Taken)
    async def complete(body: schemas.Results) -> Response:
        """Hand in pictures and rejections; the answer names the jobs that this ended."""
        desk.metrics.worker(body.worker)
        runs: defaultdict[Run, dict[str, Work]] = defaultdict(dict)
        for result in body.results:
            runs[desk.runs.get(result.run)][result.job] = _work(result, desk.limits)

        def end() -> list[str]:
            return [job for run, of in runs.items() for job in run.complete(body.worker, of)]

        done = await desk.in_thread(end)
        for run in runs:
            desk.ended[run.name].ring()
        return JSONResponse({"jobs": done})

    async def each_run(
        body: schemas.HeldJobs, call: Callable[[Run, list[str]], Iterable[str]]
    ) -> Response:
        runs: defaultdict[Run, list[str]] = defaultdict(list)
        for held in body.jobs:
            runs[desk.runs.get(held.run)].append(held.job)
        taken = await desk.in_thread(
            lambda: [job for run, ids in runs.items() for job in call(run, ids)]
        )
        return JSONResponse({"jobs": taken})

    return router


def _work(result: schemas.Result, limits: Limits) -> Work:
    if result.painted is None:
        return Rejected(str(result.reason), result.scores)
    painted = result.painted
    image = checked_image(painted.image, limits)
    return Painted(image, painted.prompt, painted.hash, result.scores, painted.right)
