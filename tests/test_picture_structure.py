"""Files that are built to cost much are refused before they are decoded, and no others."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from costly_pictures import COSTLY, progressive, saved
from PIL import Image

from syngrpo.picture_decoding import FORMATS, PictureError, decode, read_header
from syngrpo.picture_structure import costly_body, costly_header

LIMITED = """
import resource, sys
from syngrpo.picture_decoding import PictureError, decode
data = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    decode(data)
except PictureError as error:
    print(error)
after = resource.getrusage(resource.RUSAGE_SELF)
print((after.ru_maxrss - before.ru_maxrss) << 10)
"""


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_file_costs_little_memory_and_time(name: str) -> None:
    make, problem = COSTLY[name]
    data = make()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, memory = done.stdout.decode().splitlines()
    assert problem in said and said.endswith("; save it again")
    assert int(memory) < 100e6 + 2 * len(data)


@pytest.mark.parametrize("name", ["tile", "strips", "chunks", "segments", "runs"])
def test_a_header_costs_as_little(name: str, tmp_path: Path) -> None:
    make, problem = COSTLY[name]
    file = tmp_path / "picture"
    file.write_bytes(make())
    for source in (file, file.read_bytes()):
        with pytest.raises(PictureError, match=problem):
            read_header(source)


def photo(width: int, height: int) -> Image.Image:
    waves = np.add.outer(np.arange(height) ** 1.5, np.arange(width) ** 1.3)
    pixels = np.stack([waves % 251, waves % 97 * 2, waves % 13 * 19], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


USUAL: list[tuple[str, dict[str, Any]]] = [
    *((format, {}) for format in FORMATS),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", "comment": b"x" * 60_000}),
    ("TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 1}}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"big_tiff": True}),
    ("GIF", {"save_all": True, "append_images": [photo(640, 480).rotate(180)]}),
]


@pytest.mark.parametrize(("format", "options"), USUAL)
def test_usual_pictures_are_not_refused(format: str, options: dict[str, Any]) -> None:
    data = saved(photo(640, 480), format, **options)
    assert costly_header(io.BytesIO(data)) is None and costly_body(data) is None
    assert decode(data).shape == (480, 640, 3)


def test_what_follows_the_first_picture_of_a_jpeg_is_not_counted() -> None:
    """As the film in the photograph of a phone, in which markers stand by chance."""
    data = progressive(20, 64)
    assert decode(data + b"\xff\xda\0\2" * 500).shape == (64, 64, 3)
    assert costly_body(data) is None
    assert costly_body(progressive(65, 64)) is not None
