"""Loads a Hugging Face dataset and reads its rows, for ``hugging_face``.

``loaded`` returns the table, ``row_reader`` what reads its rows: with the user's mapping of the
columns, or as rows of another trainer. ``library`` is the module ``datasets``, which is optional.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syngrpo.formats.answer_boxes import BOX_START
from syngrpo.formats.base import ReadRequest
from syngrpo.formats.box_questions import BOXES
from syngrpo.formats.chat import Chat, row_identifier
from syngrpo.formats.chat_rows import ANSWERS, IMAGES, TURNS, column_of
from syngrpo.formats.defects import ColumnsError
from syngrpo.formats.image_files import ImageFolder
from syngrpo.formats.mapped_columns import (
    BOX_NAMES,
    LABEL_NAMES,
    ClassQuestions,
    ColumnMapping,
    steps_of,
    value_at,
)
from syngrpo.formats.sample_rows import row_to_sample
from syngrpo.sample import EncodedImage, ImageError, InputError, Sample
from syngrpo.serving.wording import one_line
from syngrpo.tasks import default_task, get_task
from syngrpo.tasks.labels import class_name, shown

BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}
"""What the library reads a file with, by its ending; any other is Parquet."""


def loaded(library: Any, path: Path, request: ReadRequest) -> Any:
    """Return the table that a source names. Raises InputError with the library's message."""
    options = request.options
    if path.is_file() and options.split is not None:
        raise InputError(f"{path} is one file; leave out split, which is for folders")
    if not options.streaming:
        return _split(_library_loads(library, path, False), options.split, path)
    if request.limit is None:
        raise InputError(f"{path}: streaming fetches the first rows only; set limit, too")
    streamed = _split(_library_loads(library, path, True), options.split, path)
    return _fetched(library, streamed, request.limit, path)


def split_names(library: Any, path: Path) -> tuple[str, ...]:
    """Return the names of the splits of a data set on this disk; () if it has only one."""
    found = _library_loads(library, path, False)
    return tuple(found) if isinstance(found, dict) and len(found) > 1 else ()


def row_reader(
    library: Any, dataset: Any, path: Path, request: ReadRequest
) -> MappedRows | ChatRows:
    """Return what reads the rows of a table. Raises InputError when columns are missing."""
    local = path if path.is_dir() else path.parent
    folder = local if path.exists() else Path(library.config.HF_CACHE_HOME)
    roots = request.images or (folder,)
    asks_for_boxes = request.task is None or request.task.asks_for in BOXES
    if request.options.columns or not _is_chat(dataset) or not asks_for_boxes:
        return MappedRows(library, dataset, roots, path, request)
    return ChatRows(library, dataset, roots, path, request)


def _library_loads(library: Any, path: Path, streaming: bool) -> Any:
    """Return a dataset or a dict of them. Raises InputError with the library's message."""
    try:
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return library.load_from_disk(str(path))
        if path.suffix == ".arrow":
            return library.Dataset.from_file(str(path))
        if path.is_file():
            kind = BUILDERS.get(path.suffix.lower(), "parquet")
            return library.load_dataset(kind, data_files=str(path), streaming=streaming)
        return library.load_dataset(path.as_posix(), streaming=streaming)
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
        raise InputError(f"{path} has the splits {names}; name one with split (--split)")
    if wanted not in loaded:
        raise InputError(f"{path} has no split {wanted}; it has {names}")
    return loaded[wanted]


def _fetched(library: Any, streamed: Any, rows: int, path: Path) -> Any:
    """Return the first rows of a streamed data set, with images as encoded bytes or paths."""
    if isinstance(streamed, library.Dataset):  # on this disk already
        return streamed
    try:
        if streamed.features is None:
            streamed = streamed._resolve_features()
        features = {name: _undecoded(library, one) for name, one in streamed.features.items()}
        for name, feature in features.items():
            streamed = streamed.cast_column(name, feature)
        listed = list(streamed.take(rows))
    except (library.exceptions.DatasetsError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be streamed ({one_line(error)})") from None
    return library.Dataset.from_list(listed, features=library.Features(features))


class MappedRows:
    """Reads the rows of a table whose columns are ours or are mapped to ours."""

    def __init__(
        self, library: Any, dataset: Any, roots: tuple[Path, ...], path: Path, request: ReadRequest
    ) -> None:
        self.request, options = request, request.options
        known = dataset.column_names
        self.mapping = ColumnMapping.of(known, options.columns, str(path))
        labelled = _labelled_columns(library, dataset.features)
        self.task = request.task
        if detection := self.mapping.of_detection(self.task, labelled):
            self.mapping, self.task = detection, self.task or get_task(default_task("classes"))
        self.mapping.require(self.task, known, str(path), labelled)
        fields = self.mapping.fields
        self.images = _DatasetImages(library, dataset, fields["image"], roots, request.as_stored)
        request.folders.append(self.images)
        columns = {steps_of(field, known)[0] for field in fields.values()}
        self.table = dataset.select_columns(sorted(columns - {self.images.column}))
        self.named = _names(library, self.table.features)
        classes = _classes(library, self.table, self.mapping) if "question" not in fields else ()
        self.detection = ClassQuestions(classes, options.negatives, options.seed)

    def samples(self, row: Mapping[str, Any], number: int, prefix: str) -> Iterator[Sample]:
        name = f"{prefix}-{number}"
        answer = value_at(row, self.mapping.fields.get("answer", ""))
        marked = isinstance(answer, str) and BOX_START in answer
        boxes = self.request.boxes.in_units("0-1000" if marked else None)
        for ours in self.mapping.rows(row, name, self.task, self.detection):
            whole = ours | {"image": str(number)}
            yield row_to_sample(whole, self.images, boxes)


class ChatRows:
    """Reads the rows of a table whose columns are those of another trainer, as ``Chat`` does."""

    def __init__(
        self, library: Any, dataset: Any, roots: tuple[Path, ...], path: Path, request: ReadRequest
    ) -> None:
        self.request, self.format = request, Chat()
        self.format.check_task(request.task, path)
        known = dataset.column_names
        column = next((name for name in IMAGES if name in known), None)
        answered = any(name in known for name in (*TURNS, *ANSWERS))
        if column is None or not answered:
            missing = [f"an image ({', '.join(IMAGES)})"] if column is None else []
            missing += [] if answered else [f"the answer ({', '.join(ANSWERS)})"]
            raise ColumnsError(
                f"{path} has the columns {', '.join(known)}: none holds "
                f"{', and none '.join(missing)}; map columns to ours, as in "
                "--columns question=THEIR_COLUMN, see docs/export.md"
            )
        self.images = _DatasetImages(library, dataset, column, roots, request.as_stored)
        request.folders.append(self.images)
        self.table = dataset.select_columns([name for name in known if name != column])
        self.named = _names(library, self.table.features)

    def samples(self, row: Mapping[str, Any], number: int, prefix: str) -> Iterator[Sample]:
        present = {key: value for key, value in row.items() if value is not None}
        whole = present | {"image": str(number)}
        name = row_identifier(row, str(number), prefix)
        yield from self.format.samples(whole, name, self.request, self.images, Counter())


def _is_chat(dataset: Any) -> bool:
    """Return whether the columns are those of another trainer and not ours."""
    return "question" not in dataset.column_names and column_of(dataset.column_names) is not None


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
            raise ImageError(f"the image is {shown(value)}, neither a path nor bytes")
        header = EncodedImage.from_bytes(value, self.as_stored)
        if header.orientation != 1:
            self.rotated.add(number)
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
            return value.get("path") if value.get("bytes") is None else value["bytes"]
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
            if value is None or value < 0:
                return None
            if value >= feature.num_classes:
                raise InputError(
                    f"the class number {value} has no name; the column declares "
                    f"{feature.num_classes} classes, from 0"
                )
            return feature.int2str(value)
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
        path = _label_path(library, table, mapping)
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


def _labelled_columns(library: Any, features: Mapping[str, Any]) -> list[str]:
    """Return the columns that hold boxes with labels: structs, or lists of structs."""
    found = []
    for name, feature in features.items():
        inner = _inner(library, feature)
        if (
            isinstance(inner, dict)
            and inner.keys() & {*BOX_NAMES}
            and inner.keys() & {*LABEL_NAMES}
        ):
            found.append(name)
    return found


def _label_path(library: Any, table: Any, mapping: ColumnMapping) -> str | None:
    """Return the path to the labels inside of ``objects``; None when there are none."""
    objects = mapping.fields.get("objects")
    feature = _inner(library, table.features.get(objects)) if objects is not None else None
    if not isinstance(feature, dict):
        return None
    return next((f"{objects}.{name}" for name in LABEL_NAMES if name in feature), None)


def _inner(library: Any, feature: Any) -> Any:
    """Return the feature of the items of a list, or of a list of lists."""
    while isinstance(feature, library.List | library.LargeList):
        feature = feature.feature
    return feature
