"""The format ``hf``: reads a Hugging Face dataset, from a local directory, a file or the hub, and
writes samples as ``datasets.load_from_disk`` reads them, with the images inside.

It needs the optional library ``datasets``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from syngrpo.formats.base import Problems, ReadRequest, WritableFormat
from syngrpo.formats.dataset_rows import loaded, row_reader, split_names
from syngrpo.formats.image_files import read_image, suffix_of
from syngrpo.formats.lineage_columns import LINEAGE, Lineage, lineage_of, score_names
from syngrpo.formats.other_files import list_of_data_sets
from syngrpo.formats.sample_rows import sample_to_row
from syngrpo.options import option
from syngrpo.sample import InputError, Sample

SHARD_BYTES = 500_000_000

_ARROW_TYPES = {"str": "string", "int": "int64", "float": "float64"}


@dataclass(frozen=True)
class HuggingFaceOptions:
    """The keys of a Hugging Face source."""

    split: str | None = option(None, "name of the split; null if there is only one")
    columns: Mapping[str, str] = option(
        dict, "our field → name of the column that holds it, see docs/export.md"
    )
    negatives: int = option(
        2,
        "number of absent classes that are asked for in an image, if no column holds the question",
        ge=0,
    )
    seed: int = option(0, "seed for the choice of these classes and the order of all classes", ge=0)
    streaming: bool = option(
        False, "fetch only the first rows of a data set on the hub, as many as limit says"
    )


class HuggingFace(WritableFormat):
    """Reads and writes Hugging Face datasets.

    The path is a directory that ``save_to_disk`` wrote, a folder of Parquet files or of images with
    their metadata, a Parquet or Arrow file, or a hub id.

    Images may be paths, bytes, or the library's Image feature, which is not decoded; bytes stay in
    the dataset's own files until an image is used. ``columns`` maps fields to columns, see
    ``ColumnMapping``; class numbers become names. If a task asks for classes and no column holds
    the question, it asks for the classes of an image and ``negatives`` others.
    """

    name = "hf"
    options = HuggingFaceOptions
    takes_hub_names = True

    def recognises(self, path: Path) -> bool:
        if not path.is_dir():
            return path.suffix.lower() in (".parquet", ".arrow")
        if list_of_data_sets(path) is not None:
            return False
        marks = ("dataset_info.json", "dataset_dict.json", "state.json", "metadata.jsonl")
        return any((path / mark).exists() for mark in marks) or any(path.rglob("*.parquet"))

    def parts(self, path: Path, problems: Problems) -> tuple[str, ...]:
        library = datasets_library()
        with _without_bars(library):
            return split_names(library, path) if path.is_dir() else ()

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        library = datasets_library()
        with _without_bars(library):
            reads = row_reader(library, loaded(library, path, request), path, request)
        samples: list[Sample] = []
        prefix = problems.prefix(path) if path.exists() else path.stem
        for number, row in enumerate(reads.table):
            place = f"{path}: row {number}"
            request.boxes.place = place
            try:
                for sample in reads.samples(reads.named(row), number, prefix):
                    if problems.claim(sample.id, place):
                        samples.append(sample)
            except InputError as error:
                problems.add(place, error)
            if request.limit is not None and len(samples) >= request.limit:
                break
        return samples[: request.limit]

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        """Write the keys of our JSONL rows as columns. Returns no image paths, because the images
        are inside the dataset.

        ``answer`` and ``columns`` are JSON text, because their types differ between tasks;
        ``lineage`` is a struct column if any sample has a lineage. Raises InputError when the
        library is missing.
        """
        library = datasets_library()
        listed = list(samples)
        scores = score_names(listed)
        has_lineage = any(lineage_of(sample) is not None for sample in listed)
        cache = directory / "unfinished"

        def rows() -> Iterator[dict[str, Any]]:
            return (_row(sample, scores, has_lineage) for sample in listed)

        try:
            with _without_bars(library):
                dataset = library.Dataset.from_generator(
                    rows,
                    features=_features(library, scores, has_lineage),
                    cache_dir=str(cache),
                    fingerprint="syngrpo",  # otherwise the library hashes every sample
                )
                dataset.save_to_disk(str(directory), max_shard_size=SHARD_BYTES)
        except library.exceptions.DatasetGenerationError as error:
            if isinstance(error.__cause__, InputError | OSError):
                raise error.__cause__ from None
            raise
        del dataset  # closes the files
        shutil.rmtree(cache)
        return {}


def datasets_library() -> ModuleType:
    """Import and return the ``datasets`` library. Raises InputError when it is not installed."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "Hugging Face datasets need the datasets library; run: pip install 'syngrpo[hf]'"
        ) from None
    return datasets


@contextmanager
def _without_bars(library: Any) -> Iterator[None]:
    """Switch off the library's progress bars, which would appear between the lines of ours."""
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()


def _row(sample: Sample, scores: list[str], has_lineage: bool) -> dict[str, Any]:
    data = read_image(sample)
    row = sample_to_row(sample, image="")
    lineage = lineage_of(sample)
    columns = {
        key: value for key, value in sample.columns.items() if key != LINEAGE or lineage is None
    }
    row |= {
        "image": {"bytes": data, "path": f"image.{suffix_of(data)}"},
        "answer": json.dumps(sample.answer, ensure_ascii=False, allow_nan=False),
        "objects": [{"mask": None, **thing} for thing in row["objects"]],
        "parent": sample.parent,
        "depth": sample.depth,
        "description": sample.description,
        "columns": json.dumps(columns, ensure_ascii=False, allow_nan=False) if columns else None,
    }
    if has_lineage:
        row[LINEAGE] = lineage and lineage | {
            "scores": {name: lineage["scores"].get(name) for name in scores}
        }
    return row


def _features(library: Any, scores: list[str], has_lineage: bool) -> Any:
    value, listed = library.Value, library.List
    text, number = value("string"), value("float64")
    mask = {"size": listed(value("int32")), "counts": text}
    features = {
        "id": text,
        "task": text,
        "image": library.Image(),
        "question": text,
        "answer": text,
        "objects": listed({"label": text, "box": listed(number), "mask": mask}),
        "parent": text,
        "depth": value("int32"),
        "description": text,
        "columns": text,
    }
    if has_lineage:
        features[LINEAGE] = {
            entry.name: value(_ARROW_TYPES[str(entry.type).removesuffix(" | None")])
            for entry in fields(Lineage)
            if entry.name != "scores"
        } | {"scores": dict.fromkeys(scores, number)}
    return library.Features(features)
