"""Sends the images of samples and refused pictures to the browser, as JPEGs no larger than they are
shown.

An address names a run, perhaps one of its evaluation sets, and a sample or a job, never a file, so
that nothing else can be read.
"""

from __future__ import annotations

import io
from functools import lru_cache

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from PIL import Image

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.dashboard.reading.held_out import held_out_set
from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.pages.shown_text import shown_line
from syngrpo.painting.refused_pictures import kept_picture
from syngrpo.sample import EncodedImage
from syngrpo.serving.wording import first_line

SIDES = (160, 480, 1024)
"""The longest sides in pixels that a picture is sent in; an address names one of them."""
_KEPT = 512
_FOREVER = "private, max-age=31536000, immutable"
"""The image of a sample of the pool never changes."""
A_MINUTE = "private, max-age=60"
"""The image of an evaluation set is a file of the user, and a refused picture may be painted
anew."""


def picture_routes(runs: FollowedRuns) -> APIRouter:
    """Return the route of the pictures in the pools and evaluation sets of these runs."""
    router = APIRouter()

    @router.get("/picture")
    def picture(
        run: str, sample: str, side: int = SIDES[1], held_out: str = Query("", alias="set")
    ) -> Response:
        """Return the image of a sample. FastAPI calls this in a thread."""
        followed = runs.get(run)
        try:
            image = _image(followed, held_out, sample) if followed is not None else None
            if image is None or side not in SIDES:
                return PlainTextResponse("there is no such picture\n", 404)
            return picture_response(image, side, A_MINUTE if held_out else _FOREVER)
        except FAULTS as error:
            return no_picture(error)

    @router.get("/refused")
    def refused(run: str, job: str, side: int = SIDES[1]) -> Response:
        """Return the small copy of the picture that the gate has refused for a job."""
        followed = runs.get(run)
        path = kept_picture(followed.directory, job) if followed is not None else None
        if path is None or side not in SIDES:
            return PlainTextResponse("there is no such picture\n", 404)
        try:
            return picture_response(EncodedImage.from_bytes(path.read_bytes()), side, A_MINUTE)
        except FAULTS as error:  # it was removed meanwhile, or is damaged
            return no_picture(error)

    return router


def no_picture(error: Exception) -> Response:
    """Return the answer when a picture cannot be sent because of this error."""
    return PlainTextResponse(f"{shown_line(first_line(error), 1000)}\n", 404)


def _image(run: FollowedRun, held_out: str, sample_id: str) -> EncodedImage | None:
    if held_out:
        sample = held_out_set(run.data().config, held_out).samples.get(sample_id)
        return None if sample is None else sample.image
    pool = run.pool()
    return None if pool is None else pool.get(sample_id).image


def picture_response(image: EncodedImage, side: int, cache: str) -> Response:
    """Return an image with at most ``side`` pixels on its longer side. ``cache`` is the header that
    says how long the browser may keep it. Raises InputError for one that cannot be decoded."""
    headers = {"Cache-Control": cache}
    return Response(_jpeg(image, side), media_type="image/jpeg", headers=headers)


@lru_cache(_KEPT)
def _jpeg(image: EncodedImage, side: int) -> bytes:
    picture = Image.fromarray(image.decode())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
