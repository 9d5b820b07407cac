"""Says what a file is that is in no format which is read, for the message that refuses it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syngrpo.formats.image_paths import SUFFIXES
from syngrpo.formats.row_files import beginning, first_row
from syngrpo.sample import InputError

LIST_OF_DATA = "dataset_info.json"
"""LLaMA-Factory's list of data sets. Hugging Face's datasets have a file of this name, too."""
KEYS_OF_LIST = ("file_name", "hf_hub_url", "ms_hub_url", "cloud_file_name", "script_url")

TABLES = (".csv", ".tsv", ".xlsx", ".xls")
"""Endings of tables."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")

TOOLS = {
    "rectanglelabels": "Label Studio's JSON; export the project as COCO, YOLO or Pascal VOC",
    "polygonlabels": "Label Studio's JSON; export the project as COCO or YOLO",
    "shape_attributes": "a project of VGG Image Annotator; export its annotations as COCO",
    "classTitle": "Supervisely's JSON; export the project as COCO, YOLO or Pascal VOC",
    "coordinates": "Create ML's JSON; export the data set as COCO, YOLO or Pascal VOC",
    "box2d": "BDD100K's JSON; convert it to COCO",
}
"""A key that only the files of a tool have that are not read, and what to do with them."""
KEYS_OF_ROWS = ("task", "messages", "conversations", "problem")
"""Keys of rows that are read, in which keys of the user may be called as those of tools."""

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


def refuse_unread_tool(path: Path) -> None:
    """Raise InputError for a JSON file of a labelling tool whose files are not read."""
    if tool := _tool_of(path):
        raise InputError(f"{path} is {tool} (docs/data.md)")


def _tool_of(path: Path) -> str:
    if path.suffix.lower() != ".json" or not path.is_file():
        return ""
    row, head = first_row(path) or {}, beginning(path)
    if any(key in row for key in KEYS_OF_ROWS):
        return ""
    return next((tool for key, tool in TOOLS.items() if f'"{key}"'.encode() in head), "")


def other_file(path: Path) -> str:
    """Return what a file or folder of no known format is and what to do, as the end of a line that
    begins with its path; "" when nothing is known about it."""
    if path.is_dir():
        return _other_folder(path)
    from syngrpo.formats.box_table import table_of, what_is_missing  # only where it is needed

    ending = path.suffix.lower()
    if ending in (".xlsx", ".xls"):
        return "it is a sheet of Excel; save it as CSV in UTF-8 (docs/data.md)"
    if ending in TABLES:
        return f"it is a table ({ending[1:].upper()}) and {what_is_missing(table_of(path, {}))}"
    if ending in ARCHIVES:
        return "it is an archive; unpack it, and name the folder"
    if ending in SUFFIXES:
        return "it is an image; name the file with the labels, or the folder of both"
    return ""


def _other_folder(path: Path) -> str:
    near = [one for pattern in ("*", "*/*") for one in sorted(path.glob(pattern)) if one.is_file()]
    images = {one.with_suffix("") for one in near if one.suffix.lower() in SUFFIXES}
    inside = [one for one in near if one.suffix.lower() in (".json", ".jsonl", *TABLES)]
    of_images = [one for one in inside if one.suffix == ".json" and one.with_suffix("") in images]
    for file in inside[:SHOWN_FILES]:
        if tool := _tool_of(file):
            return f"{file} is {tool} (docs/data.md)"
    if len(of_images) > 1:
        keys = ", ".join(_keys(of_images[0]))
        return (
            f"it holds a JSON file for each image, such as {of_images[0]} with the keys {keys}, "
            "which no known tool writes; write one file of JSONL rows (docs/data.md)"
        )
    if inside:
        return f"name a file in it: {_first(list(map(str, inside)))}"
    if any(path.glob("labels/*.txt")) or any(path.glob("labels/*/*.txt")):
        return (
            f"it looks like YOLO without the names of its classes: write {path}/data.yaml with "
            "names and train, or classes.txt with a name on each line"
        )
    if images:
        return (
            "it holds images and no labels; name the file with the labels, and this folder with "
            "images (--images)"
        )
    return ""


def _keys(file: Path) -> list[str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []
    return list(content) if isinstance(content, dict) else []


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_FILES]) + (", …" if len(names) > SHOWN_FILES else "")
