"""Data formats: they read a user's files as samples, and write samples as files.

A run or a command describes where its samples come from as a ``source.Source`` and reads it with
``source_reading.read_source``. That function finds the format by its name, or by looking at the
files, and calls it. ``export.write_dataset`` writes samples in any format that can be written.

- ``base``: the base classes of formats, and ``Problems``, which collects defects. Start reading
  here.
- ``source``: data sources as a configuration describes them; ``source_reading`` reads them, and
  ``data_folders`` finds what to read in a folder, or of a data set with several splits.
- ``jsonl``, ``vlm_r1``, ``chat``, ``coco``, ``refcoco``, ``hugging_face``: one format each.
  ``coco_file`` reads the tables of a COCO file for ``coco`` and ``refcoco``, and ``coco_folders``
  finds its images; ``dataset_rows`` loads and reads the tables of ``hugging_face``, whose columns
  ``mapped_columns`` maps.
- ``chat`` and ``vlm_r1`` read rows of other trainers: ``chat_rows`` finds question, answer and
  image in a row, ``question_texts`` the phrase or the classes in the question, ``answer_boxes`` the
  boxes in the answer, and ``chat_samples`` makes rows of our JSONL of them.
- ``row_files`` reads files of JSON rows.
- ``labelling_tools`` (Pascal VOC, LabelMe, CVAT), ``yolo``, ``open_images`` and ``box_table`` read
  what labelling tools write; ``box_samples`` makes samples of it.
- ``sample_rows`` converts a row of our JSONL to a sample and back; other formats use it, too.
- ``box_questions``, ``masks``, ``image_files``: functions that several formats share;
  ``image_paths`` finds files by the paths that data hold, ``image_check`` decodes all images.
- ``box_layout`` converts boxes to corners in pixels; ``box_recognition`` tells when they are
  written otherwise (``box_mixtures``: in two ways), by what ``box_fit`` measures, in the words of
  ``box_doubt``; ``turned_labels`` tells when they are for images as they are stored, and
  ``label_sheet`` draws such boxes (``drawn_boxes`` over one image, ``sheet_text`` in any script).
- ``other_files`` says what a file is that is in none of the formats.
- ``defects`` and ``missing_images`` tell what has one cause in one line.
- ``export`` writes data sets; ``lineage_columns`` says where exported samples come from.
- ``survey`` counts what a data set holds and draws an overview.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from syngrpo.extensions import Registry, no_instance
from syngrpo.formats.base import Format, Problems, ReadRequest, WritableFormat
from syngrpo.formats.other_files import (
    other_file,
    refuse_list_of_data_sets,
    refuse_unread_tool,
)
from syngrpo.sample import InputError

__all__ = [
    "FORMATS",
    "Format",
    "Problems",
    "ReadRequest",
    "WritableFormat",
    "loadable_formats",
    "recognised_format",
    "writable_format",
]

_BUILTIN = {
    "jsonl": "syngrpo.formats.jsonl:Jsonl",
    "vlm-r1": "syngrpo.formats.vlm_r1:VlmR1",
    "chat": "syngrpo.formats.chat:Chat",
    "coco": "syngrpo.formats.coco:Coco",
    "hf": "syngrpo.formats.hugging_face:HuggingFace",
    "refcoco": "syngrpo.formats.refcoco:RefCoco",
    "csv": "syngrpo.formats.box_table:BoxTable",
    "open-images": "syngrpo.formats.open_images:OpenImages",
    "yolo": "syngrpo.formats.yolo:Yolo",
    "labelme": "syngrpo.formats.labelling_tools:LabelMe",
    "cvat": "syngrpo.formats.labelling_tools:Cvat",
    "voc": "syngrpo.formats.labelling_tools:PascalVoc",
}


_ANY_JSON = ("jsonl", "coco")
"""Built-in formats that accept JSON of which they know little more than how it begins."""


def _problem(name: str, found: Any) -> str | None:
    problem = no_instance(found, Format)
    if problem is None and not isinstance(getattr(found, "name", None), str):
        problem = "has no name"
    elif problem is None and not is_dataclass(found.options):
        problem = f"has options {found.options!r}; they are a frozen dataclass"
    return problem


FORMATS: Registry[Format] = Registry(
    "format", "syngrpo.formats", _BUILTIN, problem=_problem, instances=True
)


def recognised_format(path: Path) -> Format:
    """Return the format of a file or folder, judged by its name and first bytes.

    Formats of installed packages are asked first, then the built-in ones; our JSONL is the last,
    because it accepts any file that begins as a JSON object does. Raises InputError when the path
    does not exist, or is in no known format.
    """
    if not path.exists():
        hubs = " or ".join(known.name for known in loadable_formats() if known.takes_hub_names)
        raise InputError(
            f"data file {path} does not exist; check the path (a data set on a hub needs "
            f"format: {hubs})"
        )
    refuse_list_of_data_sets(path)
    for known in loadable_formats():
        if known.recognises(path):
            if known.name in _ANY_JSON:
                refuse_unread_tool(path)
            return known
    files = ", ".join(known.name for known in loadable_formats() if known.reads_files)
    kind, first = ("file", "") if path.is_file() else ("folder", "name a file, or ")
    general = f"{first}set format (--format) to one of {files}, or to package.module:name"
    raise InputError(f"{kind} {path} is in no known format; {other_file(path) or general}")


def writable_format(name: str) -> WritableFormat:
    """Return the format with the name that the command line gives.

    Raises InputError when there is no such format, or when it cannot write.
    """
    found = FORMATS.load(name)
    if isinstance(found, WritableFormat):
        return found
    known = [one.name for one in loadable_formats() if isinstance(one, WritableFormat)]
    raise InputError(f"format {name!r} cannot be written; use one of {', '.join(sorted(known))}")


def loadable_formats() -> Iterator[Format]:
    """Yield every format that can be imported, in the order in which they are asked whether they
    recognise a path."""
    installed = [name for name in FORMATS.names() if name not in _BUILTIN]
    for name in (*installed, *reversed(_BUILTIN)):
        try:
            yield FORMATS.get(name)
        except InputError:  # the package is broken; ``syngrpo extensions`` says why
            continue
