"""A Hugging Face dataset: a local directory or file, or the id of one on the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.formats.class_names import class_name
from syngrpo.formats.datasets_library import datasets_library
from syngrpo.formats.detection_question import DetectionQuestion
from syngrpo.formats.image_folder import ImageFolder
from syngrpo.formats.mapped_columns import ColumnMapping, steps_of, value_at
from syngrpo.formats.problems import Problems
from syngrpo.formats.registry import ReadOptions
from syngrpo.formats.rows import row_to_sample
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.tasks.labels import shown


def read_hugging_face(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    """The good rows of one split, a ``registry.Reader``.

    ``path``: a directory that ``save_to_disk`` wrote, a folder of Parquet files or of images with
    their metadata, a Parquet or Arrow file, or a hub id. Images may be paths, bytes, or the
    library's Image feature, which is not decoded; bytes stay in the dataset's own files until an
    image is used. ``options.columns`` maps fields to columns, see ``ColumnMapping``; class
    numbers become names. Detection without a question asks for the classes of an image and
    ``options.negatives`` others.
    """
    library = datasets_library()
    dataset = _split(_loaded(library, path), options.split, path)
    mapping = ColumnMapping.of(dataset.column_names, options.columns, str(path))
    local = path if path.is_dir() else path.parent
    folder = local if path.exists() else Path(library.config.HF_CACHE_HOME)
    roots = options.images or (folder,)
    images = _DatasetImages(library, dataset, mapping.fields["image"], roots)
    columns = {steps_of(p, dataset.column_names)[0] for p in mapping.fields.values()}
    table = dataset.select_columns(sorted(columns - {images.column}))
    named = _names(library, table.features)
    classes = _classes(library, table, mapping) if "question" not in mapping.fields else ()
    detection = DetectionQuestion(classes, options.negatives, options.seed)
    samples: list[Sample] = []
    for number, raw in enumerate(table):
        place = f"{path}: row {number}"
        try:
            row, name = named(raw), f"{path.stem}-{number}"
            for ours in mapping.rows(row, name, options.task, detection):
                sample = row_to_sample(ours | {"image": str(number)}, images)
                if problems.claim(sample.id, place):
                    samples.append(sample)
        except InputError as error:
            problems.add(place, str(error))
        if options.limit is not None and len(samples) >= options.limit:
            break
    return samples[: options.limit]


def _loaded(library: Any, path: Path) -> Any:
    """A dataset or a dict of them. Raises InputError with what the library says, in one line."""
    try:
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return library.load_from_disk(str(path))
        if path.suffix == ".arrow":
            return library.Dataset.from_file(str(path))
        if path.is_file():
            return library.load_dataset("parquet", data_files=str(path))
        return library.load_dataset(path.as_posix())
    except (library.exceptions.DatasetsError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
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
        raise InputError(f"{path} has the splits {names}; say which with split")
    if wanted not in loaded:
        raise InputError(f"{path} has no split {wanted}; it has {names}")
    return loaded[wanted]


@dataclass(frozen=True, eq=False)
class _StoredImage(EncodedImage):
    """Encoded bytes that stay in the dataset's memory-mapped files until they are read."""

    fetch: Callable[[], bytes] = field(kw_only=True)

    def read(self) -> bytes:
        return self.fetch()


class _DatasetImages(ImageFolder):
    """The images of a dataset by the number of their row; headers only."""

    def __init__(self, library: Any, dataset: Any, path: str, roots: tuple[Path, ...]) -> None:
        super().__init__(*roots)
        self.column = steps_of(path, dataset.column_names)[0]
        if self.column != path:
            raise InputError(f"columns.image is {path}; an image must be a column of its own")
        images = dataset.select_columns([self.column])
        feature = _undecoded(library, images.features[self.column])
        self._images = images.cast_column(self.column, feature)

    def open(self, relative: str) -> EncodedImage:
        """The image of the row with that number. Raises InputError; decodes nothing."""
        number = int(relative)
        value = self._value(number)
        if isinstance(value, str):
            return super().open(value)
        if not isinstance(value, bytes):
            raise InputError(f"the image is {shown(value)}, neither a path nor bytes")
        header = EncodedImage.from_bytes(value)
        return _StoredImage(header.width, header.height, fetch=lambda: self._value(number))

    def _value(self, number: int) -> Any:
        """Encoded bytes, or a path."""
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
    """A function that turns class numbers of a row into class names."""

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
    """The class names of the dataset: those it declares, else all that occur, sorted."""
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
    """What a list, or a list of lists, is made of."""
    while isinstance(feature, library.List | library.LargeList):
        feature = feature.feature
    return feature
