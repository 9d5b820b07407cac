"""``syngrpo data view``: shows data files in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syngrpo.cli.data_sources import is_config, parts_in, source_of
from syngrpo.cli.shared_options import (
    BoxOrder,
    Columns,
    Coordinates,
    DataFormat,
    DataImages,
    DataLimit,
    DataSplit,
    DataTask,
    FormatOption,
    Host,
    Negatives,
    Port,
    require_dashboard,
    source_keys,
)

if TYPE_CHECKING:
    from syngrpo.dashboard.samples.viewed_data import ViewedSource
    from syngrpo.formats import Problems
    from syngrpo.formats.data_folders import Section
    from syngrpo.formats.source import Source


def view(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files or folders of one data set, FORMAT:[TASK:]SPLIT of a format that generates "
            "samples, or a configuration (YAML)."
        ),
    ],
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Negatives = None,
    boxes: BoxOrder = None,
    coordinates: Coordinates = None,
    limit: DataLimit = None,
    option: FormatOption = None,
    host: Host = "127.0.0.1",
    port: Port = 8431,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the token that visitors must give. Default: none on 127.0.0.1, "
            "otherwise a new one, which is printed."
        ),
    ] = None,
) -> None:
    """Show data in the browser before any training: pictures with their boxes, masks, questions and
    answers drawn, and what syngrpo data check finds.

    With a configuration (YAML), all of its sources are shown.
    """
    from functools import partial

    require_dashboard()
    from syngrpo.dashboard.data_page import serve_data_view
    from syngrpo.dashboard.samples.viewed_data import ViewedData
    from syngrpo.formats.base import first_of
    from syngrpo.sample import InputError
    from syngrpo.serving.bearer_token import read_token

    given = source_keys(
        format=format,
        images=images,
        task=task,
        split=split,
        columns=columns,
        negatives=negatives,
        boxes=boxes,
        coordinates=coordinates,
        limit=limit,
        option=option,
    )
    token = read_token(token_file)
    configured = len(files) == 1 and is_config(Path(files[0]))
    found = _of_config(Path(files[0]), given) if configured else _of_files(files, given)
    seen = {name: one for name, one in found.items() if one.can_be_seen()}
    data = ViewedData(", ".join(files), seen)
    if not seen:
        lines = [line for one in found.values() for line in one.problems.lines()]
        raise InputError(first_of(list(dict.fromkeys(lines))))
    serve_data_view(data, host, port, token, partial(print, flush=True))


def _of_files(files: list[str], given: dict[str, Any]) -> dict[str, ViewedSource]:
    """Return the samples of the files, or of each part of a folder that has several."""
    from syngrpo.formats import Problems

    source = source_of(files, given, "data view")
    parts, _ = parts_in(source, Problems())
    return {name: _read(own, Problems()) for name, own in (parts or {"": source}).items()}


def _of_config(path: Path, given: dict[str, Any]) -> dict[str, ViewedSource]:
    """Return the samples of each source of a configuration."""
    from syngrpo.config import load_config
    from syngrpo.formats import Problems
    from syngrpo.formats.data_folders import TRAIN
    from syngrpo.formats.source import named
    from syngrpo.sample import InputError

    if given:
        raise InputError(f"{', '.join(given)}: a config says that of its sources; edit {path}")
    options = load_config(path)
    problems = Problems()  # an id must be unique within all that is trained on
    train = {
        f"train: {name}": _read(source, problems, TRAIN)
        for name, source in named(options.data.train).items()
    }
    held_out = {
        f"held out: {name}": _read(source, Problems())
        for name, source in options.evaluation.sets.items()
    }
    return train | held_out


def _read(source: Source, problems: Problems, section: Section = "evaluation.sets") -> ViewedSource:
    from syngrpo.dashboard.samples.viewed_data import ViewedSource
    from syngrpo.formats.source_reading import read_dataset

    samples = read_dataset(source, problems, section=section)
    return ViewedSource({sample.id: sample for sample in samples}, problems)
