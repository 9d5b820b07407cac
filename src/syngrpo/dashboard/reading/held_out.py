"""Reads the held-out evaluation sets that the configuration of a run names, for the pages.

The files are where the configuration says, which may be another place than the run directory. A set
that has been read stays in memory, also for other runs with the same set.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syngrpo.formats.base import Problems
from syngrpo.formats.source import SourceError, source_from_keys
from syngrpo.formats.source_reading import read_source
from syngrpo.sample import InputError, Sample


@dataclass(frozen=True)
class HeldOutSet:
    """The samples of a set by their ids, in the order of the data. ``problems`` says in a line each
    what could not be read."""

    samples: Mapping[str, Sample]
    problems: tuple[str, ...]


_KEPT = 8
_read_sets: dict[tuple[str, str], HeldOutSet] = {}
"""The last sets that were read, by name and keys."""
_reading = threading.Lock()


def held_out_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the sets in the configuration of a run, as ``config.yaml`` has it."""
    return list(_sets(config))


def held_out_set(config: Mapping[str, Any], name: str) -> HeldOutSet:
    """Return a set of the configuration of a run. Reading it the first time may take seconds.

    A set that cannot be read at all is empty, and is read again the next time.
    """
    keys = _sets(config).get(name)
    if not isinstance(keys, dict):
        return HeldOutSet({}, (f"the configuration has no evaluation set {name!r}",))
    given = {key: value for key, value in keys.items() if value not in (None, [])}
    key = name, json.dumps(given, default=str)
    if (known := _read_sets.get(key)) is not None:
        return known
    with _reading:
        try:
            if key not in _read_sets:
                _read_sets[key] = _read(name, given)
        except SourceError as error:
            return HeldOutSet({}, (error.below(f"evaluation.sets.{name}"),))
        except InputError as error:
            return HeldOutSet({}, (str(error),))
        found = _read_sets[key]
        if len(_read_sets) > _KEPT:
            del _read_sets[next(iter(_read_sets))]
        return found


def _sets(config: Mapping[str, Any]) -> dict[str, Any]:
    evaluation = config.get("evaluation")
    sets = evaluation.get("sets") if isinstance(evaluation, dict) else None
    return sets if isinstance(sets, dict) else {}


def _read(name: str, keys: Mapping[str, Any]) -> HeldOutSet:
    """Return the set of a source with these keys. Raises InputError if it has no sample."""
    problems = Problems()
    samples = read_source(source_from_keys(keys), name, problems)
    lines = tuple(problems.lines())
    if not samples:
        raise InputError("; ".join(lines[:3]) or f"evaluation set {name} has no sample")
    return HeldOutSet({sample.id: sample for sample in samples}, lines)
