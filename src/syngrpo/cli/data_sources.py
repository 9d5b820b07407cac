"""What the arguments of ``syngrpo data`` mean: a configuration, files, or a folder with parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syngrpo.formats import Problems
    from syngrpo.formats.source import Source


def is_config(path: Path) -> bool:
    """Return whether a YAML file is a configuration, and not a file of a data set."""
    from syngrpo.formats import loadable_formats

    if path.suffix not in (".yaml", ".yml"):
        return False
    return not (path.exists() and any(known.recognises(path) for known in loadable_formats()))


def source_of(files: Sequence[str], given: dict[str, Any], command: str) -> Source:
    """Return one source of all the files. Sample ids must be unique among all of them.

    ``given`` are the keys of a source that the options say. Raises InputError, with the name of the
    ``command``, when they make no source.
    """
    from syngrpo.formats.source import (
        SourceError,
        paths_in,
        source_from_argument,
        source_from_keys,
    )
    from syngrpo.sample import InputError

    paths = [Path(path) for text in files for path in paths_in(text)]
    if len(files) == 1 and not paths[0].exists():
        return source_from_argument(files[0], given, given)
    try:
        return source_from_keys({**given, "path": paths})
    except SourceError as error:
        raise InputError(f"{command}: {error}") from None


def parts_in(source: Source, problems: Problems) -> tuple[dict[str, Source], str]:
    """Return a source for each part of a folder that is no single data set, by their names, and how
    a configuration names one; {} for any other source."""
    from dataclasses import replace

    from syngrpo.formats.data_folders import data_sets_in, parts_of
    from syngrpo.sample import InputError

    try:
        return parts_of(source, problems), "names one with split (--split)"
    except InputError:  # it is in no known format, which is told if nothing in it is
        if len(source.path) != 1 or not source.path[0].is_dir() or source.format != "auto":
            return {}, ""
    inside = data_sets_in(source.path[0])
    told = f"names {'one of them' if len(inside) > 1 else 'it'}"
    return {name: replace(source, path=(path,)) for name, path in inside.items()}, told
