"""Sends the images of samples to the browser, as JPEGs no larger than they are shown.

An address names a run and a sample, never a file, so that nothing else can be read.
"""

from __future__ import annotations

import io
from functools import lru_cache

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from PIL import Image

from syngrpo.dashboard.followed_runs import FollowedRuns
from syngrpo.sample import EncodedImage, InputError

SIDES = (160, 480, 1024)
"""The longest sides in pixels that a picture is sent in; an address names one of them."""
_KEPT = 512
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
"""The image of a sample never changes."""


def picture_routes(runs: FollowedRuns) -> APIRouter:
    """Return the route of the pictures in the pools of these runs."""
    router = APIRouter()

    @router.get("/picture")
    def picture(run: str, sample: str, side: int = SIDES[1]) -> Response:
        """Return the image of a sample. FastAPI calls this in a thread."""
        followed = runs.get(run)
        pool = followed.pool() if followed is not None else None
        if pool is None or side not in SIDES:
            return PlainTextResponse("there is no such picture\n", 404)
        try:
            return picture_response(pool.get(sample).image, side)
        except InputError as error:
            return PlainTextResponse(f"{error}\n", 404)

    return router


def picture_response(image: EncodedImage, side: int) -> Response:
    """Return an image with at most ``side`` pixels on its longer side. Raises InputError for one
    that cannot be decoded."""
    return Response(_jpeg(image, side), media_type="image/jpeg", headers=_FOREVER)


@lru_cache(_KEPT)
def _jpeg(image: EncodedImage, side: int) -> bytes:
    picture = Image.fromarray(image.decode())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
