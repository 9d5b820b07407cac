"""Finds what is read where a source names more than one part: a data set with several splits, or a
folder with one or several data sets in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from syngrpo.formats import FORMATS, recognised_format
from syngrpo.formats.base import Problems, in_usual_order
from syngrpo.formats.image_paths import SUFFIXES
from syngrpo.formats.row_files import beginning, first_row
from syngrpo.formats.source import AUTO, Source
from syngrpo.sample import InputError

Section = Literal["data.train", "evaluation.sets"]
"""What samples are read for, named as the section of a configuration."""
TRAIN: Section = "data.train"
HELD_OUT: Section = "evaluation.sets"


def parts_of(source: Source, problems: Problems) -> dict[str, Source]:
    """Return a source for each part of a folder that can only be read part by part, by their names;
    {} for any other source. Raises InputError as ``recognised_format`` does."""
    path = source.path[0] if len(source.path) == 1 else None
    if path is None or not path.exists() or source.options.get("split") is not None:
        return {}
    known = recognised_format(path) if source.format == AUTO else FORMATS.load(source.format)
    return {
        part: replace(source, options={**source.options, "split": part})
        for part in known.parts(path, problems)
    }


def data_sets_in(folder: Path) -> dict[str, Path]:
    """Return the files and folders in a folder that are data sets, by their names; if there are
    none, those in its folders. A file that begins as any JSON object does is none unless it has
    images."""
    inside = sorted(path for path in folder.iterdir() if path.suffix.lower() not in SUFFIXES)
    found = [path for path in inside if _is_data_set(path)]
    if not found:
        deeper = (sorted(path.iterdir()) for path in inside if path.is_dir())
        found = [
            path
            for paths in deeper
            for path in paths
            if path.suffix.lower() not in SUFFIXES and _is_data_set(path)
        ]
    named = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: named[name] for name in in_usual_order(named)}


def _is_data_set(path: Path) -> bool:
    try:
        known = recognised_format(path)
    except InputError:
        return False
    if known.name == "coco" and path.is_file():
        head = beginning(path)
        return b'"images"' in head or b'"image_id"' in head
    row = first_row(path) if known.name == "jsonl" else None
    return known.name != "jsonl" or path.suffix == ".jsonl" or bool(row and "image" in row)


def part_to_read(
    path: Path, source: Source, section: Section, problems: Problems
) -> tuple[Path, Source]:
    """Return the path and the source that are read for one path of a source.

    These are its own unless it is a folder of no format: then the data set in it; and unless it has
    several splits and names none: then the one whose name fits the ``section``, training or held
    out. A note says what was chosen among what. Raises InputError when a folder holds no data set,
    or several of which none is the one to read.
    """
    own = replace(source, path=(path,))
    if own.format == AUTO and path.is_dir():
        own = _data_set_in(own, section, problems)
    parts = parts_of(own, problems)
    part = _fitting(list(parts), section)
    if part is not None:
        others = ", ".join(name for name in parts if name != part)
        problems.note(
            f"{own.path[0]}: split {part} is read, and not {others}; split (--split) names another"
        )
        own = parts[part]
    return own.path[0], own


def _data_set_in(source: Source, section: Section, problems: Problems) -> Source:
    folder = source.path[0]
    try:
        recognised_format(folder)
        return source
    except InputError:
        inside = data_sets_in(folder)
        if not inside:
            raise
    options = dict(source.options)
    asked = options.get("split")
    name = _fitting(list(inside), section) if asked is None else _split_of(list(inside), asked)
    if name is not None:
        options.pop("split", None)  # the folder or file is the split
    elif len(inside) == 1:
        (name,) = inside
    if name is None:
        paths = list(map(str, inside.values()))
        shown = ", ".join(paths[:5]) + (", …" if len(paths) > 5 else "")
        raise InputError(f"folder {folder} holds several data sets; name one of them: {shown}")
    others = ", ".join(other for other in inside if other != name)
    beside = f", and not {others}; name the one that you mean" if others else ", the only one there"
    problems.note(f"{folder}: data set {inside[name]} is read{beside}")
    return replace(source, path=(inside[name],), options=options)


def _fitting(names: Sequence[str], section: Section) -> str | None:
    """Return the one name that says that its part is for the section: for training, that it is for
    training; for held-out samples, that it is not, while others are. None if it is not one."""
    training = [name for name in names if "train" in re.split("[^a-z]+", name.lower())]
    rest = [name for name in names if name not in training] if training else []
    fitting = training if section == TRAIN else rest
    return fitting[0] if len(names) > 1 and len(fitting) == 1 else None


def _split_of(names: Sequence[str], split: object) -> str | None:
    """Return the one name that a split names, also shortened; None if it is not one."""
    exact = [name for name in names if Path(name).stem == split]
    begun = exact or [name for name in names if name.startswith(str(split))]
    return begun[0] if len(begun) == 1 else None
