"""Decodes picture files: the one place where the bytes of a picture become pixels.

A picture is decoded *as a viewer shows it*: turned by its EXIF orientation, transparent pixels on
white, colours in sRGB by its ICC profile, 16 bits or floats scaled to 8 bits, the first frame of an
animation. ``read_header`` says what a picture is without decoding it. What cannot be shown in this
way is refused with a ``PictureError``; no picture becomes black or white without a word.

Only the formats in ``FORMATS`` are opened, whatever a file is called. Pillow knows many more, some
of which it decodes when they are opened, or hands to other programs. ``picture_structure`` finds
files that cost a decoder more than their pixels do.
"""

from __future__ import annotations

import functools
import io
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from syngrpo.picture_structure import costly_body, costly_header

# Pillow opens the formats of the plug-ins that are imported; for others it imports all it has.
_PLUGINS = (
    PngImagePlugin,
    JpegImagePlugin,
    WebPImagePlugin,
    TiffImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
)
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
NAMES = "PNG, JPEG, WebP, TIFF, BMP or GIF"

_BEGINNINGS = {
    "PNG": (b"\x89PNG",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
}
"""Format → how its files begin."""

MAX_PIXELS = 64_000_000
"""Pictures with more pixels are refused when their header is read, before they are decoded."""
MAX_BYTES = 1 << 30
"""Files that are larger are not read."""

LARGEST_PROFILE = 8 << 20
"""Bytes of an ICC profile. The last few profiles stay in memory."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a viewer turns a picture."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → how the stored picture is turned to be shown."""
_TURNS_BACK = _TURNS | {6: _TURNS[8], 8: _TURNS[6]}
QUARTER_TURNS = (5, 6, 7, 8)
"""The orientations in which width and height change places."""

_SCALES = (TiffImagePlugin.BITSPERSAMPLE, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
"""The tags of a TIFF that say what its numbers mean."""

_BLOCK = 1 << 18
"""Pixels that are computed at a time."""
_SAME_COLOURS = 2
"""Grey levels. A profile that changes no colour by more than this is sRGB; nothing is converted."""


class PictureError(ValueError):
    """A picture cannot be used. The message says why, and what to do, without naming the file."""


class PictureTooLarge(PictureError):  # noqa: N818
    """A picture has more pixels, by its header, than are read."""


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a picture says. ``width`` and ``height`` are those of the picture as a
    viewer shows it, in pixels; ``orientation`` is the EXIF orientation, 1 for a picture that is not
    turned; ``animated``: whether there is more than one frame or page."""

    format: str
    width: int
    height: int
    orientation: int
    animated: bool

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the picture as it is stored, without being turned."""
        if self.orientation in QUARTER_TURNS:
            return self.height, self.width
        return self.width, self.height


def read_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> PictureHeader:
    """Return what the header of a file or of encoded bytes says. No pixel is decoded.

    Raises PictureError, PictureTooLarge, and OSError for a file that cannot be opened.
    """
    if isinstance(source, Path):
        _require_regular(source)
    with _opened(source, max_pixels) as image:
        return _header(image)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the pixels of an encoded picture as a viewer shows them: RGB, uint8 (H, W, 3).

    Raises PictureError when that is not possible, PictureTooLarge before anything is decoded.
    """
    with _opened(data, max_pixels) as image:
        header = _header(image)
        _refuse(costly_body(data))
        try:
            shown = _as_shown(image, header.orientation)
        except PictureError:
            raise
        except Exception as error:  # damaged files make Pillow raise errors of nearly every kind
            raise PictureError(f"it is damaged ({_reason(error)}); replace it") from None
    return np.asarray(shown)


def read_picture(path: Path) -> bytes:
    """Return the encoded bytes of a file.

    Raises PictureError for a device, a pipe or a huge file, and OSError.
    """
    _require_regular(path)
    return path.read_bytes()


def stored_view(data: bytes) -> bytes:
    """Return an encoded picture that every viewer shows as ``data`` is stored, without turning it.

    Pixels stay exactly the same. The orientation of a JPEG or WebP is set to 1; a picture in
    another format is encoded as PNG. Raises PictureError.
    """
    with _opened(data, MAX_PIXELS) as image:
        orientation, format, exif = _orientation(image), image.format, image.info.get("exif")
    if orientation == 1:
        return data
    if format in ("JPEG", "MPO", "WEBP") and exif:
        patched = _with_orientation_1(data, exif)
        if read_header(patched).orientation == 1:
            return patched
    buffer = io.BytesIO()
    pixels = Image.fromarray(decode(data)).transpose(_TURNS_BACK[orientation])
    pixels.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _require_regular(path: Path) -> None:
    """Raise PictureError for what is no file or too large. Opening a pipe would wait for ever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise PictureError("it is no regular file; name a picture file")
    if found.st_size > MAX_BYTES:
        raise PictureError(f"it has {found.st_size} bytes, more than {MAX_BYTES}; replace it")


def _opened(source: Path | bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Open a picture of the known formats, which reads its header. Raises PictureError."""
    _refuse_large_webp(source, max_pixels)
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        _refuse(costly_header(file))
    try:
        image = Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, "r", FORMATS
        )
    except UnidentifiedImageError:
        raise PictureError(_unknown(_head(source))) from None
    except Image.DecompressionBombError:
        raise PictureTooLarge(f"it claims more than {max_pixels} pixels; shrink it") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise PictureError(f"its header is damaged ({_reason(error)}); replace it") from None
    except Exception as error:
        raise PictureError(f"its header is damaged ({_reason(error)}); replace it") from None
    if image.width * image.height > max_pixels:
        size = f"{image.width}x{image.height}"
        image.close()
        raise PictureTooLarge(f"it claims {size} pixels, more than {max_pixels}; shrink it")
    return image


def _refuse(problem: str | None) -> None:
    """Raise PictureError if there is a problem of structure."""
    if problem is not None:
        raise PictureError(f"{problem}; save it again")


def _refuse_large_webp(source: Path | bytes, max_pixels: int) -> None:
    """Raise PictureTooLarge for an extended WebP with more pixels. Its decoder, which Pillow makes
    to read the header, reserves memory for the whole canvas twice."""
    head = _head(source)
    if len(head) == 30 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        if width * height > max_pixels:
            raise PictureTooLarge(
                f"it claims {width}x{height} pixels, more than {max_pixels}; shrink it"
            )


def _head(source: Path | bytes) -> bytes:
    """Return the first 30 bytes."""
    if isinstance(source, bytes):
        return source[:30]
    with source.open("rb") as file:
        return file.read(30)


def _unknown(head: bytes) -> str:
    """Return why a file that begins with these bytes is not opened."""
    if not head:
        return "it is empty (0 bytes); replace it"
    kind = next((name for name, begin in _BEGINNINGS.items() if head.startswith(begin)), None)
    if kind is None:
        return f"it is no readable {NAMES}; convert it to one of them"
    return f"it begins as a {kind}, but is damaged or of a rare kind; save it as PNG"


def _header(image: ImageFile.ImageFile) -> PictureHeader:
    orientation, (width, height) = _orientation(image), image.size
    # Pillow gives the size of a TIFF as it is shown.
    swapped = getattr(image, "tag_v2", {}).get(ORIENTATION) in QUARTER_TURNS
    if orientation in QUARTER_TURNS and not swapped:
        width, height = height, width
    # The further pictures of an MPO, such as a phone's depth map, are no animation.
    animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return PictureHeader(str(image.format), width, height, orientation, animated)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is known so far, 1 if there is none or it is damaged."""
    try:
        # Not the method of a PNG, which decodes the picture to look for EXIF behind the pixels.
        found = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # viewers show a picture whose EXIF is damaged
        return 1
    return found if found in _TURNS else 1


def _as_shown(image: ImageFile.ImageFile, orientation: int) -> Image.Image:
    """Return the first frame as an RGB image, turned by the orientation of the header."""
    coded = str(image.tile[0].args) if image.tile else ""
    if "RGB;16" in coded and "transparency" in image.info:
        raise PictureError("it has 16 bits a colour and a transparent colour; save it with 8 bits")
    known = getattr(image, "tag_v2", {})  # in which reading a tag makes an object of each number
    tags = {tag: known[tag] for tag in _SCALES if tag in known}
    image.load()
    shown = _as_rgb(image, tags)
    if image.format == "TIFF":  # Pillow turns a TIFF when it loads it
        return shown
    whole = Image.new("1", (1, 1))
    whole.info = image.info  # with what stands behind the pixels
    if _orientation(whole) != orientation:
        raise PictureError("its EXIF orientation stands behind its pixels; save it again")
    return shown.transpose(_TURNS[orientation]) if orientation in _TURNS else shown


def _as_rgb(image: Image.Image, tags: dict[int, Any]) -> Image.Image:
    """Return a loaded image as RGB: sRGB by its profile, on white. ``tags`` are the ``_SCALES`` of
    a TIFF."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _scaled(image, tags)
    profile, alpha = image.info.get("icc_profile"), None
    if image.has_transparency_data:
        with_alpha = _converted(image, "RGBA")
        alpha = with_alpha.getchannel("A")
        image = image.getchannel("L") if image.mode in ("L", "LA") else with_alpha.convert("RGB")
    elif image.mode not in ("L", "CMYK"):
        image = _converted(image, "RGB")
    colours = _converted(_in_srgb(image, profile), "RGB")
    if alpha is None or alpha.getextrema() == (255, 255):
        return colours
    white = Image.new("RGB", colours.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Return an image in this mode. One that has it already is not copied."""
    return image if image.mode == mode else image.convert(mode)


def _scaled(image: Image.Image, tags: dict[int, Any]) -> Image.Image:
    """Return a grey image of 16 bits or floats with 8 bits: L, or LA if one value is transparent.

    16 bits are scaled by the range of the format, floats from 0 to 1. Raises PictureError for
    others, whose black and white are not known.
    """
    values = np.asarray(image)
    if image.mode == "I":
        raise PictureError("it has whole numbers of 32 bits or with a sign; save it with 8 bits")
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # also for NaN
            raise PictureError(
                f"it has floats from {values.min():g} to {values.max():g}, not from 0 to 1; "
                "save it with 8 bits"
            )
        white = 1
    else:
        white = 2 ** tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0] - 1
    inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0

    def levels(block: np.ndarray) -> np.ndarray:
        shares = block.astype(np.float64) / white
        grey: np.ndarray = np.floor((1 - shares if inverted else shares) * 255 + 0.5)
        return grey

    grey = Image.fromarray(_in_blocks(values, levels))
    hidden = image.info.get("transparency")
    if hidden is not None:
        seen = Image.fromarray(_in_blocks(values, lambda block: np.where(block == hidden, 0, 255)))
        grey = Image.merge("LA", (grey, seen))
    grey.info["icc_profile"] = image.info.get("icc_profile")
    return grey


def _in_blocks(values: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``change`` of an array (H, W), as uint8. It gets some rows at a time, so that its
    floats of a large picture are not in memory together."""
    changed = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _BLOCK // values.shape[1])
    for first in range(0, len(values), rows):
        changed[first : first + rows] = change(values[first : first + rows])
    return changed


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an L, RGB or CMYK image in sRGB. It stays as it is if its profile is sRGB, broken or
    huge, or for other colours than it has; viewers ignore those, too."""
    if not profile or len(profile) > LARGEST_PROFILE:
        return image
    if image.mode == "L" and _profile_mode(profile) == "RGB":
        image = image.convert("RGB")
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # not in place
    return converted


def _profile_mode(profile: bytes) -> str | None:
    """Return the mode of images that an ICC profile is for, None for others and broken ones."""
    return {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}.get(profile[16:20])


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if the profile is not for this mode, or if
    it changes no colour by more than rounding does."""
    if _profile_mode(profile) != mode:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    colours = Image.fromarray(cube if mode == "RGB" else levels[None])
    changed = ImageCms.applyTransform(colours, transform)
    assert changed is not None
    change = np.asarray(changed, dtype=int) - np.asarray(colours.convert("RGB"), dtype=int)
    return transform if np.abs(change).max() > _SAME_COLOURS else None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _with_orientation_1(data: bytes, exif: bytes) -> bytes:
    """Return the encoded bytes with the orientation in their EXIF data set to 1. They stay as they
    are if it is not found."""
    begin = data.find(exif)
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order: Any = "little" if tiff[:2] == b"II" else "big"
    first = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[first : first + 2], order)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        if int.from_bytes(tiff[entry : entry + 2], order) == ORIENTATION and begin >= 0:
            place = begin + len(exif) - len(tiff) + entry + 8
            return data[:place] + (1).to_bytes(2, order) + data[place + 2 :]
    return data


def _reason(error: Exception) -> str:
    """Return the message of Pillow's error on one line, or its kind if it has no message."""
    return " ".join(str(error).split())[:200] or type(error).__name__
