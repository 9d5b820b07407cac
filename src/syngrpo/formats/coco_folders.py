"""Finds the folders that hold the images of a COCO file, where the usual tools put them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from syngrpo.formats.image_files import spellings
from syngrpo.formats.missing_images import MOST_FOLDERS, subfolders
from syngrpo.sample import InputError

TRIED = 50
"""Number of images by which a folder is recognised."""


def image_folders(path: Path, names: Sequence[Any]) -> tuple[Path, ...]:
    """Return the folders in which the images of a COCO file are looked up.

    ``names`` are the values of ``file_name``, unchecked. For ``annotations/instances_NAME.json``
    the folders are NAME, ``images/NAME``, ``images`` and the folder itself, beside the file and
    beside its folder, as far as some of the images are there. Otherwise it is the one other folder
    beside the file, beside its folder or in ``images`` that has some of them. Raises InputError
    when several other folders have.
    """
    texts = [name for name in names if isinstance(name, str)]
    tried = texts[:: max(1, len(texts) // TRIED)]
    usual = list(dict.fromkeys(_usual(path)))
    having = [folder for folder in usual if _has_any(folder, tried)]
    if having:
        return tuple(having)
    others = [folder for folder in islice(_others(usual), MOST_FOLDERS) if _has_any(folder, tried)]
    if len(others) > 1:
        raise InputError(
            f"{path}: its images are in {others[0]} and in {others[1]}; name one of the folders "
            "with images (--images)"
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


def _has_any(folder: Path, names: Sequence[str]) -> bool:
    try:
        return any((folder / text).is_file() for name in names for text in spellings(name))
    except (OSError, ValueError):
        return False
