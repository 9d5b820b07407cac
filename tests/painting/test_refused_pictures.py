"""Small copies of refused pictures: how many are kept, and what they say."""

import io
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syngrpo.boxes import Similarity
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.painting.refused_pictures import (
    MOST_BYTES,
    MOST_REASONS,
    REFUSED,
    SIDE,
    RefusedPictures,
    kept_picture,
    kept_pictures,
    read_view,
    small_copy,
)

FRAME = Frame(Similarity(0.5, 12.25, 3.0), (1000, 600), 342.0)
LIGHT = Light(brightness=0.3, haze=0.25)
NOISE = np.random.default_rng(0).integers(0, 256, (600, 1000, 3), dtype=np.uint8)


def job(number: int) -> str:
    return f"{number:064x}"


def test_a_copy_is_small_and_says_how_the_picture_was_seen_and_lit() -> None:
    copy = small_copy(NOISE, FRAME, LIGHT)
    assert Image.open(io.BytesIO(copy)).size == (SIDE, round(600 * SIDE / 1000))
    assert read_view(copy) == (FRAME, LIGHT)
    assert max(len(copy), len(small_copy(NOISE[:SIDE, :SIDE], FRAME, LIGHT))) < MOST_BYTES
    small = np.full((20, 30, 3), 200, np.uint8)
    assert Image.open(io.BytesIO(small_copy(small, FRAME, LIGHT))).size == (30, 20)


def test_what_is_no_copy_says_nothing() -> None:
    def saying(comment: str) -> bytes:
        plain = io.BytesIO()
        Image.fromarray(NOISE).save(plain, format="JPEG", comment=comment)
        return plain.getvalue()

    made = {"frame": FRAME.lineage(), "light": LIGHT.lineage()}
    endless = json.dumps(made | {"frame": FRAME.lineage() | {"size": [float("inf"), 1]}})
    texts = json.dumps(made | {"frame": FRAME.lineage() | {"scale": "far"}})
    comments = [saying(comment) for comment in ("[1]", "[" * 60_000, endless, texts)]
    for broken in (b"", b"no picture", small_copy(NOISE, FRAME, LIGHT)[:20], *comments):
        assert read_view(broken) is None


def test_the_newest_of_each_reason_are_kept(tmp_path: Path) -> None:
    pictures = RefusedPictures(tmp_path, keep=3)
    for number in range(8):
        reason = "unseen" if number % 2 else "too_small"
        pictures.add(job(number), reason, b"copy %d" % number)
        folder = tmp_path / REFUSED / reason
        os.utime(folder / f"{job(number)}.jpg", (number, number))
    kept = kept_pictures(tmp_path)
    assert [one.job_id for one in kept] == [job(number) for number in (7, 6, 5, 4, 3, 2)]
    assert kept[0].path.read_bytes() == b"copy 7"
    assert kept_picture(tmp_path, job(7)) == kept[0].path
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    for other in (job(0), "../../secret", "", "*", job(7)[:10]):
        assert kept_picture(tmp_path, other) is None
    pictures.add(job(7), "unseen", b"painted again")
    assert len(kept_pictures(tmp_path)) == 6


def test_zero_keeps_none(tmp_path: Path) -> None:
    RefusedPictures(tmp_path, keep=0).add(job(1), "unseen", b"copy")
    assert kept_pictures(tmp_path) == [] and not (tmp_path / REFUSED).exists()


def test_reasons_are_no_paths_and_there_are_not_too_many_of_them(tmp_path: Path) -> None:
    pictures = RefusedPictures(tmp_path / "pool", keep=2)
    for number, reason in enumerate(["../../out", "/etc", "a" * 5000, "böse\n", "", "."]):
        pictures.add(job(number), reason, b"copy")
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]
    for number in range(100):
        pictures.add(job(number), f"reason {number}", b"copy")
    folders = list((tmp_path / "pool" / REFUSED).iterdir())
    assert len(folders) == MOST_REASONS
    assert len(kept_pictures(tmp_path / "pool")) <= 2 * MOST_REASONS


def test_a_copy_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / REFUSED).write_text("in the way")
    pictures = RefusedPictures(tmp_path, keep=2)
    with caplog.at_level(logging.WARNING):
        pictures.add(job(1), "unseen", b"copy")
        pictures.add(job(2), "unseen", b"copy")
    (record,) = caplog.records
    assert "refused pictures cannot be kept" in record.getMessage()
    assert kept_pictures(tmp_path) == []
