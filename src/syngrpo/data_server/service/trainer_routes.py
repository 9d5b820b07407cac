"""The trainer's part of the API: a run, its jobs, and what came of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import JSONResponse, Response

from syngrpo.data_server.sample_wire import Data, ended_data
from syngrpo.data_server.service import schemas
from syngrpo.data_server.service.desk import Desk
from syngrpo.data_server.service.limits import INTEGER, Limits, checked_image
from syngrpo.pool.image_store import is_whole
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import Observation, PoolStats, sample_from_fields
from syngrpo.sample import Sample
from syngrpo.serving.refusals import Refused
from syngrpo.tasks import get_task

RunName = Annotated[str, InPath(pattern=schemas.RUN_PATTERN, description="The run's namespace.")]
Digest = Annotated[str, InPath(pattern=schemas.DIGEST_PATTERN, description="sha256 of the image.")]
After = Annotated[int, Query(ge=0, le=INTEGER, description="cursor of the last one known")]
Limit = Annotated[int, Query(ge=1, le=256)]
Wait = Annotated[float, Query(ge=0, le=30, description="seconds to wait for the first")]
Images = Annotated[bool, Query(description="with the images' bytes, in base64")]

KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def trainer_routes(desk: Desk) -> APIRouter:
    """Everything under ``/v1/runs``."""
    router = APIRouter(prefix="/v1/runs", tags=["trainer"])

    @router.get("", response_model=schemas.RunStats)
    async def all_stats() -> Response:
        """Counts of every run."""
        found = await desk.in_thread(
            lambda: {run.name: asdict(run.pool.stats()) for run in desk.runs}
        )
        return JSONResponse({"runs": found})

    @router.put("/{run}", response_model=schemas.RunInfo)
    async def open_run(run: RunName, options: schemas.RunOptions) -> Response:
        """Open a run, or go on with it, with these options from now on."""
        opened = await desk.in_thread(lambda: desk.runs.open(run, options))
        return JSONResponse({"run": opened.name, "identity": opened.identity})

    @router.get("/{run}/stats", response_model=PoolStats)
    async def stats(run: RunName) -> Response:
        """Counts of one run's pool and queue."""
        pool = desk.runs.get(run).pool
        return JSONResponse(asdict(await desk.in_thread(pool.stats)))

    @router.post("/{run}/jobs", response_model=schemas.Submitted)
    async def submit(run: RunName, body: schemas.Jobs) -> Response:
        """Submit jobs. What does not fit is dropped; 429 when nothing at all does."""
        jobs = [JobRequest(**job.model_dump()) for job in body.jobs]
        kept = desk.runs.get(run)
        result, missing = await desk.in_thread(lambda: kept.submit(jobs))
        desk.work.ring()
        return JSONResponse({**asdict(result), "missing_parents": missing})

    @router.post("/{run}/samples", response_model=schemas.Added)
    async def upload(run: RunName, body: schemas.Seeds) -> Response:
        """Upload samples that jobs have as parents. Known ones are passed over."""
        kept = desk.runs.get(run)
        samples = [_seed(row, desk.limits) for row in body.samples]
        return JSONResponse({"added": await desk.in_thread(lambda: kept.add_seeds(samples))})

    @router.post("/{run}/observations", response_model=schemas.Observed)
    async def observe(run: RunName, body: schemas.Observations) -> Response:
        """Report what was measured on samples; the same visit counts once."""
        observed = [Observation(**one.model_dump()) for one in body.observations]
        kept = desk.runs.get(run)
        return JSONResponse({"ignored": await desk.in_thread(lambda: kept.observe(observed))})

    async def ended(
        run: str, admitted: bool, after: int, limit: int, wait_s: float, images: bool
    ) -> Response:
        kept = desk.runs.get(run)

        def read() -> list[Data]:
            return [ended_data(job, images) for job in kept.queue.ended(after, limit, admitted)]

        async def look() -> list[Data]:
            return await desk.in_thread(read)

        jobs = await desk.ended[run].answered(look, desk.patience(wait_s))
        return JSONResponse({"jobs": jobs})

    @router.get("/{run}/outcomes", response_model=schemas.EndedJobs)
    async def outcomes(
        run: RunName, after: After = 0, limit: Limit = 64, wait_s: Wait = 0, images: Images = False
    ) -> Response:
        """Every job that ended after a cursor, in order: admitted, rejected or dead."""
        return await ended(run, False, after, limit, wait_s, images)

    @router.get("/{run}/samples", response_model=schemas.EndedJobs)
    async def samples(
        run: RunName, after: After = 0, limit: Limit = 64, wait_s: Wait = 0, images: Images = False
    ) -> Response:
        """The jobs after a cursor whose pictures were admitted, with their samples."""
        return await ended(run, True, after, limit, wait_s, images)

    @router.get("/{run}/images/{digest}", response_class=Response)
    async def image(run: RunName, digest: Digest, request: Request) -> Response:
        """An image's encoded bytes. What a digest names never changes."""
        path = desk.runs.get(run).pool.images.path(digest)
        lasting = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        if request.headers.get("if-none-match") == lasting["ETag"] and is_whole(path):
            return Response(status_code=304, headers=lasting)
        content = await desk.in_thread(lambda: _content(path))
        kind = next((kind for head, kind in KINDS.items() if content.startswith(head)), None)
        headers = lasting | {"X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=kind or "application/octet-stream", headers=headers)

    return router


def _seed(row: schemas.Seed, limits: Limits) -> Sample:
    image = checked_image(row.content, limits)
    if (image.width, image.height) != row.size:
        raise Refused(
            422,
            f"sample {row.id} says its image has {row.size[0]}x{row.size[1]} pixels, the image "
            f"{image.width}x{image.height}",
        )
    fields = row.model_dump(exclude={"content"})
    sample = sample_from_fields(fields, row.id, image, None, 0, row.dataset)
    get_task(sample.task).constraints(sample)
    return sample


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Refused(404, f"there is no image {path.name} here") from None
