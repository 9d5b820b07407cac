"""Shows whether descriptions get worse over a run, by what the first and the last ones say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from experiments.rooms.sheet import synthetic_ids
from syngrpo.pages.pool_gallery import open_pool
from syngrpo.sample import InputError
from syngrpo_rooms.descriptions import parse_description
from syngrpo_rooms.surroundings import Surroundings

TENTH = 10


@dataclass(frozen=True)
class Said:
    """Means over some descriptions: the number of properties of a room that the generator
    understands (at most 13), and the number of words."""

    properties: float
    words: float


def painted_descriptions(run: Path) -> list[str]:
    """Return the descriptions of a run in order of admission. Raises InputError for a directory
    without a pool."""
    pool = open_pool(run)
    if pool is None:
        raise InputError(f"{run} has no pool; give the directory of a run")
    texts = [pool.get(name).description or "" for name in synthetic_ids(pool)]
    pool.close()
    return texts


def early_and_late(texts: Sequence[str]) -> tuple[Said, Said]:
    """Return the means of the first and of the last tenth. Raises InputError for fewer than ten."""
    tenth = len(texts) // TENTH
    if not tenth:
        raise InputError(f"{len(texts)} descriptions were painted; at least {TENTH} are needed")
    return _said(texts[:tenth]), _said(texts[-tenth:])


def _said(texts: Sequence[str]) -> Said:
    return Said(
        properties=float(np.mean([_properties(text) for text in texts])),
        words=float(np.mean([len(text.split()) for text in texts])),
    )


def _properties(text: str) -> int:
    room = parse_description(text)
    return sum(getattr(room, field.name) is not None for field in fields(Surroundings))
