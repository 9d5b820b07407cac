"""Small picture files that cost a decoder far more time or memory than their pixels do."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def progressive(scans: int, side: int = 4000) -> bytes:
    """A JPEG whose last scan of some bytes comes again and again; each goes over all pixels."""
    whole = saved(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xc4") : -2]
    return whole[:-2] + last * (scans - whole.count(b"\xff\xda")) + b"\xff\xd9"


def tiff(tags: Mapping[int, tuple[int, int, int | None]], data: bytes) -> bytes:
    """A TIFF with tags as type, number of values, and value; None stands for where ``data`` is."""
    begin = 8 + 2 + 12 * len(tags) + 4
    entries = [
        struct.pack("<HHLL", tag, kind, number, begin if value is None else value)
        for tag, (kind, number, value) in sorted(tags.items())
    ]
    head = b"II*\0" + struct.pack("<LH", 8, len(tags))
    return head + b"".join(entries) + bytes(4) + data


def grey() -> dict[int, Any]:
    """The tags of a grey TIFF of 16 x 16 pixels."""
    return {256: (4, 1, 16), 257: (4, 1, 16), 258: (3, 1, 8), 262: (3, 1, 1), 277: (3, 1, 1)}


def huge_tile(side: int = 12_000) -> bytes:
    pixels = zlib.compress(bytes(side * side), 9)
    tags = grey() | {259: (3, 1, 8), 322: (4, 1, side), 323: (4, 1, side)}
    return tiff(tags | {324: (4, 1, None), 325: (4, 1, len(pixels))}, pixels)


def many_strips(number: int = 1 << 19) -> bytes:
    tags = grey() | {259: (3, 1, 1), 278: (4, 1, 1), 273: (4, number, None), 279: (4, 1, 16)}
    return tiff(tags, bytes(4 * number))


def many_chunks(number: int = 200_000) -> bytes:
    whole = saved(Image.new("L", (8, 8)), "PNG")
    chunk = struct.pack(">L", 0) + b"tIME" + struct.pack(">L", zlib.crc32(b"tIME"))
    return whole[:33] + chunk * number + whole[33:]


def many_data_chunks(number: int = 200_000) -> bytes:
    whole = saved(Image.new("L", (8, 8)), "PNG")
    chunk = struct.pack(">L", 0) + b"IDAT" + struct.pack(">L", zlib.crc32(b"IDAT"))
    return whole[:33] + chunk * number + whole[33:]


def many_segments(number: int = 200_000) -> bytes:
    whole = saved(Image.new("L", (8, 8)), "JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * number + whole[2:]


def runs_of_one(side: int = 3000) -> bytes:
    """A BMP with a run length for each pixel, which is decoded in Python."""
    runs = b"\1\5" * (side * side)
    begin = 14 + 40 + 1024
    sizes = struct.pack("<LiiHHLLiiLL", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LLL", begin + len(runs), 0, begin) + sizes + bytes(1024) + runs


COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: progressive(400), "more than 64 scans"),
    "tile": (huge_tile, "tiles of 144000000 pixels"),
    "strips": (many_strips, "tag 273 has 524288 numbers"),
    "chunks": (many_chunks, "more than 100000 chunks"),
    "chunks of data": (many_data_chunks, "more than 100000 chunks"),
    "segments": (many_segments, "more than 100000 segments"),
    "runs": (runs_of_one, "bytes of run lengths"),
}
"""Makes the picture, and what is said about it."""
