"""The data of an evaluation, as the command line names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syngrpo.formats.source import read_dataset, source_from_argument
from syngrpo.sample import InputError, Sample


def named_sets(
    data: Sequence[str | Path], count: int = 500, keys: Mapping[str, Any] | None = None
) -> dict[str, list[Sample]]:
    """Read the data sets; a set is named by its file, folder or split. Raises InputError.

    Each of ``data`` is a path, read as a source with ``keys`` (format, images, task, …), or
    ``FORMAT:[TASK:]SPLIT`` of a format that generates samples, of which ``count`` are taken.
    """
    sets: dict[str, list[Sample]] = {}
    for text in map(str, data):
        source = source_from_argument(text, keys or {}, {"count": count})
        name = _name(text, source.options.get("split") if source.path else None)
        if not source.path:
            name = text.partition(":")[2].replace(":", "-")
        if name in sets:
            raise InputError(f"data {text}: a set named {name} was given already; rename it")
        sets[name] = read_dataset(source)
    return sets


def _name(text: str, split: str | None) -> str:
    path = Path(text)
    name = path.stem if path.is_file() else path.name
    return f"{name}-{split}" if split else name
