"""Small ICC profiles for tests, whose colours are known by their making."""

from __future__ import annotations

import io
import itertools
import struct

from PIL import ImageCms


def srgb() -> bytes:
    """Return littleCMS's own sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_and_green_swapped() -> bytes:
    """Return sRGB with the colorants of red and green exchanged: a value (r, g, b) of such a
    picture is the colour (g, r, b)."""
    profile = bytearray(srgb())
    red, green = profile.find(b"rXYZ", 128), profile.find(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile)))
    return bytes(profile)


def grey(gamma: float) -> bytes:
    """Return a profile of grey pictures with that gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _white(), b"kTRC": curve})


def inks() -> bytes:
    """Return a profile of CMYK pictures in which cyan is printed as a pure grey (L* = 50), and any
    other ink, or all together, as black."""
    nodes = itertools.product((0, 1), repeat=4)
    lightness = {(0, 0, 0, 0): 255, (1, 0, 0, 0): 128}
    table = b"".join(bytes((lightness.get(node, 0), 128, 128)) for node in nodes)
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    curve = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + curve * 4 + table + curve * 3
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _white(), b"A2B0": lut}, b"prtr")


def _white() -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)


def _profile(
    space: bytes, connection: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr"
) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, kind, space, connection
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body
