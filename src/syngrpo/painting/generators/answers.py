"""What a server of pictures sends back, read with suspicion: it may be broken, or not ours."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
from PIL import Image

from syngrpo.painting.generators.pacing import retry_after_s

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_ERROR_BYTES = 1 << 16
MAX_MESSAGE = 300
"""Characters of a server's own words that an error message repeats."""
_WORTH_ANOTHER_TRY = {408, 409, 429}


class ImageServerError(RuntimeError):
    """A server did not paint a picture. The message is one line and holds no secret."""


class TryAgain(ImageServerError):  # noqa: N818
    """Another attempt may succeed, not before ``after`` seconds where the server said so."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


def one_line(text: str) -> str:
    """The text without line breaks, control characters and runs of spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


async def read_answer(response: httpx.Response, limit: int, secret: str | None) -> bytes:
    """The body of a streamed answer that went well.

    Raises TryAgain for status 408, 409, 429 and 5xx, ImageServerError for any other that is not
    2xx, and for a body of more than ``limit`` bytes, which is not read to its end. ``secret`` is
    taken out of what the server says.
    """
    if response.is_success:
        return await _read(response, limit)
    body = await _read_start(response, MAX_ERROR_BYTES)
    status = response.status_code
    if response.is_redirect:
        raise ImageServerError(
            f"answered {status}, a redirect, which is not followed; set url to its final address"
        )
    what = f"answered {status}: {_message(body, secret)}"
    if status in _WORTH_ANOTHER_TRY or status >= 500:
        raise TryAgain(what, retry_after_s(response.headers.get("retry-after")))
    raise ImageServerError(what)


def picture_or_url(body: bytes, secret: str | None) -> bytes | str:
    """The first picture of an answer of the images API: its encoded bytes, or where it lies.

    Raises ImageServerError when there is none.
    """
    match _parsed(body):
        case {"data": [{"b64_json": str(text)}, *_]} if text:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                raise ImageServerError("answered with a picture that is not base64") from None
        case {"data": [{"url": str(url)}, *_]} if url:
            return url
    raise ImageServerError(f"answered without a picture: {_message(body, secret)}")


def decode_picture(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 (H, W, 3) RGB of a PNG, JPEG or WebP file.

    Raises ImageServerError for anything else, and before anything is decoded when the picture
    claims more than ``max_pixels``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageServerError(
                    f"sent a picture of {image.width}x{image.height} pixels, more than "
                    f"max_answer_pixels {max_pixels}"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageServerError(
            f"sent {len(data)} bytes that are not a picture in {', '.join(FORMATS)} ({error})"
        ) from None


async def _read(response: httpx.Response, limit: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":  # a small answer could unpack to any size
        raise ImageServerError(f"answered in content encoding {encoding}, though asked for none")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise ImageServerError(f"answered with more than max_answer_bytes {limit}")
    return bytes(body)


async def _read_start(response: httpx.Response, count: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= count:
            break
    return bytes(body[:count])


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes, secret: str | None) -> str:
    """What the server says is wrong, in the forms that OpenAI, FastAPI and others use."""
    match _parsed(body):
        case {"error": {"message": str(text)}}:
            pass
        case {"error": str(text)} | {"detail": str(text)} | {"message": str(text)}:
            pass
        case {"detail": [{"msg": str(what), "loc": [*_, where]}, *_]}:
            text = f"{where}: {what}"
        case _:
            text = body[:MAX_ERROR_BYTES].decode("utf-8", errors="replace")
    text = one_line(text.replace(secret, "***") if secret else text)
    if not text:
        return "no message"
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
