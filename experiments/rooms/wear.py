"""Measures whether descriptions get worse over a run, by comparing the first and the last ones."""

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
"""The first and the last of so many parts are compared."""


@dataclass(frozen=True)
class Said:
    """Means over some descriptions.

    ``properties`` is the number of properties of a room that the generator reads from a description
    (at most 13), and ``words`` is the number of its words.
    """

    properties: float
    words: float


def painted_descriptions(run: Path) -> list[str]:
    """Return the descriptions that a run painted, in order of their admission to the pool. Raises
    InputError for a directory without a pool."""
    pool = open_pool(run)
    if pool is None:
        raise InputError(f"{run} has no pool; give the directory of a run")
    texts = [pool.get(name).description or "" for name in synthetic_ids(pool)]
    pool.close()
    return texts


def early_and_late(texts: Sequence[str]) -> tuple[Said, Said]:
    """Return the means of the first and of the last tenth of the descriptions.

    Raises InputError for fewer than ten descriptions.
    """
    tenth = len(texts) // TENTH
    if not tenth:
        raise InputError(f"{len(texts)} descriptions were painted; at least {TENTH} are needed")
    return _means(texts[:tenth]), _means(texts[-tenth:])


def _means(texts: Sequence[str]) -> Said:
    return Said(
        properties=float(np.mean([_properties(text) for text in texts])),
        words=float(np.mean([len(text.split()) for text in texts])),
    )


def _properties(text: str) -> int:
    """Return the number of properties of a room that the generator reads from a description."""
    room = parse_description(text)
    return sum(getattr(room, field.name) is not None for field in fields(Surroundings))
