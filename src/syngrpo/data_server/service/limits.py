"""What the service refuses, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass

from syngrpo.sample import MAX_PIXELS, EncodedImage, InputError
from syngrpo.serving.refusals import Refused

DESCRIPTION = 4_000
"""Characters of a description."""
RESPONSE = 64_000
"""Characters of the response that a description is from."""
NAME = 512
"""Characters of an id, a class name, a generator's fingerprint."""
BATCH = 256
"""Jobs, samples, observations or results in one request."""
INTEGER = 2**63 - 1
"""What the database can hold."""


@dataclass(frozen=True)
class Limits:
    """``body`` and ``image_body`` are bytes of a request without and with images."""

    body: int = 4 << 20
    image_body: int = 64 << 20
    image_pixels: int = MAX_PIXELS


def checked_image(content: bytes, limits: Limits) -> EncodedImage:
    """An image that claims a size the service takes; only its header is read. Raises Refused."""
    try:
        image = EncodedImage.from_bytes(content)
    except InputError as error:
        status = 413 if "claims" in str(error) or "decompression bomb" in str(error) else 422
        raise Refused(status, str(error)) from None
    except (ValueError, SyntaxError, OverflowError, MemoryError) as error:  # odd headers
        raise Refused(422, f"{len(content)} bytes are not a readable image ({error})") from None
    if image.width * image.height > limits.image_pixels:
        raise Refused(
            413,
            f"the image claims {image.width}x{image.height} pixels, more than "
            f"{limits.image_pixels}; shrink it",
        )
    return image
