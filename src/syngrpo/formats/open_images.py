"""The format ``open-images``: reads the tables of boxes of Open Images (CSV).

A line is a box: ``ImageID``, ``LabelName`` (a code such as /m/01g317), ``XMin``, ``XMax``,
``YMin``, ``YMax`` from 0 to 1, and flags. The table of class names, ``class-descriptions-boxable``,
lies beside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from syngrpo.formats.base import Problems, ReadRequest
from syngrpo.formats.box_layout import Coordinates
from syngrpo.formats.box_samples import (
    LabelledBoxes,
    LabelledBoxOptions,
    ToolFile,
    ToolImage,
    ToolObject,
)
from syngrpo.formats.defects import ColumnsError
from syngrpo.formats.image_paths import subfolders
from syngrpo.formats.row_files import beginning
from syngrpo.options import option
from syngrpo.sample import InputError
from syngrpo.tasks.labels import shown

COLUMNS = ("ImageID", "LabelName", "XMin", "YMin", "XMax", "YMax")
CLASSES = "*class-descriptions*.csv"


@dataclass(frozen=True)
class OpenImagesOptions(LabelledBoxOptions):
    """The keys of an Open Images source."""

    negatives: int = option(
        0,
        "number of classes without a box that are asked for in an image; only classes that were "
        "verified have boxes, so others may be there",
        ge=0,
    )


class OpenImages(LabelledBoxes):
    """Reads a table of boxes. Images are ``IMAGEID.jpg`` beside the table or in a folder there.
    Boxes of a group of objects are no ground truth."""

    name = "open-images"
    options = OpenImagesOptions
    box_coordinates: Coordinates = "0-1"

    def recognises(self, path: Path) -> bool:
        if not path.is_file() or path.suffix.lower() != ".csv":
            return False
        head = beginning(path).partition(b"\n")[0].decode("utf-8", "replace").strip().split(",")
        return set(COLUMNS) <= set(head)

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        _check_columns(path)
        names = _class_names(path)
        images: dict[str, ToolImage] = {}
        bad: set[str] = set()
        for number, row in enumerate(_rows(path), start=2):
            name = row["ImageID"]
            try:
                thing = _object(row, names)
            except InputError as error:
                problems.add(f"{path}:{number}", error)
                bad.add(name)
                continue
            place = f"{path}: image {shown(name)}"
            image = images.setdefault(name, ToolImage(place, name, f"{name}.jpg"))
            image.objects.append(thing)
        folders = (path.parent, *subfolders(path.parent))
        whole = (image for name, image in images.items() if name not in bad)
        return ToolFile(folders, list(names.values()), whole)


def _check_columns(path: Path) -> None:
    head = beginning(path).decode("utf-8", "replace").splitlines()[:1]
    known = next(csv.reader(head), [])
    if missing := [name for name in COLUMNS if name not in known]:
        raise ColumnsError(
            f"{path} has the columns {', '.join(known)}, and lacks {', '.join(missing)} of Open "
            "Images"
        )


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error})") from None


def _class_names(path: Path) -> dict[str, str]:
    """Return code → class name, from the table beside the boxes."""
    table = next(iter(sorted(path.parent.glob(CLASSES))), None)
    if table is None:
        raise InputError(
            f"{path} needs the names of its classes; put class-descriptions-boxable.csv beside it"
        )
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if len(row) >= 2]
    return {row[0]: row[1] for row in rows if row[0] != "LabelName"}


def _object(row: Mapping[str, str], names: Mapping[str, str]) -> ToolObject:
    code = row.get("LabelName") or ""
    if code not in names:
        raise InputError(f"LabelName {shown(code)} is in no table of class names")
    try:
        box = [float(row[key]) for key in ("XMin", "YMin", "XMax", "YMax")]
    except (TypeError, ValueError):
        raise InputError("XMin, YMin, XMax and YMax are not four numbers") from None
    return ToolObject(names[code], box, sure=row.get("IsGroupOf") not in ("1", "True"))
