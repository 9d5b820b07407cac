"""Data sources: they say in a configuration where samples come from.

    data:
      train:
        - {path: rec.jsonl, weight: 2}
        - {path: instances.json, negatives: 3}

``source_from_keys`` turns the keys of one source into a ``Source``: the common keys are its fields,
all others belong to its format and are checked by the format's own ``options``.
``source_from_argument`` does the same for an argument of the command line. ``source_reading`` reads
the samples of a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from syngrpo.formats import FORMATS, loadable_formats
from syngrpo.formats.base import Format
from syngrpo.formats.box_layout import BoxOrder, Coordinates
from syngrpo.options import REQUIRED, OptionError, option, read_options
from syngrpo.picture_decoding import MAX_PIXELS
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle, load_task
from syngrpo.tasks.labels import shown
from syngrpo.tasks.rewards import RewardOptions

T = TypeVar("T")

AUTO = "auto"


@dataclass(frozen=True)
class Source:
    """Where samples come from: files in one of the data formats, or a format that generates them.

    ``source_from_keys`` makes one from the keys of a configuration. ``options`` are the format's
    own keys, already checked; with ``format: auto``, keys that the recognised format does not have
    are ignored.
    """

    path: tuple[Path, ...] = option(
        (), "a data file or folder, or several (a list, or a:b), see docs/data.md"
    )
    images: tuple[Path, ...] = option(
        (), "image folder, or one for each file; []: the format's usual folders"
    )
    boxes: BoxOrder | None = option(
        None,
        "what the four numbers of a box are: two corners (xyxy, or y first: yxyx), a corner or the "
        "centre with width and height (xywh, cxcywh); null: as usual in the format",
    )
    coordinates: Coordinates | None = option(
        None,
        "what the numbers count: pixels, or the image is 1 or 1000 wide and high; null: pixels",
    )
    exif: Literal["turned", "stored"] | None = option(
        None,
        "turned: labels are for the images as viewers show them, turned by their EXIF orientation; "
        "stored: for the images as they are stored, which are then not turned; null: turned",
    )
    format: str = option(AUTO, "format of the files; auto: recognised by name and content")
    task: str | None = option(
        None,
        "task of the samples, if the format can give several: a name, or package.module:Task",
    )
    name: str | None = option(
        None, "name of the source in metrics; null: made from its file or split", min_length=1
    )
    weight: float | None = option(
        None,
        "share of the draws relative to other sources; null for all sources: shares by their sizes",
        gt=0,
    )
    limit: int | None = option(None, "number of samples to use, the first ones; null: all", ge=1)
    options: Mapping[str, Any] = field(default_factory=dict)

    def default_name(self) -> str:
        """Return a name made from the file, or from format, task and split: my-file, refcoco-val,
        mine-rec-train."""
        split = self.options.get("split")
        ending = [str(split)] if split is not None else []
        if self.path:
            return "-".join([self.path[0].stem, *ending])
        known = FORMATS.load(self.format)
        task = load_task(self.task).name if self.task else known.default_task
        return "-".join([known.name, *([task] if task else []), *ending])


SEEN_TIMES = 4
"""A seed image may have this times the pixels that the model sees of it."""
USUAL_LIMIT = 1 << 24
"""Pixels that a seed image may have in any case, more than most photographs of phones."""


@dataclass(frozen=True)
class DataOptions:
    """What is trained on."""

    train: tuple[Source, ...] = option(
        REQUIRED,
        "sources of the seed samples; several are mixed, see docs/mixing.md",
        min_length=1,
    )
    prompt_style: PromptStyle | None = option(
        None,
        '"full" explains the response format, "brief" is the question alone, for a model that '
        "knows the format; null: brief if model.path is the short name of such a model, else full",
    )
    on_bad_row: Literal["error", "skip"] = option(
        "error", "error stops at bad rows; skip leaves them out and logs how many they are"
    )
    check_images: bool = option(True, "decode every image once before training starts")
    max_image_pixels: int | None = option(
        None,
        "largest area of a seed image in pixels, where images are painted, also for a data server; "
        f"null: {SEEN_TIMES} times what the model sees of an image, at least {USUAL_LIMIT}, at "
        f"most {MAX_PIXELS}",
        ge=1,
        le=MAX_PIXELS,
    )
    rewards: tuple[RewardOptions, ...] = option(
        (), "rewards in addition to the task's accuracy, see docs/extending.md"
    )

    def image_limit(self, seen: int | None) -> int:
        """Return the largest area of a seed image in pixels. ``seen``: the largest area that the
        model sees of an image, None if it is not known."""
        limit = self.max_image_pixels or max(USUAL_LIMIT, SEEN_TIMES * (seen or 0))
        return min(MAX_PIXELS, limit)

    def __post_init__(self) -> None:
        named(self.train)
        names = [reward.shown_name for reward in self.rewards]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two rewards are named {min(twice)!r}; give each a name of its own")
        replacing = [reward.shown_name for reward in self.rewards if reward.replaces_accuracy]
        if len(replacing) > 1:
            raise ValueError(f"{' and '.join(replacing)} both replace the accuracy; only one may")


class SourceError(InputError):
    """A source is not valid. The message is one line; if a key is wrong, it begins with it, and
    ``key`` is that key."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key

    def below(self, place: str) -> str:
        """Return the line for a source at ``place`` in a configuration, such as data.train.0."""
        return f"{place}.{self}" if self.key else f"{place}: {self}"


KEYS_OF_FILES = ("path", "images", "boxes", "coordinates", "exif")
"""The common keys that make no sense for a format that generates its samples."""
COMMON_KEYS = tuple(entry.name for entry in fields(Source) if entry.name != "options")


def source_from_keys(keys: Mapping[str, Any]) -> Source:
    """Build a source from the keys of a configuration: the common ones, and those of its format.

    ``path`` and ``images`` may be one path, several in a list, or several joined by colons. Raises
    SourceError for a key that is unknown or has a wrong value.
    """
    common: dict[str, Any] = {key: keys[key] for key in COMMON_KEYS if key in keys}
    own = {key: value for key, value in keys.items() if key not in COMMON_KEYS}
    for key in ("path", "images"):
        if key in common:
            common[key] = _paths(common[key], key)
    source = replace(_read_options(Source, common), options=own)
    if source.task is not None:
        _looked_up("task", lambda: load_task(source.task or ""))
    if source.format == AUTO:
        _check_any_format_has(own)
        if not source.path:
            raise SourceError("needs a path (files), or a format that generates samples")
        return source
    known = _looked_up("format", lambda: FORMATS.load(source.format))
    _check_path(source, known)
    options_for(known, source)
    return source


def options_for(known: Format, source: Source) -> Any:
    """Return the options of the format that reads a source, from the source's own keys.

    With ``format: auto``, keys that the format does not have are ignored; otherwise they raise
    SourceError, as wrong values do.
    """
    names, own = _names(known), source.options
    if source.format == AUTO:
        own = {key: value for key, value in own.items() if key in names}
    unknown = [key for key in own if key not in names]
    if unknown:
        common = [k for k in COMMON_KEYS if known.reads_files or k not in KEYS_OF_FILES]
        raise SourceError(
            f"{unknown[0]}: format {known.name} has no such key; its keys are "
            f"{', '.join([*names, *common])}",
            unknown[0],
        )
    return _read_options(known.options, own)


def ignored_keys(known: Format, source: Source) -> list[str]:
    """Return the keys of a source that ``options_for`` ignores."""
    return [key for key in source.options if source.format == AUTO and key not in _names(known)]


def keys_from_source(source: Source) -> dict[str, Any]:
    """Return the keys of a source as plain values; ``source_from_keys`` reads them back."""
    keys: dict[str, Any] = {key: getattr(source, key) for key in COMMON_KEYS}
    for key in ("path", "images"):
        texts = [str(path) for path in keys[key]]
        keys[key] = texts[0] if len(texts) == 1 else texts
        if not texts:
            del keys[key]
    return {**keys, **source.options}


def source_from_argument(
    text: str, of_files: Mapping[str, Any], of_generated: Mapping[str, Any]
) -> Source:
    """Build a source from an argument of the command line: a path, or ``FORMAT:[TASK:]SPLIT`` for a
    format that generates its samples.

    ``of_files`` are further keys for a path, ``of_generated`` for a format. Raises InputError when
    the source is not valid.
    """
    prefix, separator, rest = text.partition(":")
    if separator and prefix in FORMATS and not FORMATS.get(prefix).reads_files:
        task, _, split = rest.rpartition(":")
        named_task = {"task": task} if task else {}
        keys = {**of_generated, **named_task, "format": prefix, "split": split}
    else:
        keys = {**of_files, "path": Path(text)}
    try:
        return source_from_keys(keys)
    except SourceError as error:
        raise InputError(f"data {text}: {error}") from None


def split_paths(text: str, base: Path = Path()) -> str | list[str]:
    """Return the paths in ``a.jsonl:b.jsonl``, as VLM-R1 writes several; a text that is an existing
    path is returned unchanged.

    ``base``: the folder that relative paths start from.
    """
    parts = text.split(":")
    return text if len(parts) == 1 or (base / text).exists() or not all(parts) else parts


def paths_in(text: str) -> list[str]:
    """Return the one or several paths that a text joins by colons."""
    parts = split_paths(text)
    return [parts] if isinstance(parts, str) else parts


def may_be_hub_name(format: object) -> bool:
    """Return whether a source of this format may name a data set on a hub instead of a path."""
    if not isinstance(format, str) or format == AUTO:
        return False
    try:
        return FORMATS.load(format).takes_hub_names
    except InputError:  # reported with its key when the source is checked
        return False


def named(sources: Sequence[Source]) -> dict[str, Source]:
    """Return the sources by name. Equal default names get a number from the second on.

    Raises ValueError when two sources are given the same name.
    """
    names: dict[str, Source] = {}
    given = [source.name for source in sources if source.name is not None]
    for name in given:
        if given.count(name) > 1:
            raise ValueError(f"two sources are named {name!r}; names must be unique")
    for source in sources:
        name, number = source.name or source.default_name(), 1
        while source.name is None and (name in names or name in given):
            number += 1
            name = f"{source.default_name()}-{number}"
        names[name] = source
    return names


def _looked_up(key: str, look_up: Callable[[], T]) -> T:
    try:
        return look_up()
    except InputError as error:
        raise SourceError(str(error), key) from None  # the message begins with the key


def _paths(value: Any, key: str) -> tuple[Path, ...]:
    if value is None:
        return ()
    listed = [value] if isinstance(value, Path) else value
    listed = paths_in(listed) if isinstance(listed, str) else listed
    if not isinstance(listed, list | tuple) or not all(isinstance(p, str | Path) for p in listed):
        raise SourceError(
            f"{key}: {shown(value)} is not allowed: should be a path or a list of paths", key
        )
    if not listed and key == "path":
        raise SourceError("path: is an empty list; name at least one", key)
    return tuple(map(Path, listed))


def _check_path(source: Source, known: Format) -> None:
    if known.reads_files and not source.path:
        raise SourceError(f"format {source.format} needs a path (files)")
    if not known.reads_files:
        for key in KEYS_OF_FILES:
            if getattr(source, key):
                raise SourceError(
                    f"{key}: format {source.format} generates its samples; remove this key", key
                )


def _check_any_format_has(own: Mapping[str, Any]) -> None:
    """Check the keys of a source with ``format: auto``: for each, some format that reads files must
    have it."""
    left = {key: SourceError("", key) for key in own}
    names: dict[str, None] = {}
    for known in loadable_formats() if own else ():
        if not known.reads_files:
            continue
        names |= dict.fromkeys(_names(known))
        for key in left.keys() & _names(known):
            try:
                _read_options(known.options, {key: own[key]})
                del left[key]
            except SourceError as error:
                left[key] = error
    for key, problem in left.items():
        if key in names:
            raise problem
        raise SourceError(
            f"{key}: unknown key; the keys of a source are {', '.join([*COMMON_KEYS, *names])}", key
        )


def _read_options(kind: type[T], values: Mapping[str, Any]) -> T:
    try:
        return read_options(kind, values, "a source")
    except OptionError as error:
        key = error.key.partition(".")[0]
        shown_value = f"{shown(values[key])} is not allowed: " if key in values else ""
        raise SourceError(f"{key}: {shown_value}{error.problem}", key) from None


def _names(known: Format) -> list[str]:
    return [entry.name for entry in fields(known.options)]
