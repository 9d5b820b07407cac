"""The plain data everything else speaks of: a sample, its image, its labelled objects.

All boxes are xyxy floats in pixels of the *original* image, x to the right, y down, origin at the
top-left corner of the top-left pixel.
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
"""Images that claim more pixels than this are refused before they are decoded."""


class InputError(ValueError):
    """Something the user can fix. The message is one line: what, where, and what to do."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as encoded bytes (PNG, JPEG, …), held in memory or left in its file.

    ``width`` and ``height`` are in pixels of the stored orientation; exactly one of ``data`` and
    ``path`` is set.
    """

    width: int
    height: int
    data: bytes | None = None
    path: Path | None = None

    @classmethod
    def from_file(cls, path: Path) -> EncodedImage:
        """Reads the header only. Raises InputError for a missing, unreadable or huge image."""
        try:
            with Image.open(path) as header:
                width, height = header.size
        except FileNotFoundError:
            raise InputError(f"image {path} does not exist; check the path in the data") from None
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise InputError(f"image {path} cannot be read ({error}); replace the file") from None
        _refuse_huge(width, height, str(path))
        return cls(width=width, height=height, path=path)

    @classmethod
    def from_bytes(cls, data: bytes) -> EncodedImage:
        """Reads the header only. Raises InputError when the bytes are not an image."""
        try:
            with Image.open(io.BytesIO(data)) as header:
                width, height = header.size
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise InputError(f"{len(data)} bytes are not a readable image ({error})") from None
        _refuse_huge(width, height, "in memory")
        return cls(width=width, height=height, data=data)

    @classmethod
    def from_pixels(cls, pixels: np.ndarray) -> EncodedImage:
        """Encodes uint8 (H, W, 3) RGB as PNG."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
        height, width = pixels.shape[:2]
        return cls(width=width, height=height, data=buffer.getvalue())

    def read(self) -> bytes:
        """The encoded bytes."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        return self.path.read_bytes()

    def decode(self) -> np.ndarray:
        """uint8 (H, W, 3) RGB. Raises InputError when the image is truncated or corrupt."""
        where = str(self.path) if self.path is not None else "in memory"
        try:
            with Image.open(io.BytesIO(self.read())) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            # PIL names the stream in memory where it knows no format, and its address says nothing.
            unknown = isinstance(error, UnidentifiedImageError)
            reason = "it is in no known format" if unknown else error
            raise InputError(f"image {where} cannot be decoded ({reason}); replace it") from None

    def digest(self) -> str:
        """sha256 of the encoded bytes, hexadecimal."""
        return hashlib.sha256(self.read()).hexdigest()


def _refuse_huge(width: int, height: int, where: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"image {where} claims {width}x{height} pixels, more than {MAX_PIXELS}; shrink it"
        )


@dataclass(frozen=True)
class LabelledObject:
    """One labelled object: class name, box, and where known its exact mask (image-sized)."""

    label: str
    box: Box
    mask: RunLength | None = None


@dataclass(frozen=True)
class Sample:
    """One training or evaluation sample.

    ``answer`` is the task's ground truth in original pixels (REC: one Box). A *seed* sample has no
    parent; a *synthetic* one has the id of the sample it was painted from, and the description.
    ``columns`` are extra columns of the user's data, passed through to custom rewards. ``dataset``
    names the data source of the run; children have their parent's.
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
