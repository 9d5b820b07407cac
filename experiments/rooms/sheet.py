"""Draws a small sheet of pictures that a run painted early and late."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from syngrpo.formats.survey import contact_sheet
from syngrpo.pages.pool_gallery import open_pool
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample

T = TypeVar("T")

COLUMNS = 6
"""Number of pictures in a row."""
LARGEST = 200_000
"""Largest size of a sheet in bytes."""
COLOURS = (256, 128, 64, 32)
"""Numbers of colours of the sheet that are tried until it is small enough."""


def write_sheet(run: Path, path: Path) -> bool:
    """Write a sheet of pictures with their descriptions as a PNG file.

    Returns False, without writing a file, if the run painted too few pictures.

    The upper row has pictures that were admitted to the pool in the first third of the run, the
    lower one pictures from the last third. The boxes of the answers are drawn into them. The file
    has at most ``LARGEST`` bytes if 32 colours suffice for that.
    """
    pool = open_pool(run)
    if pool is None:
        return False
    ids = synthetic_ids(pool)
    third = len(ids) // 3
    if third < COLUMNS:
        pool.close()
        return False
    rows = [*spread(ids[:third], COLUMNS), *spread(ids[-third:], COLUMNS)]
    samples = [_captioned(pool.get(name)) for name in rows]
    sheet = contact_sheet(samples, columns=COLUMNS, words=False)
    pool.close()
    for colours in COLOURS:
        buffer = io.BytesIO()
        sheet.quantize(colours).save(buffer, format="PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return True


def synthetic_ids(pool: Pool) -> list[str]:
    """Return the ids of all synthetic samples with a readable picture, in order of admission to the
    pool."""
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT s.id FROM samples s JOIN standing t ON t.number = s.number "
            "WHERE s.parent IS NOT NULL AND t.state <> 'quarantined' ORDER BY s.number"
        ).fetchall()
    return [name for (name,) in rows]


def spread(things: Sequence[T], count: int) -> list[T]:
    """Return ``count`` of the things at equal distances."""
    return [things[(2 * i + 1) * len(things) // (2 * count)] for i in range(count)]


def _captioned(sample: Sample) -> Sample:
    """Return the sample with its description in place of its question, to be written below it."""
    return replace(sample, question=sample.description or "")
