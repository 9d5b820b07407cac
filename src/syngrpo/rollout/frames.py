"""Pieces of known length and checksum in a stream of bytes: how weights travel.

Each piece is preceded by its length (8 bytes) and its CRC-32 (4 bytes), both little-endian; a piece
of length 0 says that the stream is whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator

from syngrpo.sample import InputError


class Broken(InputError):  # noqa: N818
    """A stream that did not arrive as it was sent: sending it again may help."""


HEAD = struct.Struct("<QI")
SLICE = 1 << 20
"""Bytes that are sent at once."""


def framed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The stream, in slices; none of the ``pieces`` may be empty."""
    for piece in pieces:
        yield HEAD.pack(len(piece), zlib.crc32(piece))
        for first in range(0, len(piece), SLICE):
            yield piece[first : first + SLICE]
    yield HEAD.pack(0, 0)


async def unframed(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """The pieces, each as soon as it is complete.

    Raises InputError for one longer than ``limit`` bytes and a stream that goes on after its end,
    Broken for a wrong checksum and a stream that ends early.
    """
    rest = memoryview(b"")

    async def take(size: int) -> bytes:
        nonlocal rest
        taken, filled = bytearray(size), 0
        while filled < size:
            if not rest:
                part = await anext(stream, None)
                if part is None:
                    raise Broken("the stream of weights broke off")
                rest = memoryview(part)
            count = min(len(rest), size - filled)
            taken[filled : filled + count] = rest[:count]
            rest, filled = rest[count:], filled + count
        return bytes(taken)

    while True:
        size, checksum = HEAD.unpack(await take(HEAD.size))
        if size > limit:
            raise InputError(f"a piece of {size} bytes, where all weights are {limit}")
        if not size:
            break
        piece = await take(size)
        if zlib.crc32(piece) != checksum:
            raise Broken("a piece of the weights has another checksum")
        yield piece
    while not rest:
        part = await anext(stream, None)
        if part is None:
            return
        rest = memoryview(part)
    raise InputError("the stream of weights goes on after its end")
