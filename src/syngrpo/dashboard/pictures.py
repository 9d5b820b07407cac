"""Sends the images of samples and refused pictures to the browser, as JPEGs no larger than they are
shown.

An address names a run, perhaps one of its evaluation sets, and a sample or a job, never a file, so
that nothing else can be read. There may later be another picture at an address: of a run that was
started anew, or in a file that was corrected. So the browser asks each time, and an ETag with the
digest of the image tells it whether it has the picture already.
"""

from __future__ import annotations

import io
from functools import lru_cache

from fastapi import APIRouter, Header, Query, Response
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


def picture_routes(runs: FollowedRuns) -> APIRouter:
    """Return the route of the pictures in the pools and evaluation sets of these runs."""
    router = APIRouter()

    @router.get("/picture")
    def picture(
        run: str,
        sample: str,
        side: int = SIDES[1],
        held_out: str = Query("", alias="set"),
        if_none_match: str = Header(""),
    ) -> Response:
        """Return the image of a sample. FastAPI calls this in a thread."""
        followed = runs.get(run)
        try:
            image = _image(followed, held_out, sample) if followed is not None else None
            if image is None or side not in SIDES:
                return PlainTextResponse("there is no such picture\n", 404)
            return picture_response(image, side, if_none_match)
        except FAULTS as error:
            return no_picture(error)

    @router.get("/refused")
    def refused(
        run: str, job: str, side: int = SIDES[1], if_none_match: str = Header("")
    ) -> Response:
        """Return the small copy of the picture that the gate has refused for a job."""
        followed = runs.get(run)
        path = kept_picture(followed.directory, job) if followed is not None else None
        if path is None or side not in SIDES:
            return PlainTextResponse("there is no such picture\n", 404)
        try:
            image = EncodedImage.from_bytes(path.read_bytes())
            return picture_response(image, side, if_none_match)
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


def picture_response(image: EncodedImage, side: int, if_none_match: str) -> Response:
    """Return an image with at most ``side`` pixels on its longer side, or 304 if the browser has
    it: ``if_none_match`` is this header of the request, "" without one. Raises InputError for an
    image that cannot be decoded, OSError for a file that cannot be read."""
    digest = image.digest()
    etag = f'"{digest}-{side}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": etag}
    if etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(_jpeg(image, digest, side), media_type="image/jpeg", headers=headers)


@lru_cache(_KEPT)
def _jpeg(image: EncodedImage, digest: str, side: int) -> bytes:
    """Return an image as JPEG. ``digest`` is that of the image, whose file may change."""
    picture = Image.fromarray(image.decode())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
