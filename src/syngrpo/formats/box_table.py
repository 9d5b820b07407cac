"""The format ``csv``: reads a table in which each line is a box, as CSV or TSV.

A line has an image, a class or a phrase, and a box: in four columns, or in one that holds a list.
The columns are found by their names, or by the key ``columns``; a table without a line of names is
read as that of Keras RetinaNet: image, x1, y1, x2, y2, class. A line without a box says that its
image has no object.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.formats.base import Problems, ReadRequest
from syngrpo.formats.box_layout import names_of_boxes
from syngrpo.formats.box_samples import (
    LabelledBoxes,
    LabelledBoxOptions,
    ToolFile,
    ToolImage,
    ToolObject,
)
from syngrpo.formats.defects import ColumnsError
from syngrpo.formats.image_paths import SUFFIXES, pure_path, subfolders
from syngrpo.formats.row_files import beginning
from syngrpo.options import option
from syngrpo.sample import InputError
from syngrpo.tasks.labels import shown

NAMES = {
    "image": "image filename imagepath imagename imagefile file filepath path img imgpath imageid",
    "label": "label class classname labelname category categoryname",
    "phrase": "phrase caption expression sentence question",
    "box": "box bbox boundingbox",
}
"""What a column of each field may be called: lower case letters and digits alone."""
SIZE = ("width", "height")
"""Columns with the size of the image, if they are not part of the box."""

ENDINGS = {".csv": ",;|\t", ".tsv": "\t"}
"""Endings of tables, and what may separate their columns."""
RETINANET = ("image", "x1", "y1", "x2", "y2", "label")
NUMBERS = re.compile(r"[\[(]?\s*([-+.\deE]+(?:[\s,]+[-+.\deE]+)*)\s*[\])]?")


@dataclass(frozen=True)
class BoxTableOptions(LabelledBoxOptions):
    """The keys of a source that is a table of boxes."""

    columns: Mapping[str, str] = option(
        dict,
        "our name → column, where it is called otherwise: image, label, phrase, box, or the "
        "numbers of the box (x1, y1, x2, y2, or x, y, width, height)",
    )


@dataclass(frozen=True)
class Table:
    """A table and the columns that are read. ``fields``: the column of image, label, phrase, box;
    ``numbers``: the columns of the numbers of a box, by the names that ``BoxReader`` knows;
    ``size``: those of the size of the image."""

    path: Path
    separator: str
    head: Sequence[str]
    has_head: bool
    fields: Mapping[str, str]
    numbers: Mapping[str, str] = field(default_factory=dict)
    size: Sequence[str] = ()

    @property
    def missing(self) -> list[str]:
        """What no column holds, in words; [] if the table can be read."""
        listed = {
            "images (image)": "image" in self.fields,
            "classes or phrases (label, phrase)": bool(self.fields.keys() & {"label", "phrase"}),
            "boxes (box; x1, y1, x2, y2; x, y, width, height)": bool(
                self.numbers or "box" in self.fields
            ),
        }
        return [what for what, there in listed.items() if not there]

    def lines(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        """Yield each line with its number. Raises InputError when the file cannot be read."""
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                names = None if self.has_head else self.head
                reader = csv.DictReader(file, names, delimiter=self.separator, restval="")
                for row in reader:
                    yield reader.line_num, row
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is not UTF-8; save the table as CSV in UTF-8") from None
        except (OSError, csv.Error) as error:
            raise InputError(f"{self.path} cannot be read ({error})") from None


class BoxTable(LabelledBoxes):
    """Reads a table of boxes. Images are looked up beside the table and in the folders there; a
    name without ending stands for the file with that name."""

    name = "csv"
    options = BoxTableOptions

    def recognises(self, path: Path) -> bool:
        if not path.is_file() or path.suffix.lower() not in ENDINGS:
            return False
        table = table_of(path, {})
        return table is not None and not table.missing

    def opened(self, path: Path, request: ReadRequest, problems: Problems) -> ToolFile:
        table = table_of(path, request.options.columns)
        if table is None or table.missing:
            raise ColumnsError(f"{path} {what_is_missing(table)}")
        folders = (path.parent, *subfolders(path.parent))
        looked_up = request.images or folders
        images: dict[str, ToolImage] = {}
        bad: set[str] = set()
        for number, row in table.lines():
            name = row[table.fields["image"]].strip()
            if name not in images:
                file = _with_ending(name, looked_up)
                images[name] = ToolImage(f"{path}:{number}", name, file, [], _size(table, row))
            try:
                images[name].objects.extend(_objects(table, row))
            except InputError as error:
                problems.add(f"{path}:{number}", error)
                bad.add(name)
        good = (image for name, image in images.items() if name not in bad)
        return ToolFile(folders, (), good)


def table_of(path: Path, wanted: Mapping[str, str]) -> Table | None:
    """Return a table with the columns that are read, by ``wanted`` (our name → column) and by their
    names; None for a file that is empty. Raises ColumnsError for a column that is not there."""
    text = beginning(path).decode("utf-8", "replace").splitlines()[:1]
    if not text:
        return None
    separators = ENDINGS.get(path.suffix.lower(), ",")
    separator = max(separators, key=text[0].count)
    head = next(csv.reader(text, delimiter=separator), [])
    if len(head) == len(RETINANET) and all(_is_number(word) or not word for word in head[1:5]):
        fields = {"image": "image", "label": "label"}
        return Table(path, separator, RETINANET, False, fields, {n: n for n in RETINANET[1:5]})
    if missing := [column for column in wanted.values() if column not in head]:
        raise ColumnsError(f"{path} has no column {missing[0]}; it has {', '.join(head)}")
    plain = {_plain(column): column for column in reversed(head)}
    fields = {
        ours: next(plain[name] for name in names.split() if name in plain)
        for ours, names in NAMES.items()
        if any(name in plain for name in names.split())
    }
    fields |= {ours: column for ours, column in wanted.items() if ours in NAMES}
    plain |= {ours: column for ours, column in wanted.items() if ours not in NAMES}
    keys = next((keys for keys in names_of_boxes() if all(key in plain for key in keys)), ())
    numbers = {key: plain[key] for key in keys}
    size = [plain[name] for name in SIZE if name in plain and name not in numbers]
    return Table(path, separator, head, True, fields, numbers, size if len(size) == 2 else ())


def what_is_missing(table: Table | None) -> str:
    """Return why a table cannot be read, as the end of a line that begins with its path."""
    if table is None:
        return "is empty"
    return (
        f"has the columns {', '.join(table.head)}: none holds {', and none '.join(table.missing)}; "
        "name them, as in columns: {image: THEIR_COLUMN} (--format csv --columns "
        "image=THEIR_COLUMN), or write JSONL rows (docs/data.md)"
    )


def _plain(column: str) -> str:
    """Return the name of a column in lower case letters and digits, without bbox in front of it:
    xmin for BBox_XMin."""
    letters = re.sub(r"[\W_]", "", column.lower())
    return re.sub(r"^b?box(?=.)", "", letters)


def _objects(table: Table, row: Mapping[str, str]) -> Iterator[ToolObject]:
    """Yield the object of a line, if it has a box."""
    phrase = row[table.fields["phrase"]].strip() if "phrase" in table.fields else ""
    label = row[table.fields["label"]].strip() if "label" in table.fields else phrase
    words = [row[column].strip() for column in table.numbers.values()]
    if table.separator != ",":  # tables of languages that write 1,5 for 1.5
        words = [word.replace(",", ".") for word in words]
    box: Any = None
    if words and any(words):
        if not all(map(_is_number, words)):
            columns = ", ".join(table.numbers.values())
            raise InputError(f"{columns} are {', '.join(map(shown, words))}, not four numbers")
        box = dict(zip(table.numbers, map(float, words), strict=True))
    elif not words and (text := row[table.fields["box"]].strip()):
        found = NUMBERS.fullmatch(text)
        numbers = re.split(r"[\s,]+", found[1]) if found else []
        if len(numbers) != 4 or not all(map(_is_number, numbers)):
            raise InputError(f"{table.fields['box']} is {shown(text)}, not four numbers")
        box = list(map(float, numbers))
    if box is not None:
        if not label:
            raise InputError("the line has a box and no class or phrase")
        if _is_number(label):
            raise InputError(f"the class {label} is a number; write names, which can be asked for")
        yield ToolObject(label, box, phrase=phrase)


def _size(table: Table, row: Mapping[str, str]) -> tuple[int, int] | None:
    words = [row[column] for column in table.size]
    if not words or not all(map(_is_number, words)):
        return None
    width, height = map(float, words)
    return int(width), int(height)


def _with_ending(name: str, folders: Sequence[Path]) -> str:
    """Return the name of an image with the ending of its file, if it is written without one."""
    if pure_path(name).suffix.lower() in SUFFIXES:
        return name
    spelled = (name + ending for ending in (*SUFFIXES, *map(str.upper, SUFFIXES)))
    return next((one for one in spelled if any((f / one).is_file() for f in folders)), name)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
