"""Samples, their images and labelled objects: the plain data that all other modules use.

All boxes are (x1, y1, x2, y2) in pixels of the *original* image as floats; x points right, y down,
and the origin is the top-left corner of the top-left pixel.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

Box = tuple[float, float, float, float]
RunLength = dict[str, Any]
"""A COCO run-length encoded mask: ``{"size": [height, width], "counts": str}``."""

MAX_PIXELS = 64_000_000
"""Images with more pixels are refused when their header is read, before they are decoded."""


class InputError(ValueError):
    """An error that the user can fix. The message is one line: what, where, and what to do."""


class ImageTooLarge(InputError):  # noqa: N818
    """An image has more pixels, by its header, than are read."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as encoded bytes (PNG, JPEG, …), in memory (``data``) or in a file (``path``).

    ``width`` and ``height`` are in pixels, in the orientation in which the image is stored.
    """

    width: int
    height: int
    data: bytes | None = None
    path: Path | None = None

    @classmethod
    def from_file(cls, path: Path) -> EncodedImage:
        """Return an image that refers to a file. Only the header of the file is read.

        Raises InputError for a missing or unreadable image, ImageTooLarge for a huge one.
        """
        try:
            with Image.open(path) as header:
                width, height = header.size
        except FileNotFoundError:
            raise InputError(f"image {path} does not exist; check the path in the data") from None
        except Image.DecompressionBombError as error:
            raise ImageTooLarge(f"image {path} cannot be read ({error}); shrink it") from None
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"image {path} cannot be read ({error}); replace the file") from None
        _refuse_huge(width, height, str(path))
        return cls(width=width, height=height, path=path)

    @classmethod
    def from_bytes(cls, data: bytes) -> EncodedImage:
        """Return an image in memory. Only its header is read.

        Raises InputError when the bytes are no image, ImageTooLarge when it is a huge one.
        """
        try:
            with Image.open(io.BytesIO(data)) as header:
                width, height = header.size
        except Image.DecompressionBombError as error:
            raise ImageTooLarge(f"image in memory cannot be read ({error}); shrink it") from None
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{len(data)} bytes are not a readable image ({error})") from None
        _refuse_huge(width, height, "in memory")
        return cls(width=width, height=height, data=data)

    @classmethod
    def from_pixels(cls, pixels: np.ndarray) -> EncodedImage:
        """Return an image in memory, made by encoding RGB pixels uint8 (H, W, 3) as PNG."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
        height, width = pixels.shape[:2]
        return cls(width=width, height=height, data=buffer.getvalue())

    def read(self) -> bytes:
        """Return the encoded bytes. Reads the file where the image is in one."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        return self.path.read_bytes()

    def decode(self) -> np.ndarray:
        """Return the RGB pixels, uint8 (H, W, 3).

        Raises InputError when the image is truncated or corrupt.
        """
        where = str(self.path) if self.path is not None else "in memory"
        try:
            with Image.open(io.BytesIO(self.read())) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            # For an unknown format PIL's message names only an object in memory.
            unknown = isinstance(error, UnidentifiedImageError)
            reason = "it is in no known format" if unknown else error
            raise InputError(f"image {where} cannot be decoded ({reason}); replace it") from None

    def digest(self) -> str:
        """Return the sha256 of the encoded bytes, hexadecimal."""
        return hashlib.sha256(self.read()).hexdigest()


def _refuse_huge(width: int, height: int, where: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageTooLarge(
            f"image {where} claims {width}x{height} pixels, more than {MAX_PIXELS}; shrink it"
        )


@dataclass(frozen=True)
class LabelledObject:
    """One labelled object: its class name, its box, and, if known, a mask as large as the image."""

    label: str
    box: Box
    mask: RunLength | None = None


@dataclass(frozen=True)
class Sample:
    """One training or evaluation sample.

    ``task``: the name of its task. ``answer``: the ground truth in the form of that task; boxes in
    it are in original pixels. ``parent``: the id of the sample it was painted from, None for a seed
    sample. ``description``: the text it was painted from, None for a seed. ``depth``: 0 for a seed,
    else one more than the depth of its parent. ``columns``: extra columns of the user's data, which
    custom rewards get. ``dataset``: the name of its data source in the run; a child has its
    parent's.
    """

    id: str
    task: str
    image: EncodedImage
    question: str
    answer: Any
    objects: tuple[LabelledObject, ...]
    parent: str | None = None
    description: str | None = None
    depth: int = 0
    columns: dict[str, Any] = field(default_factory=dict)
    dataset: str = ""
