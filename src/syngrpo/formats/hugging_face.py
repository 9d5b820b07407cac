"""The format ``hf``: reads a Hugging Face dataset, from a local directory, a file or the hub, and
writes samples as ``datasets.load_from_disk`` reads them, with the images inside.

It needs the optional library ``datasets``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from syngrpo.formats.base import Problems, ReadRequest, WritableFormat
from syngrpo.formats.image_files import ImageFolder, read_image, suffix_of
from syngrpo.formats.lineage_columns import LINEAGE, Lineage, lineage_of, score_names
from syngrpo.formats.mapped_columns import ClassQuestions, ColumnMapping, steps_of, value_at
from syngrpo.formats.sample_rows import row_to_sample, sample_to_row
from syngrpo.options import option
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving.wording import one_line
from syngrpo.tasks.labels import class_name, shown

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
        marks = ("dataset_info.json", "dataset_dict.json", "state.json", "metadata.jsonl")
        return any((path / mark).exists() for mark in marks) or any(path.rglob("*.parquet"))

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        options: HuggingFaceOptions = request.options
        library = datasets_library()
        dataset = _split(_loaded(library, path), options.split, path)
        mapping = ColumnMapping.of(dataset.column_names, options.columns, str(path))
        mapping.require(request.task, dataset.column_names, str(path))
        local = path if path.is_dir() else path.parent
        folder = local if path.exists() else Path(library.config.HF_CACHE_HOME)
        roots = request.images or (folder,)
        images = _DatasetImages(library, dataset, mapping.fields["image"], roots, request.as_stored)
        columns = {steps_of(p, dataset.column_names)[0] for p in mapping.fields.values()}
        table = dataset.select_columns(sorted(columns - {images.column}))
        named = _names(library, table.features)
        classes = _classes(library, table, mapping) if "question" not in mapping.fields else ()
        detection = ClassQuestions(classes, options.negatives, options.seed)
        samples: list[Sample] = []
        prefix = problems.prefix(path) if path.exists() else path.stem
        for number, raw in enumerate(table):
            place = f"{path}: row {number}"
            try:
                row, name = named(raw), f"{prefix}-{number}"
                for ours in mapping.rows(row, name, request.task, detection):
                    sample = row_to_sample(ours | {"image": str(number)}, images, request.boxes)
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

        progress = library.is_progress_bar_enabled()
        library.disable_progress_bars()
        try:
            dataset = library.Dataset.from_generator(
                rows,
                features=_features(library, scores, has_lineage),
                cache_dir=str(cache),
                fingerprint="syngrpo",  # otherwise the library hashes every sample for its cache
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


def datasets_library() -> ModuleType:
    """Import and return the ``datasets`` library. Raises InputError when it is not installed."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "Hugging Face datasets need the datasets library; run: pip install 'syngrpo[hf]'"
        ) from None
    return datasets


def _loaded(library: Any, path: Path) -> Any:
    """Return a dataset or a dict of them. Raises InputError with the library's message."""
    try:
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return library.load_from_disk(str(path))
        if path.suffix == ".arrow":
            return library.Dataset.from_file(str(path))
        if path.is_file():
            return library.load_dataset("parquet", data_files=str(path))
        return library.load_dataset(path.as_posix())
    except (library.exceptions.DatasetsError, OSError, ValueError) as error:
        problem = one_line(error)
        raise InputError(f"{path} cannot be read as a Hugging Face dataset ({problem})") from None


def _split(loaded: Any, wanted: str | None, path: Path) -> Any:
    if not isinstance(loaded, dict):
        if wanted is not None and loaded.split is not None and str(loaded.split) != wanted:
            raise InputError(f"{path} is the split {loaded.split}, not {wanted}")
        return loaded
    names = ", ".join(loaded)
    if wanted is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if wanted is None:
        raise InputError(f"{path} has the splits {names}; name one of them with split")
    if wanted not in loaded:
        raise InputError(f"{path} has no split {wanted}; it has {names}")
    return loaded[wanted]


@dataclass(frozen=True, eq=False)
class _StoredImage(EncodedImage):
    """An image whose encoded bytes stay in the dataset's memory-mapped files until they are
    read."""

    fetch: Callable[[], bytes] = field(kw_only=True)

    def _bytes(self) -> bytes:
        return self.fetch()


class _DatasetImages(ImageFolder):
    """Gives the images of a dataset by the number of their row."""

    def __init__(
        self, library: Any, dataset: Any, path: str, roots: tuple[Path, ...], as_stored: bool
    ) -> None:
        super().__init__(*roots, as_stored=as_stored)
        self.column = steps_of(path, dataset.column_names)[0]
        if self.column != path:
            raise InputError(f"columns.image is {path}; an image must be a column of its own")
        images = dataset.select_columns([self.column])
        feature = _undecoded(library, images.features[self.column])
        self._images = images.cast_column(self.column, feature)

    def open(self, relative: str) -> EncodedImage:
        """Return the image of the row with that number, without decoding it. Raises InputError when
        there is no usable image."""
        number = int(relative)
        value = self._value(number)
        if isinstance(value, str):
            return super().open(value)
        if not isinstance(value, bytes):
            raise InputError(f"the image is {shown(value)}, neither a path nor bytes")
        header = EncodedImage.from_bytes(value, self.as_stored)
        return _StoredImage(
            header.width,
            header.height,
            orientation=header.orientation,
            animated=header.animated,
            as_stored=header.as_stored,
            fetch=lambda: self._value(number),
        )

    def _value(self, number: int) -> Any:
        """Return encoded bytes, or a path."""
        value = self._images[number][self.column]
        if isinstance(value, list):
            if len(value) != 1:
                raise InputError(f"the row has {len(value)} images; only rows with one can be used")
            value = value[0]
        if isinstance(value, dict):
            return value.get("bytes") or value.get("path")
        return value


def _undecoded(library: Any, feature: Any) -> Any:
    if isinstance(feature, library.Image):
        return library.Image(decode=False)
    if isinstance(feature, library.List):
        return library.List(_undecoded(library, feature.feature))
    return feature


def _names(library: Any, features: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return a function that turns class numbers of a row into class names."""

    def named(value: Any, feature: Any) -> Any:
        if isinstance(feature, library.ClassLabel):
            return None if value is None or value < 0 else feature.int2str(value)
        if isinstance(feature, library.List | library.LargeList) and isinstance(value, list):
            return [named(item, feature.feature) for item in value]
        if isinstance(feature, dict) and isinstance(value, dict):
            return {key: named(item, feature[key]) for key, item in value.items()}
        return value

    return lambda row: named(row, dict(features))


def _classes(library: Any, table: Any, mapping: ColumnMapping) -> list[str]:
    """Return the class names that the dataset declares; if it declares none, all that occur,
    sorted."""
    path = mapping.fields.get("labels")
    if path is None:
        return []
    column, *members = steps_of(path, table.column_names)
    feature = _inner(library, table.features[column])
    for key in members:
        feature = _inner(library, feature.get(key) if isinstance(feature, dict) else feature)
    if isinstance(feature, library.ClassLabel):
        return [class_name(name) for name in feature.names]
    found = (value_at(row, path) for row in table)
    labels = {label for value in found for label in (value if isinstance(value, list) else [value])}
    return sorted(class_name(label) for label in labels if isinstance(label, str))


def _inner(library: Any, feature: Any) -> Any:
    """Return the feature of the items of a list, or of a list of lists."""
    while isinstance(feature, library.List | library.LargeList):
        feature = feature.feature
    return feature


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
