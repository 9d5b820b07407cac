"""Finds the images of a data set in its folders, and writes images."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from syngrpo.formats.image_paths import ends_of, pure_path, spellings
from syngrpo.formats.missing_images import MissingImage
from syngrpo.picture_decoding import read_header
from syngrpo.sample import EncodedImage, ImageError, InputError, LabelledObject, Sample
from syngrpo.tasks.labels import shown

Objects = tuple[LabelledObject, ...]

WRITTEN_FOLDER = "images"

logger = logging.getLogger(__name__)

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+://|data:)", re.IGNORECASE)
"""Matches the beginning of a URL; a single letter before a colon is a drive of Windows."""


class ImageFolder:
    """Opens images in one or several folders; the first folder that has an image is used. Each
    header is read once. Paths that lead out of the folders are refused.

    ``as_stored``: images are used without being turned by their EXIF orientation.
    ``labelled`` is a cache of ``sample_rows``: for each image path the objects of the last row
    about this image, and the text they were read from. ``rotated``: the images that their EXIF
    orientation turns, of those that were opened.
    """

    def __init__(self, root: Path, *more: Path, as_stored: bool = False) -> None:
        self.as_stored = as_stored
        self.roots = tuple(folder.resolve() for folder in (root, *more))
        self.labelled: dict[str, tuple[str, Objects]] = {}
        self.rotated: set[Hashable] = set()
        self._opened: dict[str, EncodedImage | InputError] = {}
        self._stands_for: dict[Path, str] = {}

    def open(self, relative: str) -> EncodedImage:
        """Return the image at a path that is relative to a folder, or absolute and inside of one.

        Returns the same object for the same path, and decodes nothing. An absolute path that does
        not lead into a folder is read as its longest end that does. Raises MissingImage when there
        is no image, and InputError when the path leads out of the folders.
        """
        if relative not in self._opened:
            try:
                self._opened[relative] = EncodedImage.from_file(
                    self._find(relative), self.as_stored
                )
            except InputError as error:
                self._opened[relative] = error
        found = self._opened[relative]
        if isinstance(found, MissingImage):
            raise MissingImage(found.name, found.folders, found.asked)
        if isinstance(found, InputError):
            raise type(found)(str(found))
        if found.orientation != 1:
            self.rotated.add(relative)
        return found

    def _find(self, relative: str) -> Path:
        """Return the path of the image, which lies in one of the folders."""
        if _URL.match(relative):
            raise ImageError(
                f"image {shown(relative)} is a URL; download the images and write their paths"
            )
        try:
            found = next(filter(None, map(self._inside, spellings(relative))), None)
            found = found or self._moved(relative)
            inside = any(path.is_relative_to(root) for root, path in self._places(relative))
        except (ValueError, OSError, RuntimeError) as error:  # null bytes, loops of links
            raise ImageError(f"image {shown(relative)} is not a usable path ({error})") from None
        if found is not None:
            return found
        if inside or not self.roots[0].is_dir():
            raise MissingImage(relative, self.roots, self._opened.keys())
        parent = Path(relative).parent
        if pure_path(relative).is_absolute() and not parent.is_dir():  # of another computer
            raise MissingImage(relative, self.roots, self._opened.keys())
        raise ImageError(
            f"image {shown(relative)} leaves the image folder {self.roots[0]}; write a path "
            "relative to that folder"
            + (f", or set images: {parent} (--images)" if parent.is_absolute() else "")
        )

    def _places(self, relative: str) -> Iterator[tuple[Path, Path]]:
        return ((root, (root / relative).resolve()) for root in self.roots)

    def _inside(self, relative: str) -> Path | None:
        """Return the first existing path inside of a folder."""
        for root, path in self._places(relative):
            if path.is_relative_to(root) and path.exists():
                return path
        return None

    def _moved(self, relative: str) -> Path | None:
        """Return the image that an absolute path of another computer, or of another folder, stands
        for: the longest end of the path that exists in a folder. Two such paths may not stand for
        the same image."""
        for end in ends_of(relative):
            found = self._inside(end)
            if found is None:
                continue
            if not self._stands_for:
                logger.warning("image %s is read as %s; others like it, too", relative, found)
            other = self._stands_for.setdefault(found, relative)
            if other != relative:
                raise ImageError(
                    f"images {shown(other)} and {shown(relative)} would both be {found}; write "
                    "paths relative to the image folder"
                )
            return found
        return None


def distinct_images(samples: Sequence[Sample]) -> list[EncodedImage]:
    """Return each image once, however many samples ask about it."""
    return list({image_key(sample.image): sample.image for sample in samples}.values())


def image_key(image: EncodedImage) -> Path | int:
    """Return the same value for the same image: the path of its file, or the object's id if it has
    no file."""
    return image.path if image.path is not None else id(image)


class ImageWriter:
    """Stores encoded bytes unchanged in the folder ``images`` of a directory, each image once,
    named by a digest of its bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.names: dict[str, str] = {}
        """Sample id → path of its image relative to the directory."""
        (directory / WRITTEN_FOLDER).mkdir()

    def add(self, sample: Sample) -> str:
        """Store the image of a sample and return its path relative to the directory.

        Raises InputError when the image cannot be read.
        """
        data = read_image(sample)
        digest = EncodedImage(sample.image.width, sample.image.height, data=data).digest()
        name = f"{WRITTEN_FOLDER}/{digest[:32]}.{suffix_of(data)}"
        path = self._directory / name
        if not path.exists():
            path.write_bytes(data)
        self.names[sample.id] = name
        return name


def read_image(sample: Sample) -> bytes:
    """Return the encoded bytes. Raises InputError that names the sample when the file cannot be
    read."""
    try:
        return sample.image.read()
    except OSError as error:
        raise InputError(
            f"image {sample.image.path} of sample {sample.id} cannot be read ({error.strerror})"
        ) from None


def require_size(size: tuple[Any, Any], image: EncodedImage) -> None:
    """Raise InputError unless an image has the width and height, in pixels, for which the data say
    that it was labelled."""
    if size == (image.width, image.height):
        return
    hint = "; name the folder of the images that were labelled with images (--images)"
    if size == (image.height, image.width):
        hint = image.stored_view_hint(image.height, image.width) or hint
    raise InputError(
        f"the labels are for an image of {shown(size[0])} x {shown(size[1])} pixels, this one has "
        f"{image.width} x {image.height} as viewers show it{hint}"
    )


def suffix_of(data: bytes) -> str:
    """Return the file name suffix of encoded bytes: png, jpg, webp, …"""
    name = read_header(data).format.lower()
    return {"jpeg": "jpg", "mpo": "jpg"}.get(name, name)
