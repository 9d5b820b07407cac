"""The sources of a config → samples, everything that is wrong with any of them in one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from syngrpo.config.sections import Config, DataConfig
from syngrpo.config.source import FILE_KEYS, Source
from syngrpo.formats import Problems
from syngrpo.formats import source as formats
from syngrpo.sample import InputError, Sample


def load_samples(source: Source, data: DataConfig | None = None) -> list[Sample]:
    """The samples of one source. ``data`` says what to do about bad rows and images.

    Raises InputError naming every bad row (the first 20, and their number).
    """
    data = data if data is not None else DataConfig()
    problems = Problems()
    name = source.name or source.default_name()
    found = as_source(source)
    samples = formats.read_source(found, name, problems, data.on_bad_row, data.check_images)
    problems.settle(data.on_bad_row)
    return samples


def load_data(config: Config) -> tuple[list[list[Sample]], dict[str, list[Sample]]]:
    """The samples of each source of ``data.train``, in order, and of each evaluation set by name.

    Raises InputError naming every bad row of all of them (the first 20, and their number). An id
    may come once in all of ``data.train``, and once in an evaluation set.
    """
    problems, data = Problems(), config.data
    read = {
        key: formats.read_source(source, key[1], problems, data.on_bad_row, data.check_images)
        for key, source in every_source(config, problems)
    }
    problems.settle(data.on_bad_row)
    train = [samples for (section, _), samples in read.items() if section == formats.TRAIN]
    held_out = {name: s for (section, name), s in read.items() if section == formats.HELD_OUT}
    return train, held_out


def every_source(
    config: Config, problems: Problems
) -> Iterator[tuple[tuple[str, str], formats.Source]]:
    """Each source of a config with its section and its name. Between two sets whose samples are
    never mixed, ``problems`` forgets the ids. Raises InputError for a name given twice."""
    train: Sequence[formats.Source] = [as_source(source) for source in config.data.train]
    held_out: Mapping[str, formats.Source] = {
        name: as_source(source) for name, source in config.evaluation.sets.items()
    }
    try:
        yield from formats.every_source(train, held_out, problems)
    except ValueError as error:
        raise InputError(f"{formats.TRAIN}: {error}") from None


def as_source(source: Source) -> formats.Source:
    """The source with the keys that its format has."""
    common = {"task": source.task, "name": source.name, "weight": source.weight}
    if source.rooms is not None:
        own = {"split": source.rooms, "count": source.count, "seed": source.seed}
        return formats.source_from_keys({**common, **own, "format": "rooms", "size": source.size})
    own = {key: getattr(source, key) for key in FILE_KEYS if key in source.model_fields_set}
    if "seed" in source.model_fields_set and source.format in ("auto", "coco", "hf"):
        own["seed"] = source.seed
    return formats.source_from_keys({**common, **own})
