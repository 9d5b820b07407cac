"""A small sheet of pictures that a run painted early and late."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from syngrpo.formats.survey import contact_sheet
from syngrpo.pages.pool_gallery import open_pool
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample

COLUMNS = 6
LARGEST = 200_000
"""Largest size of a sheet in bytes."""
COLOURS = (256, 128, 64, 32)


def write_sheet(run: Path, path: Path) -> bool:
    """Write a sheet with pictures admitted in the first third of the run above and in the last
    third below, each with its description. Returns False if too few were painted.

    The boxes of the answers are drawn. The file has at most ``LARGEST`` bytes.
    """
    pool = open_pool(run)
    if pool is None:
        return False
    ids = synthetic_ids(pool)
    third = len(ids) // 3
    if third < COLUMNS:
        pool.close()
        return False
    rows = [*_spread(ids[:third], COLUMNS), *_spread(ids[-third:], COLUMNS)]
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
    """Return the ids of all synthetic samples with a readable picture, in order of admission."""
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT s.id FROM samples s JOIN standing t ON t.number = s.number "
            "WHERE s.parent IS NOT NULL AND t.state <> 'quarantined' ORDER BY s.number"
        ).fetchall()
    return [name for (name,) in rows]


def _spread(ids: list[str], count: int) -> list[str]:
    return [ids[(2 * i + 1) * len(ids) // (2 * count)] for i in range(count)]


def _captioned(sample: Sample) -> Sample:
    """Put the description in place of the question."""
    return replace(sample, question=sample.description or "")
