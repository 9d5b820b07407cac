"""Writes and reads what ``labels`` and ``dependence`` measured.

Each has one JSON file in the folder of the results.
"""

from __future__ import annotations

import json
from typing import Any

from experiments.rooms.machine import circumstances, commit
from experiments.rooms.matrix import ROOT, Folders

LABELS, DEPENDENCE = "labels.json", "dependence.json"


def write_finding(folders: Folders, file: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write the content together with commit, machine and versions, and return what was written."""
    whole = {"circumstances": {"commit": commit(ROOT), **circumstances()}, **content}
    folders.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(whole, indent=1) + "\n"
    (folders.results / file).write_text(text, encoding="utf-8")
    return whole


def read_finding(folders: Folders, file: str) -> dict[str, Any] | None:
    """Return the content of the file, None if it does not exist."""
    path = folders.results / file
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
