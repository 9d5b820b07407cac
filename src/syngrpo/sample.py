"""Samples, their images and labelled objects: the plain data that all other modules use.

All boxes are (x1, y1, x2, y2) in pixels of the *original* image as floats; x points right, y down,
and the origin is the top-left corner of the top-left pixel.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from syngrpo.picture_decoding import (
    QUARTER_TURNS,
    PictureError,
    PictureHeader,
    PictureTooLarge,
    decode,
    read_header,
    read_picture,
    stored_view,
)

Box = tuple[float, float, float, float]
RunLength = dict[str, Any]
"""A COCO run-length encoded mask: ``{"size": [height, width], "counts": str}``."""


class InputError(ValueError):
    """An error that the user can fix. The message is one line: what, where, and what to do."""


class ImageError(InputError):
    """An image file cannot be read or decoded."""


class ImageTooLarge(ImageError):  # noqa: N818
    """An image has more pixels, by its header, than are read."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as encoded bytes (PNG, JPEG, …), in memory (``data``) or in a file (``path``).

    ``width`` and ``height`` are in pixels, in the orientation in which viewers show the image.
    ``orientation`` is its EXIF orientation, by which viewers turn it, 1 if they do not;
    ``animated``: whether it has several frames or pages, of which the first is used.
    ``as_stored``: whether the image is used without being turned. Its file is then read with the
    orientation set to 1, so that everyone who gets the bytes sees the same image.
    """

    width: int
    height: int
    data: bytes | None = None
    path: Path | None = None
    orientation: int = field(default=1, kw_only=True, compare=False)
    animated: bool = field(default=False, kw_only=True, compare=False)
    as_stored: bool = field(default=False, kw_only=True)

    @classmethod
    def from_file(cls, path: Path, as_stored: bool = False) -> EncodedImage:
        """Return an image that refers to a file. Only the header of the file is read.

        Raises ImageError for a missing or unreadable image, ImageTooLarge for a huge one.
        """
        with _refusals(f"image {path}"):
            header = read_header(path)
        return cls._of(header, as_stored, path=path)

    @classmethod
    def from_bytes(cls, data: bytes, as_stored: bool = False) -> EncodedImage:
        """Return an image in memory. Only its header is read.

        Raises ImageError when the bytes are no image, ImageTooLarge when it is a huge one.
        """
        with _refusals(f"an image of {len(data)} bytes"):
            header = read_header(data)
        return cls._of(header, as_stored, data=data)

    @classmethod
    def from_pixels(cls, pixels: np.ndarray) -> EncodedImage:
        """Return an image in memory, made by encoding RGB pixels uint8 (H, W, 3) as PNG."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
        height, width = pixels.shape[:2]
        return cls(width=width, height=height, data=buffer.getvalue())

    @classmethod
    def _of(
        cls,
        header: PictureHeader,
        as_stored: bool,
        data: bytes | None = None,
        path: Path | None = None,
    ) -> EncodedImage:
        as_stored = as_stored and header.orientation != 1
        size = header.stored_size if as_stored else (header.width, header.height)
        orientation = 1 if as_stored else header.orientation
        return cls(
            *size,
            data,
            path,
            orientation=orientation,
            animated=header.animated,
            as_stored=as_stored,
        )

    def read(self) -> bytes:
        """Return the encoded bytes. Reads the file where the image is in one.

        Raises OSError when the file cannot be read, ImageError when it is no picture file.
        """
        try:
            data = self._bytes()
            return stored_view(data) if self.as_stored else data
        except PictureError as error:
            raise ImageError(f"{self._name} cannot be read: {error}") from None

    def decode(self) -> np.ndarray:
        """Return the RGB pixels as a viewer shows them, uint8 (H, W, 3).

        Raises ImageError when the image is damaged, or has not the size that its header had.
        """
        with _refusals(self._name, "decoded"):
            pixels = decode(self.read())
        height, width = pixels.shape[:2]
        if (width, height) != (self.width, self.height):
            raise ImageError(
                f"{self._name} is {width}x{height}, but was {self.width}x{self.height} when it was "
                "labelled or first read; restore the file"
            )
        return pixels

    def stored_view_hint(self, width: float, height: float) -> str:
        """Return the end of a message about labels that do not fit the image: what to do if labels
        of this extent fit it as it is stored, before it is turned; otherwise nothing."""
        if self.orientation not in QUARTER_TURNS or width > self.height or height > self.width:
            return ""
        return (
            f"; that fits the image as it is stored, {self.height}x{self.width}, before its EXIF "
            "orientation turns it: if labels are for that view, set exif: stored "
            "(--option exif=stored)"
        )

    def digest(self) -> str:
        """Return the sha256 of the encoded bytes, hexadecimal."""
        return hashlib.sha256(self.read()).hexdigest()

    def _bytes(self) -> bytes:
        """Return the encoded bytes as they are in the file or in memory."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        return read_picture(self.path)

    @property
    def _name(self) -> str:
        return f"image {self.path}" if self.path is not None else "an image in memory"


@contextmanager
def _refusals(name: str, verb: str = "read") -> Iterator[None]:
    """Turn the errors of reading a picture into ImageError, with the picture's name."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; check the path in the data") from None
    except PictureTooLarge as error:
        raise ImageTooLarge(f"{name} cannot be {verb}: {error}") from None
    except PictureError as error:
        raise ImageError(f"{name} cannot be {verb}: {error}") from None
    except OSError as error:
        raise ImageError(
            f"{name} cannot be read ({error.strerror or error}); check the file"
        ) from None


@dataclass(frozen=True)
class DecodedImage(EncodedImage):
    """An image with its decoded ``pixels``: uint8 (H, W, 3) RGB, read-only.

    ``encoded``: the image that was decoded, which has the bytes.
    """

    encoded: EncodedImage | None = field(default=None, repr=False, compare=False)
    pixels: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 0, 3), np.uint8), repr=False, compare=False
    )

    def read(self) -> bytes:
        return super().read() if self.encoded is None else self.encoded.read()

    def decode(self) -> np.ndarray:
        return self.pixels

    def __reduce__(self) -> tuple[type[EncodedImage], tuple[int, int, bytes]]:
        """Return what to pickle: only the encoded bytes. They are several times smaller than the
        pixels, and the process that unpickles them may not reach the file."""
        return EncodedImage, (self.width, self.height, self.read())


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


def with_pixels(sample: Sample) -> Sample:
    """Return the sample with its image decoded, a DecodedImage.

    Raises InputError for an image that cannot be decoded.
    """
    image = sample.image
    pixels = image.decode()
    pixels.setflags(write=False)
    decoded = DecodedImage(
        image.width,
        image.height,
        image.data,
        image.path,
        orientation=image.orientation,
        animated=image.animated,
        as_stored=image.as_stored,
        encoded=image,
        pixels=pixels,
    )
    return replace(sample, image=decoded)
