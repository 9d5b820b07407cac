"""Small pictures inside a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from syngrpo.sample import EncodedImage


def data_uri(encoded: EncodedImage, longer_side: int, quality: int) -> str:
    """The image as a JPEG whose longer side has at most so many pixels. Raises InputError for an
    image that cannot be decoded."""
    image = Image.fromarray(encoded.decode())
    image.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
