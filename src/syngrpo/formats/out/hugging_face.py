"""A Hugging Face dataset, as ``datasets.load_from_disk`` reads it, the images inside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from syngrpo.formats.datasets_library import datasets_library
from syngrpo.formats.lineage import LINEAGE, Lineage, lineage_of, score_names
from syngrpo.formats.out.images import read_image, suffix_of
from syngrpo.formats.rows import sample_to_row
from syngrpo.sample import InputError, Sample

SHARD_BYTES = 500_000_000

_ARROW_TYPES = {"str": "string", "int": "int64", "float": "float64"}


def write_hugging_face(samples: Iterable[Sample], directory: Path) -> dict[str, str]:
    """Writes the rows of our JSONL as columns; returns no image paths, for they are inside.

    ``answer`` and ``columns`` are JSON text, because their types differ between tasks; ``lineage``
    is a struct column when any sample has one. Raises InputError when the library is missing.
    """
    library = datasets_library()
    listed = list(samples)
    scores = score_names(listed)
    has_lineage = any(lineage_of(sample) is not None for sample in listed)
    cache = directory / "unfinished"

    def rows() -> Iterator[dict[str, Any]]:
        return (_row(sample, scores, has_lineage) for sample in listed)

    progress = library.is_progress_bar_enabled()
    library.disable_progress_bars()
    try:
        dataset = library.Dataset.from_generator(
            rows,
            features=_features(library, scores, has_lineage),
            cache_dir=str(cache),
            fingerprint="syngrpo",  # the cache is our own: no need to hash every sample for it
        )
        dataset.save_to_disk(str(directory), max_shard_size=SHARD_BYTES)
    except library.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError | OSError):
            raise error.__cause__ from None
        raise
    finally:
        if progress:
            library.enable_progress_bars()
    del dataset  # closes the files
    shutil.rmtree(cache)
    return {}


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
