"""Reads and shortens the files of a run that hold one JSON object a line, each with its ``step``.

The last line may be incomplete, because the run was killed while it wrote it. A complete object
without its line feed counts: an editor or a copy may have removed that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.run_files import content_of


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one a line; [] when there is no file.

    An incomplete last line is left out. Raises InputError for any other line that is no JSON
    object.
    """
    return [row for row, _ in _rows(path, content_of(path))]


def remove_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Remove the lines of steps after ``step``, because the run writes them again, and an
    incomplete last line.

    Return the objects that are left, [] when there is no file. Raises InputError as ``read_lines``
    does.
    """
    before = content_of(path)
    kept = [(row, line) for row, line in _rows(path, before) if row["step"] <= step]
    after = b"".join(line + b"\n" for _, line in kept)
    if after != before:
        atomic_write(path, after, durable=True)
    return [row for row, _ in kept]


def _rows(path: Path, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Return each object with its line, without the line feed. ``data`` is the file's content."""
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise ValueError("no object with a step")
        except (ValueError, RecursionError) as error:  # a text that is no UTF-8, too
            if number == len(lines) and not data.endswith(b"\n"):
                break
            raise InputError(
                f"{path} line {number} is not the JSON object of a step ({error}); remove the line"
            ) from None
        rows.append((row, line))
    return rows
