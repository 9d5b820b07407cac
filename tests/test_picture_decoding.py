"""Pictures are decoded as a viewer shows them, or refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icc_profiles import grey, inks, red_and_green_swapped, srgb
from PIL import Image, ImageOps

from syngrpo.picture_decoding import (
    FORMATS,
    PictureError,
    PictureTooLarge,
    decode,
    read_header,
    read_picture,
    stored_view,
)
from syngrpo.sample import EncodedImage, ImageTooLarge, InputError

ORIENTATION = 0x0112


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def noise(width: int, height: int, *more: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *more), dtype=np.uint8)


def png(colour: int, values: np.ndarray, transparent: bytes = b"") -> bytes:
    """Write a PNG with 16 bits for each value, as the PNG specification says."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width = values.shape[:2]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def claiming(width: int, height: int) -> bytes:
    """Return a small PNG whose header claims that size."""
    picture = bytearray(saved(Image.new("RGB", (8, 8))))
    picture[16:24] = struct.pack(">II", width, height)
    picture[29:33] = struct.pack(">I", zlib.crc32(picture[12:29]))
    return bytes(picture)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_plain_colours_come_back_exactly(format: str) -> None:
    pixels = noise(20, 12, 3)
    image = Image.fromarray(pixels)
    if format == "GIF":
        image = image.quantize(64)
        pixels = np.asarray(image.convert("RGB"))
    found = decode(saved(image, format, **({"lossless": True} if format == "WEBP" else {})))
    assert found.dtype == np.uint8 and np.array_equal(found, pixels)


def test_a_jpeg_is_what_pillow_decodes() -> None:
    data = saved(Image.fromarray(noise(40, 24, 3)), "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))
    data = saved(Image.fromarray(noise(40, 24)), "JPEG")
    assert np.array_equal(decode(data)[..., 1], np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_by_the_range_of_the_format(format: str) -> None:
    values = np.linspace(0, 65535, 300).astype(np.uint16).reshape(15, 20)
    found = decode(saved(Image.fromarray(values), format))
    assert np.array_equal(found, np.repeat(np.rint(values / 257).astype(np.uint8)[..., None], 3, 2))


def test_16_bits_with_colours_and_transparency() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (9, 7, 4))
    assert np.abs(decode(png(2, values[..., :3])) - values[..., :3] / 257).max() <= 1
    share = values[..., 3:] / 65535
    shown = values[..., :3] / 257 * share + 255 * (1 - share)
    assert np.abs(decode(png(6, values)) - shown).max() <= 2
    shown = values[..., :1] / 257 * share + 255 * (1 - share)
    assert np.abs(decode(png(4, values[..., [0, 3]])) - shown).max() <= 2
    key = int(values[2, 3, 0])
    found = decode(png(0, values[..., 0], struct.pack(">H", key)))
    assert (found[2, 3] == 255).all() and abs(int(found[0, 0, 0]) - values[0, 0, 0] / 257) <= 1
    with pytest.raises(PictureError, match="16 bits a colour and a transparent colour; save it"):
        decode(png(2, values[..., :3], bytes(6)))


def test_floats_from_0_to_1_are_scaled_and_others_refused() -> None:
    values = np.random.default_rng(2).random((6, 5), dtype=np.float32)
    found = decode(saved(Image.fromarray(values), "TIFF"))
    assert np.abs(found[..., 0] - values * 255.0).max() <= 0.5
    for wrong in (values * 255, values - 0.5, np.full_like(values, np.nan)):
        with pytest.raises(PictureError, match=r"floats from \S+ to \S+, not from 0 to 1; save it"):
            decode(saved(Image.fromarray(wrong), "TIFF"))
    with pytest.raises(PictureError, match="whole numbers of 32 bits"):
        decode(saved(Image.fromarray(noise(4, 4).astype(np.int32)), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_are_shown_on_white(mode: str, format: str) -> None:
    values = noise(16, 12, len(mode)).astype(float)
    image = Image.fromarray(values.astype(np.uint8), mode)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    share = values[..., -1:] / 255
    shown = values[..., :-1] * share + 255 * (1 - share)
    assert np.abs(decode(saved(image, format, **options)) - shown).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_is_white(format: str) -> None:
    image = Image.new("P", (4, 3), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 1), 1)
    found = decode(saved(image, format, transparency=0))
    assert found[1, 1].tolist() == [200, 0, 0] and found[0, 0].tolist() == [255, 255, 255]
    half = decode(saved(image, "PNG", transparency=bytes((128, 255))))
    assert np.abs(half[0, 0] - np.array([132, 137, 142])).max() <= 1


def test_a_palette_that_is_opaque_keeps_its_colours() -> None:
    image = Image.fromarray(noise(9, 9, 3)).quantize(16)
    assert np.array_equal(decode(saved(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_used(format: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert read_header(data).animated
    assert (decode(data) == (255, 0, 0)).all()
    assert not read_header(saved(frames[0], format)).animated


def test_a_profile_that_is_not_srgb_is_converted() -> None:
    pixels = noise(9, 7, 3)
    data = saved(Image.fromarray(pixels), icc_profile=red_and_green_swapped())
    assert np.abs(decode(data).astype(int) - pixels[..., [1, 0, 2]]).max() <= 3
    clear = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    data = saved(clear, icc_profile=red_and_green_swapped())
    assert np.abs(decode(data).astype(int) - pixels[..., [1, 0, 2]]).max() <= 3


def test_srgb_and_useless_profiles_change_nothing() -> None:
    pixels = noise(9, 7, 3)
    for profile in (srgb(), b"no profile", inks(), red_and_green_swapped()[:200]):
        assert np.array_equal(decode(saved(Image.fromarray(pixels), icc_profile=profile)), pixels)


def test_grey_pictures_follow_their_profile() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = decode(saved(Image.fromarray(pixels), icc_profile=grey(1.5)))
    linear = (pixels / 255) ** 1.5
    wanted = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(found[..., 0] - 255 * wanted).max() <= 3  # a table with few entries
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_follows_its_profile(format: str) -> None:
    inked = Image.new("CMYK", (16, 8), (255, 0, 0, 0))
    inked.paste((0, 0, 0, 0), (8, 0, 16, 8))
    options = {"quality": 100} if format == "JPEG" else {}
    plain = decode(saved(inked, format, **options))
    assert np.abs(plain[2, 2].astype(int) - (0, 255, 255)).max() <= 2
    found = decode(saved(inked, format, icc_profile=inks(), **options))
    assert np.abs(found[2, 2].astype(int) - 119).max() <= 2  # L* = 50
    assert found[2, 12].min() >= 253


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_viewers_do(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(noise(24, 16, 3))
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(image, format, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as opened:  # what transformers and vLLM do
        turned = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    header = read_header(data)
    assert (header.height, header.width) == turned.shape[:2]
    assert header.orientation == orientation
    assert np.array_equal(decode(data), turned)
    encoded = EncodedImage.from_bytes(data)
    assert (encoded.width, encoded.height) == turned.shape[1::-1]

    stored = EncodedImage.from_bytes(data, as_stored=True)
    assert (stored.width, stored.height, stored.orientation) == (24, 16, 1)
    shown = decode(saved(image, format, **options))
    assert np.array_equal(stored.decode(), shown)
    with Image.open(io.BytesIO(stored.read())) as opened:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(opened)), shown)
    assert len(stored_view(data)) == len(data) or format in ("PNG", "TIFF")


def test_orientation_in_xmp_counts_and_damaged_exif_does_not() -> None:
    image = Image.fromarray(noise(24, 16, 3))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(image, "JPEG", xmp=xmp)
    assert (read_header(data).width, read_header(data).height) == (16, 24)
    assert decode(data).shape == (24, 16, 3)
    assert decode(stored_view(data)).shape == (16, 24, 3)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM", b"Exif\0\0"):
        assert decode(saved(image, "JPEG", exif=exif)).shape == (16, 24, 3)


def test_orientation_behind_the_pixels_is_refused_instead_of_overlooked() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    plain = saved(Image.new("RGB", (24, 16)))
    chunk = b"eXIf" + exif.tobytes()[6:]
    behind = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert read_header(plain[:-12] + behind + plain[-12:]).orientation == 1
    with pytest.raises(PictureError, match="behind its pixels; save it again"):
        decode(plain[:-12] + behind + plain[-12:])


@pytest.mark.parametrize("format", ["ICO", "EPS", "PPM", "TGA", "PDF", "JPEG2000", "PCX", "DDS"])
def test_other_formats_are_not_opened_whatever_they_are_called(tmp_path: Path, format: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(saved(Image.new("RGB", (32, 32)), format))
    for source in (path, path.read_bytes()):
        with pytest.raises(PictureError, match="no readable PNG, JPEG, WebP, TIFF, BMP or GIF"):
            read_header(source)
    with pytest.raises(PictureError, match="no readable PNG"):
        decode(path.read_bytes())
    assert format not in FORMATS


def test_a_rare_kind_of_a_known_format_is_called_that() -> None:
    plain = saved(Image.new("F", (16, 16)), "TIFF")
    double = plain.replace(
        struct.pack("<HHLHH", 258, 3, 1, 32, 0), struct.pack("<HHLHH", 258, 3, 1, 64, 0)
    )
    assert double != plain
    for data, kind in ((double, "TIFF"), (b"\x89PNG of some kind", "PNG")):
        with pytest.raises(
            PictureError, match=f"it begins as a {kind}, but is damaged or of a rare "
        ):
            decode(data)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)  # opening it would wait for somebody who writes
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="is no regular file; name a picture file"):
            EncodedImage.from_file(path)
        with pytest.raises(InputError, match="is no regular file"):
            EncodedImage(8, 8, path=path).read()
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png does not exist; check the path"):
        EncodedImage.from_file(tmp_path / "gone.png")


def test_size_is_checked_before_anything_is_decoded() -> None:
    tracemalloc.start()
    for size, claim in (((8_001, 8_000), "8001x8000 pixels"), ((60_000, 60_000), "more than")):
        data = claiming(*size)
        with pytest.raises(PictureTooLarge, match=claim):
            read_header(data)
        with pytest.raises(PictureTooLarge, match=claim):
            decode(data)
        with pytest.raises(ImageTooLarge, match=r"an image of .* bytes cannot be read: it claims"):
            EncodedImage.from_bytes(data)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    with pytest.raises(PictureTooLarge, match="more than 63; shrink it"):
        decode(saved(Image.new("RGB", (8, 8))), max_pixels=63)


def test_a_header_is_read_without_decoding(tmp_path: Path) -> None:
    """A PNG without its pixels: only what stands before them can be read."""
    data = saved(Image.fromarray(noise(400, 300, 3)))
    (tmp_path / "head.png").write_bytes(data[: data.index(b"IDAT") + 20])
    header = read_header(tmp_path / "head.png")
    assert (header.format, header.width, header.height) == ("PNG", 400, 300)
    with pytest.raises(InputError, match=r"head\.png cannot be decoded: it is damaged"):
        EncodedImage.from_file(tmp_path / "head.png").decode()


def test_a_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(saved(Image.new("RGB", (20, 10))))
    image = EncodedImage.from_file(path)
    path.write_bytes(saved(Image.new("RGB", (10, 20))))
    with pytest.raises(InputError, match=r"picture\.png is 10x20, but was 20x10 .*; restore"):
        image.decode()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_damaged_files_are_refused_or_shown(format: str, data: st.DataObject) -> None:
    whole = bytearray(saved(Image.fromarray(noise(24, 16, 3)), format))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            image = EncodedImage.from_bytes(damaged)
            assert image.decode().shape == (image.height, image.width, 3)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_large_picture_of_16_bits_or_floats_is_scaled_some_rows_at_a_time(format: str) -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (1100, 1000), dtype=np.uint16)
    if format == "PNG":
        data, shares = png(0, grey, transparent=struct.pack(">H", 7)), grey / 65535
    else:
        data = saved(Image.fromarray((grey / 65535).astype(np.float32)), "TIFF")
        shares = (grey / 65535).astype(np.float32).astype(np.float64)
    decode(data)  # what is imported and cached is not counted
    tracemalloc.start()
    found = decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wanted = np.floor(shares * 255 + 0.5)
    if format == "PNG":
        wanted[grey == 7] = 255
    assert (found == wanted[:, :, None]).all()
    assert peak < 16 * grey.size, "bytes of a pixel"


def test_the_canvas_of_an_animation_is_refused_before_its_decoder_is_made() -> None:
    frames = [Image.new("RGBA", (4, 4), colour) for colour in ("red", "blue")]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert data[12:16] == b"VP8X" and read_header(bytes(data)).animated
    data[24:30] = (9000 - 1).to_bytes(3, "little") * 2
    with pytest.raises(PictureTooLarge, match="it claims 9000x9000 pixels"):
        read_header(bytes(data))
