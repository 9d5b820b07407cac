"""Finds pictures that are built so that a small file costs a decoder much time or memory.

``costly_header`` is asked before a decoder reads the header, ``costly_body`` before it decodes the
pixels. Both return what is wrong in a few words, None for a picture that costs no more than its
pixels do. They look at the parts of a picture (chunks, segments, strips) and at no pixel. What is
damaged is left to the decoder to say.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, BinaryIO

MOST_PARTS = 100_000
"""Chunks of a PNG, segments of a JPEG. Each costs some microseconds."""
MOST_NUMBERS = 1 << 18
"""Numbers in one tag of a TIFF, such as the offsets of its strips. Each becomes an object."""
MOST_SCANS = 64
"""Scans of a progressive JPEG, each of which goes over the whole picture. Encoders write about
ten."""
LARGEST_TILE = 1 << 20
"""Pixels that a tile of a TIFF may have also if the picture is smaller."""

LONGEST_RUNS = 1 << 22
"""Bytes of a BMP with run lengths, each of which costs most of a microsecond."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RUN_LENGTHS = (1, 2)
"""The kinds of compression of a BMP that are run lengths."""
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker of a JPEG that ends the coded pixels before it."""

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_BYTES = (1, 2, 7)
"""Types of tags whose value stays one object, whatever its length."""
_WHOLE = {3: "H", 4: "L", 16: "Q"}
"""Type of a tag → format of its whole numbers, as ``struct`` names it."""


def costly_header(file: BinaryIO) -> str | None:
    """Return why reading the header would cost too much. The file is left at its beginning."""
    try:
        head = file.read(8)
        if head == _PNG:
            return _many_chunks(file, b"IDAT")
        if head.startswith(_JPEG):
            return _many_segments(file)
        if head[:4] in _TIFF:
            return _costly_tags(file, head)
        if head.startswith(b"BM"):
            return _many_runs(file)
        return None
    finally:
        file.seek(0)


def costly_body(data: bytes) -> str | None:
    """Return why decoding would cost too much."""
    if data.startswith(_JPEG):
        return _many_scans(data)
    if data.startswith(_PNG):
        file = io.BytesIO(data)
        file.seek(len(_PNG))
        return _many_chunks(file, b"IEND")
    return None


def _many_chunks(file: BinaryIO, last: bytes) -> str | None:
    """Look at the chunks of a PNG up to the first one called ``last``."""
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == last:
            return None
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    return f"it has more than {MOST_PARTS} chunks"


def _many_segments(file: BinaryIO) -> str | None:
    """Look at the segments of a JPEG up to the first scan."""
    file.seek(2)
    for _ in range(MOST_PARTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return None
        if head[1] == 0xFF:  # a marker may begin with several
            file.seek(-3, io.SEEK_CUR)
        else:
            file.seek(max(0, int.from_bytes(head[2:], "big") - 2), io.SEEK_CUR)
    return f"it has more than {MOST_PARTS} segments"


def _many_runs(file: BinaryIO) -> str | None:
    """Look whether a BMP has run lengths, which Pillow decodes in Python."""
    file.seek(30)
    compression = int.from_bytes(file.read(4), "little")
    size = file.seek(0, io.SEEK_END)
    if compression in _RUN_LENGTHS and size > LONGEST_RUNS:
        return f"it has {size} bytes of run lengths, more than {LONGEST_RUNS}"
    return None


def _many_scans(data: bytes) -> str | None:
    """Look at the segments of the first picture in a JPEG file."""
    scans, place = 0, 2
    for _ in range(MOST_PARTS):
        found = _MARKER.search(data, place)
        if found is None or found.group() == b"\xff\xd9":
            return None
        if found.group() == b"\xff\xda":
            scans += 1
            if scans > MOST_SCANS:
                return f"it has more than {MOST_SCANS} scans"
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return f"it has more than {MOST_PARTS} segments"


def _costly_tags(file: BinaryIO, head: bytes) -> str | None:
    """Look at the tags of the first picture in a TIFF."""
    order = "<" if head.startswith(b"II") else ">"
    long = 43 in head[2:4]  # BigTIFF, with numbers of 8 bytes
    offset, count, entry = ("Q", "Q", "HHQ8s") if long else ("L", "H", "HHL4s")
    sides = dict.fromkeys((_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT), 0)
    try:
        file.seek(8 if long else 4)
        file.seek(_unpacked(file, order + offset)[0])
        for _ in range(min(_unpacked(file, order + count)[0], MOST_PARTS)):
            tag, kind, numbers, value = _unpacked(file, order + entry)
            if kind not in _BYTES and numbers > MOST_NUMBERS:
                return f"its tag {tag} has {numbers} numbers, more than {MOST_NUMBERS}"
            if tag in sides and kind in _WHOLE:
                sides[tag] = struct.unpack_from(order + _WHOLE[kind], value)[0]
    except (struct.error, OSError, OverflowError):
        return None  # cut off, or with offsets beyond every file
    tile = sides[_TILE_WIDTH] * sides[_TILE_HEIGHT]
    if tile > max(LARGEST_TILE, 2 * sides[_WIDTH] * sides[_HEIGHT]):
        return f"it has tiles of {tile} pixels, more than the picture"
    return None


def _unpacked(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
