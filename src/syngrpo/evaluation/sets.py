"""The data of an evaluation, as the command line names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from syngrpo.formats.registry import ReadOptions, read_dataset
from syngrpo.sample import InputError, Sample
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.surroundings import SPLITS, Split

ROOMS = "rooms:"


def named_sets(
    data: Sequence[str | Path],
    count: int = 500,
    format: str = "auto",
    options: ReadOptions | None = None,
) -> dict[str, list[Sample]]:
    """Reads the data; a set is named by its file, folder or split. Raises InputError.

    Each of ``data`` is ``rooms:[TASK:]SPLIT``, of which ``count`` samples are taken, or a data set
    that ``read_dataset`` reads with ``format`` and ``options``.
    """
    options = options or ReadOptions()
    sets: dict[str, list[Sample]] = {}
    for source in map(str, data):
        name = _name(source, options)
        if name in sets:
            raise InputError(f"data {source}: a set named {name} was given already; rename it")
        if source.startswith(ROOMS):
            sets[name] = _rooms(source, count)
        else:
            sets[name] = read_dataset(Path(source), format, options)
    return sets


def _name(source: str, options: ReadOptions) -> str:
    if source.startswith(ROOMS):
        return source.removeprefix(ROOMS).replace(":", "-")
    path = Path(source)
    name = path.stem if path.is_file() else path.name
    return f"{name}-{options.split}" if options.split else name


def _rooms(source: str, count: int) -> list[Sample]:
    task, _, split = source.removeprefix(ROOMS).rpartition(":")
    if split not in SPLITS:
        raise InputError(f"data {source}: no such split; use one of {', '.join(SPLITS)}")
    # The split was checked, which the type checker cannot see.
    return rooms_samples(cast(Split, split), count, task=task or "rec")
