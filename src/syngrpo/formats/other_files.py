"""Says what a file is that is in no format which is read, for the message that refuses it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syngrpo.sample import InputError

LIST_OF_DATA = "dataset_info.json"
"""LLaMA-Factory's list of data sets. Hugging Face's datasets have a file of this name, too."""
KEYS_OF_LIST = ("file_name", "hf_hub_url", "ms_hub_url", "cloud_file_name", "script_url")

TABLES = (".csv", ".tsv", ".xlsx", ".xls")
"""Endings of tables."""

SHOWN_FILES = 3


def list_of_data_sets(path: Path) -> dict[str, Any] | None:
    """Return the entries of LLaMA-Factory's ``dataset_info.json``; None for any other file."""
    file = path / LIST_OF_DATA if path.is_dir() else path
    if file.name != LIST_OF_DATA or not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    entries = list(content.values()) if isinstance(content, dict) else []
    listed = [
        one for one in entries if isinstance(one, dict) and any(k in one for k in KEYS_OF_LIST)
    ]
    return content if listed and len(listed) == len(entries) else None


def refuse_list_of_data_sets(path: Path) -> None:
    """Raise InputError for LLaMA-Factory's list of data sets, with the files that it lists."""
    listed = list_of_data_sets(path)
    if listed is None:
        return
    folder = path if path.is_dir() else path.parent
    names = [one["file_name"] for one in listed.values() if isinstance(one.get("file_name"), str)]
    files = [str(folder / name) for name in names if (folder / name).is_file()]
    what = (
        f"name one of its files: {_first(files)}" if files else "none of its files lies beside it"
    )
    raise InputError(
        f"{path} is LLaMA-Factory's list of the data sets {_first(list(listed))}, and holds no "
        f"samples; {what}"
    )


def other_file(path: Path) -> str:
    """Return what a file or folder of no known format is and what to do, as the end of a line that
    begins with its path; "" when nothing is known about it."""
    if path.is_dir():
        endings = (".json", ".jsonl", *TABLES)
        near = (*sorted(path.glob("*")), *sorted(path.glob("*/*")))
        inside = [one for one in near if one.suffix.lower() in endings and one.is_file()]
        if inside:
            return f"name a file in it: {_first(list(map(str, inside)))}"
        if any(path.glob("labels/*.txt")) or any(path.glob("labels/*/*.txt")):
            return (
                f"it looks like YOLO without the names of its classes: write {path}/data.yaml with "
                "names and train, or classes.txt with a name on each line"
            )
        return ""
    from syngrpo.formats.box_table import table_of, what_is_missing  # only where it is needed

    ending = path.suffix.lower()
    if ending in (".xlsx", ".xls"):
        return "it is a sheet of Excel; save it as CSV in UTF-8 (docs/data.md)"
    if ending in TABLES:
        return f"it is a table ({ending[1:].upper()}) and {what_is_missing(table_of(path, {}))}"
    return ""


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_FILES]) + (", …" if len(names) > SHOWN_FILES else "")
