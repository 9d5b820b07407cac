"""The embedded world is found by short names, like the extensions of any installed package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import syngrpo_rooms
from syngrpo.cli.list_extensions import COMMANDS
from syngrpo.formats import FORMATS, Problems
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset, read_source
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.generators import make_generator, wants_gpu
from syngrpo.policy import model_directory
from syngrpo_rooms.commands import rooms_app
from syngrpo_rooms.dataset import RoomsFormat, rooms_samples
from syngrpo_rooms.descriptions import random_description
from syngrpo_rooms.generator import RoomsGenerator
from syngrpo_rooms.scenes import LABELS
from syngrpo_rooms.starter import STARTER_DIR

KEYS = {"format": "rooms", "split": "test", "count": 3, "seed": 5, "size": 96}


def test_its_extensions_are_found_by_short_names() -> None:
    assert isinstance(FORMATS.get("rooms"), RoomsFormat)
    assert isinstance(make_generator("rooms"), RoomsGenerator)
    assert not wants_gpu("rooms")
    assert model_directory("starter") == (str(STARTER_DIR), True)
    assert COMMANDS.get("rooms") is rooms_app


def test_a_source_gives_the_samples_of_its_keys() -> None:
    assert read_dataset(source_from_keys(KEYS)) == rooms_samples("test", 3, 5, "rec", 96)
    asked = source_from_keys({**KEYS, "task": "isr"})
    assert read_dataset(asked) == rooms_samples("test", 3, 5, "isr", 96)
    first = source_from_keys({**KEYS, "limit": 2})
    assert read_dataset(first) == rooms_samples("test", 2, 5, "rec", 96)


def test_a_source_has_a_name_by_format_task_and_split() -> None:
    assert source_from_keys(KEYS).default_name() == "rooms-rec-test"


def test_samples_that_two_sources_share_are_reported() -> None:
    problems = Problems()
    for name in ("one", "two"):
        samples = read_source(source_from_keys(KEYS), name, problems)
    assert not samples
    assert re.search("id .* is taken by rooms test", problems.lines()[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "val"}, "split: 'val' is not allowed"),
        ({"size": 32}, "size: 32 is not allowed"),
        ({"path": "x.jsonl"}, "path"),
        ({"colour": "red"}, "colour: format rooms has no such key"),
    ],
)
def test_wrong_keys_of_a_source_are_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source_from_keys({**KEYS, **changed})


def test_the_describer_draws_random_descriptions() -> None:
    (sample,) = rooms_samples("train", 1)
    describer = DESCRIBERS.get("rooms")
    labels = {thing.label for thing in sample.objects}
    others = tuple(label for label in LABELS if label not in labels)
    ours, plain = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(20):
        text = describer.describe(sample, ours)
        assert text == random_description(plain, classes=others)


def test_it_uses_public_names_only() -> None:
    for path in Path(syngrpo_rooms.__file__).parent.rglob("*.py"):
        used = re.findall(r"from (syngrpo\.\S+) import (.*)", path.read_text(encoding="utf-8"))
        for module, names in used:
            assert not re.search(r"\b_\w", f"{module} {names}"), path
