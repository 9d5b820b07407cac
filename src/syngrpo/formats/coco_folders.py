"""Finds the COCO files of a folder, and the folders with their images, where tools put them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syngrpo.formats.base import in_usual_order
from syngrpo.formats.image_paths import held_by, holds, subfolders, that_hold_most, tried
from syngrpo.formats.row_files import beginning
from syngrpo.sample import InputError

ROBOFLOW = "_annotations.coco.json"
"""The file that Roboflow writes beside the images of each part."""


def coco_files(folder: Path) -> dict[str, Path]:
    """Return the files of a data set by the names of its parts, such as train2017 or valid.

    They are ``annotations/instances_NAME.json``, or ``NAME/_annotations.coco.json`` as Roboflow
    writes it; if there are neither, the other COCO files in ``annotations`` or in the folder.
    """
    instances = {
        file.stem.removeprefix("instances_"): file
        for place in (folder / "annotations", folder)
        for file in sorted(place.glob("instances_*.json"))
    }
    of_roboflow = {file.parent.name: file for file in sorted(folder.glob(f"*/{ROBOFLOW}"))}
    if (folder / ROBOFLOW).is_file():
        of_roboflow[folder.name] = folder / ROBOFLOW
    if instances or of_roboflow:
        return instances | of_roboflow
    for place in (folder / "annotations", folder):
        if others := {file.stem: file for file in sorted(place.glob("*.json")) if _is_coco(file)}:
            return others
    return {}


def coco_file(path: Path, split: str | None) -> Path:
    """Return the file that a source names: itself, or that of a folder and one of its parts, whose
    name may be shortened (train for train2017). Raises InputError when there is not exactly one."""
    if not path.is_dir():
        if split is not None:
            raise InputError(f"{path} is one file; leave out split, which is for folders")
        return path
    files = coco_files(path)
    if not files:
        raise InputError(
            f"folder {path} holds no COCO file, such as annotations/instances_NAME.json or "
            f"NAME/{ROBOFLOW}; name the file"
        )
    names = ", ".join(in_usual_order(files))
    if split is None and len(files) > 1:
        raise InputError(f"{path} has the splits {names}; name one with split (--split)")
    found = [split] if split in files else [n for n in files if n.startswith(split or "")]
    if len(found) != 1:
        raise InputError(f"{path} has no split {split}; it has {names}")
    return files[found[0]]


def _is_coco(file: Path) -> bool:
    """Return whether the beginning of a file is that of COCO instances."""
    try:
        head = beginning(file)
    except InputError:
        return False
    return head[:1] == b"{" and b'"images"' in head and b'"shapes"' not in head


def image_folders(path: Path, names: Sequence[Any]) -> tuple[Path, ...]:
    """Return the folders in which the images of a COCO file are looked up.

    ``names`` are the values of ``file_name``, unchecked. For ``annotations/instances_NAME.json``
    the folders are NAME, ``images/NAME``, ``images`` and the folder itself, beside the file and
    beside its folder, as far as some of the images are there. Otherwise it is the one other folder
    beside the file, beside its folder or in ``images`` that has most of them. Raises InputError
    when several other folders have.
    """
    some = tried([name for name in names if isinstance(name, str)])
    usual = list(dict.fromkeys(_usual(path)))
    having = [folder for folder in usual if any(holds(folder, name) for name in some)]
    if having:
        return tuple(having)
    others = that_hold_most(held_by(_others(usual), some), some)
    if len(others) > 1:
        raise InputError(
            f"{path}: files with the names of its images are in {others[0]} and in {others[1]}; "
            "name the folder of the right ones with images (--images)"
        )
    return tuple(others or [folder for folder in usual if folder.is_dir()])


def _usual(path: Path) -> Iterator[Path]:
    stem = path.stem
    names = [stem.removeprefix("instances_"), stem.rpartition("_")[2]]
    for base in (path.parent, path.parent.parent):
        for name in names:
            yield from (base / name, base / "images" / name)
        yield from (base / "images", base)


def _others(usual: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders inside of the usual ones that are not usual themselves."""
    found = (inside for folder in usual for inside in subfolders(folder))
    yield from (folder for folder in dict.fromkeys(found) if folder not in usual)
