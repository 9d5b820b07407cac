"""Reads files of a run that may be damaged, of another kind, or gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from syngrpo.sample import InputError
from syngrpo.serving.wording import first_line

MOST_VALUES = 100_000
"""Largest number of values in a file of sections. A few lines of YAML can stand for billions."""


def require_plain(path: Path) -> None:
    """Raise InputError for a folder, a pipe or a device, which might make its user wait for ever.
    There need not be anything."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file; move it away, or put the file back")


def content_of(path: Path) -> bytes:
    """Return the content of a file, empty if there is none. Raises InputError as
    ``require_plain``."""
    require_plain(path)
    return path.read_bytes() if path.exists() else b""


def read_sections(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML or JSON file, such as a configuration.

    A section without anything in it is left out. Raises InputError, whose message says what is
    wrong and not what to do, for a file that is missing or is not a mapping of names to mappings.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'no file' if path.exists() else 'missing'}")
    try:
        text = path.read_text(encoding="utf-8")
        read = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        values = _written_out(read, count(1))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)})") from None
    except RecursionError:
        raise InputError(f"{path} cannot be read (it is nested too deeply)") from None
    if not isinstance(values, Mapping):
        raise InputError(f"{path} cannot be read (it holds no sections)")
    sections = {str(name): section for name, section in values.items() if section is not None}
    for name, section in sections.items():
        if not isinstance(section, Mapping):
            raise InputError(f"{path} cannot be read ({name} is no section)")
    return sections


def _written_out(value: Any, number: Iterator[int]) -> Any:
    """Return a value of YAML or JSON in which every name is a text, and nothing is shared. Raises
    ValueError if ``number`` counts too many values, and RecursionError for one that holds
    itself."""
    if next(number) > MOST_VALUES:
        raise ValueError(f"it stands for more than {MOST_VALUES:,} values")
    if isinstance(value, Mapping):
        return {str(name): _written_out(one, number) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_written_out(one, number) for one in value]
    return value
