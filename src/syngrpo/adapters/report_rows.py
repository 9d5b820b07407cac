"""Files of reports: the rows that the environments of verifiers append and one process reads.

A row is a JSON object with the id of the sample, the text of the response and its accuracy.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_FIELDS = frozenset(("sample", "text", "accuracy"))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of reports. A process of the same number that was killed may have
    left half a line at its end."""
    line = json.dumps(row).encode() + b"\n"
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)


def readable_rows(path: Path, lines: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows in lines of a file of reports. One that cannot be read, because its process
    was killed, is named in the log and left out."""
    for line in lines.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and row.keys() >= _FIELDS:
            yield row
        else:
            log.warning("a line of %s cannot be read; its response is left out", path)
