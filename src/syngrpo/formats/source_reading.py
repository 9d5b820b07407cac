"""Reads the samples of data sources.

``read_source`` reads one source for a run; ``read_sources`` reads all sources of a run and reports
all defects together. ``read_dataset`` reads a source without changes, for converting and checking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from syngrpo.formats import FORMATS, recognised_format
from syngrpo.formats.base import Format, OnBadRow, Problems, ReadRequest
from syngrpo.formats.box_layout import BoxLayout, BoxReader
from syngrpo.formats.box_recognition import doubt_about
from syngrpo.formats.data_folders import HELD_OUT, TRAIN, Section, part_to_read
from syngrpo.formats.defects import ColumnsError
from syngrpo.formats.image_check import drop_undecodable
from syngrpo.formats.image_files import distinct_images
from syngrpo.formats.row_files import beginning
from syngrpo.formats.source import AUTO, DataOptions, Source, ignored_keys, named, options_for
from syngrpo.formats.turned_labels import turned_labels
from syngrpo.sample import InputError, Sample
from syngrpo.serving.garbage_collection import without_garbage_collection
from syngrpo.serving.wording import count, plural
from syngrpo.tasks import load_task


def every_source(
    train: Sequence[Source], held_out: Mapping[str, Source], problems: Problems
) -> Iterator[tuple[tuple[Section, str], Source]]:
    """Yield each source of a run with its section and its name.

    ``problems`` forgets all ids before each held-out set, so that an id must be unique within all
    of ``data.train`` and within each held-out set.
    """
    for name, source in named(train).items():
        yield (TRAIN, name), source
    for name, source in held_out.items():
        problems.forget_ids()
        yield (HELD_OUT, name), source


def read_sources(
    data: DataOptions, held_out: Mapping[str, Source]
) -> tuple[list[list[Sample]], dict[str, list[Sample]]]:
    """Read the samples of each training source, in order, and of each held-out set by its name.

    Raises InputError naming every bad row of all of them (the first 20, and their number).
    """
    problems = Problems()
    read = {
        key: read_source(source, key[1], problems, data.on_bad_row, data.check_images, key[0])
        for key, source in every_source(data.train, held_out, problems)
    }
    problems.settle(data.on_bad_row)
    train = [samples for (section, _), samples in read.items() if section == TRAIN]
    return train, {name: rows for (section, name), rows in read.items() if section == HELD_OUT}


def lines_about(
    train: Sequence[Source],
    held_out: Mapping[str, Source],
    seeds: Sequence[Sample],
    held: Mapping[str, Sequence[Sample]],
) -> list[str]:
    """Return a line for each source of a run: how many samples of which task it has, and its files.

    ``seeds`` are the samples of all training sources, ``held`` those of each held-out set.
    """
    by_source: dict[str, list[Sample]] = {}
    for sample in seeds:
        by_source.setdefault(sample.dataset, []).append(sample)
    lines = [
        f"trains on {_described(name, source, by_source.get(name, []))}"
        for name, source in named(train).items()
    ]
    return lines + [
        f"evaluates on {_described(name, source, held[name])}" for name, source in held_out.items()
    ]


def _described(name: str, source: Source, samples: Sequence[Sample]) -> str:
    tasks = Counter(sample.task for sample in samples).most_common()
    of_tasks = " and ".join(f"{number} {task}" for task, number in tasks) or "0"
    images = count(len(distinct_images(samples)), "image")
    files = ", ".join(map(str, source.path)) or f"format {source.format}"
    weight = "" if source.weight is None else f", weight {source.weight:g}"
    noun = plural(len(samples), "sample")
    return f"{name}: {of_tasks} {noun} of {images}, from {files}{weight}"


def read_source(
    source: Source,
    name: str,
    problems: Problems,
    on_bad_row: OnBadRow = "error",
    check_images: bool = False,
    section: Section = HELD_OUT,
) -> list[Sample]:
    """Return the valid samples of a source for a run, with ``name`` as their ``Sample.dataset``.

    Every sample becomes a seed sample of the run, even if another run has painted it. Defects are
    reported to ``problems``.
    """
    samples = read_dataset(source, problems, on_bad_row, check_images, section)
    return [
        replace(sample, dataset=name, parent=None, description=None, depth=0) for sample in samples
    ]


def read_dataset(
    source: Source,
    problems: Problems | None = None,
    on_bad_row: OnBadRow = "error",
    check_images: bool = False,
    section: Section = HELD_OUT,
) -> list[Sample]:
    """Return all samples of a source as they are in the data, in order.

    If there are as many image folders as paths, each folder belongs to one path; otherwise the
    images of every path are looked up in all folders. ``check_images``: decode every image once.
    ``section``: what a path with several parts, of which the source names none, is read for.

    Defects are reported to ``problems``, for a report about several sources. If it is None, they
    raise InputError, or are logged as a warning with ``on_bad_row`` "skip". Raises InputError for
    an unknown format or task in either case.
    """
    gathered = problems if problems is not None else Problems()
    places: Sequence[Path | None] = source.path or (None,)
    paired = len(places) == len(source.images) > 1
    samples: list[Sample] = []
    for number, path in enumerate(places):
        images = (source.images[number],) if paired else source.images
        left = None if source.limit is None else source.limit - len(samples)
        if left != 0:
            own = replace(source, images=images, limit=left)
            with without_garbage_collection():
                samples += _read_one(path, own, gathered, on_bad_row, section)
    _note_animations(samples, gathered)
    if check_images:
        samples = drop_undecodable(samples, gathered)
    if problems is None:
        gathered.settle(on_bad_row)
    return samples


def _read_one(
    path: Path | None, source: Source, problems: Problems, on_bad_row: OnBadRow, section: Section
) -> list[Sample]:
    """Return the samples of one file. A file without any valid row is refused, whatever
    ``on_bad_row`` is."""
    task = load_task(source.task) if source.task is not None else None
    known = None if source.format == AUTO else FORMATS.load(source.format)
    before, since = problems.bad_rows(), len(problems.found)
    try:
        if path is not None:
            path, source = part_to_read(path, source, section, problems)
        if known is None:
            assert path is not None
            known = recognised_format(path)
            if known.name == "jsonl" and source.options.get("columns"):
                known = FORMATS.load("hf")  # which maps the keys of other rows to ours
        boxes = _box_reader(known, source)
        options = options_for(known, source)
        _note_ignored(known, path, source, problems)
        stored = source.exif == "stored"
        request = ReadRequest(source.images, task, source.limit, options, boxes, stored)
        samples = known.read(path, request, problems)[: source.limit]
    except InputError as error:
        problems.refuse(str(error), "columns" if isinstance(error, ColumnsError) else "file")
        return []
    where = _where(path, source)
    for images in request.folders:
        problems.rotated |= {(where, image) for image in images.rotated}
    if doubt := doubt_about(boxes, where):
        problems.doubt(doubt, since)
    elif boxes.given and not boxes.used and any(sample.objects for sample in samples):
        problems.refuse(
            f"{where}: format {known.name} does not use the keys boxes and coordinates; remove them"
        )
    elif source.exif is None and (turned := turned_labels(boxes, where)):
        problems.turn(turned, since)
    if stored and any(sample.image.orientation != 1 for sample in samples):
        problems.refuse(f"{where}: format {known.name} does not use the key exif; remove it")
    if not samples and problems.bad_rows() == before:
        problems.refuse(_nothing_in(path, where))
    elif not samples and on_bad_row == "skip":
        problems.refuse(f"{where} holds no good row", "end")
    return samples


def _where(path: Path | None, source: Source) -> str:
    """Return what a line about a whole source begins with."""
    if path is None:
        return source.default_name()
    split = source.options.get("split")
    return str(path) if split is None else f"{path}, split {split}"


def _nothing_in(path: Path | None, where: str) -> str:
    """Return the line for a file without rows."""
    if path is not None and path.is_file() and not beginning(path):
        return f"{where} is empty; write rows to it (docs/data.md), or name another file"
    return f"{where} holds nothing to ask about; see docs/data.md"


def _note_ignored(known: Format, path: Path | None, source: Source, problems: Problems) -> None:
    """Note the keys of other formats, which are ignored where the format was recognised."""
    for key in ignored_keys(known, source):
        problems.note(f"{path}: format {known.name} has no key {key}; it is ignored")


def _note_animations(samples: Sequence[Sample], problems: Problems) -> None:
    images = distinct_images([sample for sample in samples if sample.image.animated])
    if images:
        first = f", {images[0].path} is the first" if images[0].path else ""
        problems.note(
            f"{count(len(images), 'image')} with several frames or pages: the first frame is used"
            f"{first}"
        )


def _box_reader(known: Format, source: Source) -> BoxReader:
    order, coordinates = source.boxes, source.coordinates
    layout = BoxLayout(order or known.box_order, coordinates or known.box_coordinates)
    return BoxReader(layout, given=order is not None or coordinates is not None)
