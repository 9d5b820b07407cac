"""The sources of a config → samples, everything that is wrong with any of them in one report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from syngrpo.config.sections import Config, DataConfig
from syngrpo.config.source import Source, named
from syngrpo.sample import InputError, Sample

if TYPE_CHECKING:
    from syngrpo.formats.problems import Problems


def load_samples(source: Source, data: DataConfig | None = None) -> list[Sample]:
    """The samples of one source. ``data`` says what to do about bad rows and images.

    Raises InputError naming every bad row (the first 20, and their number).
    """
    from syngrpo.formats.problems import Problems

    data = data if data is not None else DataConfig()
    problems = Problems()
    samples = read_source(source, source.name or source.default_name(), data, problems)
    problems.settle(data.on_bad_row)
    return samples


def load_data(config: Config) -> tuple[list[list[Sample]], dict[str, list[Sample]]]:
    """The samples of each source of ``data.train``, in order, and of each evaluation set by name.

    Raises InputError naming every bad row of all of them (the first 20, and their number). An id
    may come once in all of ``data.train``, and once in an evaluation set.
    """
    from syngrpo.formats.problems import Problems

    problems = Problems()
    read = {
        key: read_source(source, key[1], config.data, problems)
        for key, source in every_source(config, problems)
    }
    problems.settle(config.data.on_bad_row)
    train = [samples for (section, _), samples in read.items() if section == TRAIN]
    held_out = {name: samples for (section, name), samples in read.items() if section == HELD_OUT}
    return train, held_out


TRAIN, HELD_OUT = "data.train", "evaluation.sets"


def every_source(config: Config, problems: Problems) -> Iterator[tuple[tuple[str, str], Source]]:
    """Each source of a config with its section and its name. Between two sets whose samples are
    never mixed, ``problems`` forgets the ids. Raises InputError for a name given twice."""
    try:
        train = named(config.data.train)
    except ValueError as error:
        raise InputError(f"{TRAIN}: {error}") from None
    for name, source in train.items():
        yield (TRAIN, name), source
    for name, source in config.evaluation.sets.items():
        problems.forget_ids()
        yield (HELD_OUT, name), source


def read_source(source: Source, name: str, data: DataConfig, problems: Problems) -> list[Sample]:
    """The good samples of a source, ``dataset`` being its name; defects go to ``problems``.

    What a run reads is a seed to it, also where another run has painted it.
    """
    if source.rooms is not None:
        samples = _rooms(source, problems)
    else:
        samples = _files(source, data, problems)
    return [
        replace(sample, dataset=name, parent=None, description=None, depth=0) for sample in samples
    ]


def _rooms(source: Source, problems: Problems) -> list[Sample]:
    from syngrpo_rooms.dataset import rooms_samples

    assert source.rooms is not None
    task = source.task or "rec"
    try:
        samples = rooms_samples(source.rooms, source.count, source.seed, task, source.size)
    except InputError as error:
        problems.refuse(str(error))
        return []
    place = f"rooms {source.rooms}"
    return [sample for sample in samples if problems.claim(sample.id, f"{place} {sample.id}")]


def _files(source: Source, data: DataConfig, problems: Problems) -> list[Sample]:
    from syngrpo.formats.registry import ReadOptions, read_dataset

    options = ReadOptions(
        images=source.image_folders,
        task=source.task,
        split=source.split,
        columns=source.columns,
        negatives=source.negatives,
        seed=source.seed,
        on_bad_row=data.on_bad_row,
        decode=data.check_images,
        limit=source.limit,
    )
    return read_dataset(source.paths, source.format, options, problems)
