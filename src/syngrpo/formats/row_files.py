"""Reads files of JSON rows: one object a line (JSONL), or one list of objects."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Problems
from syngrpo.sample import InputError
from syngrpo.serving.wording import one_line
from syngrpo.tasks.labels import shown

BEGINNING = 1_000_000
"""Bytes at the beginning of a file in which its first row is looked for."""


def data_rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a file, each with its place: ``path:number`` for lines, from 1, and
    ``path[number]`` for the items of a list, from 0.

    Reports lines and items that are no JSON objects to ``problems``. Blank lines are left out, and
    a byte order mark is ignored. Raises InputError when the file cannot be read, and for a list
    that is not JSON.
    """
    if beginning(path)[:1] == b"[":
        for number, item in enumerate(_list(path)):
            place = f"{path}[{number}]"
            if isinstance(item, dict):
                yield place, item
            else:
                problems.add(place, f"the item is {shown(item)}, not a JSON object")
        return
    for place, line in _lines(path):
        try:
            yield place, parse_row(line)
        except InputError as error:
            problems.add(place, error)


def parse_row(line: bytes) -> dict[str, Any]:
    """Return the JSON object in one line. Raises InputError when there is no JSON object, and when
    one of its objects has the same key twice: json would take the last value in silence."""
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError("the line is not UTF-8 text") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line is not JSON ({_reason(error)})") from None
    if not isinstance(row, dict):
        raise InputError(f"the line is {shown(row)}, not a JSON object")
    return row


def _reason(error: Exception) -> str:
    """Return why a line is not JSON. json counts lines within the line, which says nothing."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return one_line(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise InputError(f"the key {shown(key)} is there twice in one object; keep one of them")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def first_row(path: Path) -> dict[str, Any] | None:
    """Return the first row of a file of rows; None when the file begins with no JSON object on one
    line, and with no list of objects."""
    try:
        text = beginning(path).decode("utf-8", "ignore")
    except InputError:
        return None
    try:
        if text[:1] == "[":
            row, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
        else:
            row = json.loads(text.partition("\n")[0])
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def beginning(path: Path) -> bytes:
    """Return the first bytes of a file without white space and byte order mark in front of them.

    Raises InputError when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING).removeprefix(codecs.BOM_UTF8).lstrip()
    except FileNotFoundError:
        raise InputError(f"data file {path} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    name = str(path)
    with path.open("rb") as file:
        start = file.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InputError(f"data file {path} is UTF-16; save it as UTF-8")
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield f"{name}:{number}", line


def _list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_object)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} begins as a JSON list, but is not JSON ({error})") from None
    assert isinstance(content, list)
    return content
