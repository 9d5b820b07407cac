"""The pictures beside a written data set."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from syngrpo.sample import EncodedImage, InputError, Sample

FOLDER = "images"


class ImageFiles:
    """Stores encoded bytes as they are, every picture once, named by what is in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.names: dict[str, str] = {}
        """Sample id → path of its image relative to the directory of the data set."""
        (directory / FOLDER).mkdir()

    def add(self, sample: Sample) -> str:
        """The path relative to the directory. Raises InputError when the image cannot be read."""
        data = read_image(sample)
        digest = EncodedImage(sample.image.width, sample.image.height, data=data).digest()
        name = f"{FOLDER}/{digest[:32]}.{suffix_of(data)}"
        path = self._directory / name
        if not path.exists():
            path.write_bytes(data)
        self.names[sample.id] = name
        return name


def read_image(sample: Sample) -> bytes:
    """The encoded bytes. Raises InputError that names the sample when the file is gone."""
    try:
        return sample.image.read()
    except OSError as error:
        raise InputError(
            f"image {sample.image.path} of sample {sample.id} cannot be read ({error.strerror})"
        ) from None


def suffix_of(data: bytes) -> str:
    """png, jpg, webp, …: what the encoded bytes are."""
    with Image.open(io.BytesIO(data)) as header:
        name = str(header.format).lower()
    return {"jpeg": "jpg"}.get(name, name)
