"""Surroundings: the walls, floor, rug, window, light and clutter around the labelled things.

Surroundings are made of words, so that a description can name every part. The vocabulary ``BROAD``
is for training: the splits ``train`` and ``test`` use a few plain words of it, ``broad`` uses all,
and descriptions and the generator know no others. ``OOD`` and ``DEV`` are reserved for the splits
of these names: their wall patterns, floors, rugs, windows, lights and clutter occur in no other
split, and no description can ask for them, so that training never paints what evaluation holds out.
The type of the room (kitchen, gym) is a label and no style: every split has all of ``ROOMS``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from syngrpo.sample import InputError
from syngrpo_rooms.palette import ROOM_COLOURS

Split = Literal["train", "test", "ood", "dev", "broad", "hard", "ood-hard", "dev-hard"]
SPLITS: tuple[Split, ...] = (
    *("train", "test", "ood", "dev", "broad"),
    *("hard", "ood-hard", "dev-hard"),
)
HARD: dict[Split, Split] = {"hard": "test", "ood-hard": "ood", "dev-hard": "dev"}
"""Hard splits → the split whose surroundings they have. Their scenes are seen from anywhere, in any
light and with decoys around (see ``views``)."""
ROOMS = ("kitchen", "bathroom", "office", "workshop", "gym")
"""Room types. Each can be told by its fixture (see ``room_fixtures``)."""


@dataclass(frozen=True)
class Surroundings:
    """A room without its labelled things. None stands for a part that was not said; ``complete``
    fills it in before the room is painted.

    ``room`` is one of ``ROOMS``, or "none" for a room without a fixture.
    """

    room: str | None = None
    wall_colour: str | None = None
    wall_pattern: str | None = None
    wall_accent: str | None = None
    floor_colour: str | None = None
    floor_material: str | None = None
    rug_colour: str | None = None
    rug_pattern: str | None = None
    window: str | None = None
    light: str | None = None
    clutter: str | None = None
    clutter_colour: str | None = None
    clutter_amount: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """The words from which the surroundings of some splits are drawn."""

    wall_patterns: tuple[str, ...]
    floor_materials: tuple[str, ...]
    rug_patterns: tuple[str, ...]
    windows: tuple[str, ...]
    lights: tuple[str, ...]
    clutter: tuple[str, ...]


BROAD = Vocabulary(
    wall_patterns=(
        "plain", "striped", "dotted", "checked", "brick", "panelled", "tiled", "floral",
    ),
    floor_materials=("wood", "tile", "carpet", "stone", "concrete"),
    rug_patterns=("none", "plain", "striped", "bordered", "checked"),
    windows=("none", "day", "evening", "night"),
    lights=("daylight", "bright", "warm", "cool", "dim", "spot", "glare", "shadows"),
    clutter=("none", "leaves", "papers", "toys", "cables", "posters", "books"),
)  # fmt: skip
BROAD_THINGS = replace(
    BROAD,
    rug_patterns=BROAD.rug_patterns[1:],
    windows=BROAD.windows[1:],
    clutter=BROAD.clutter[1:],
)
"""``BROAD`` without the words "none" for a rug, a window or clutter that is not there."""
OOD = Vocabulary(
    wall_patterns=("zigzag", "diamonds", "stars"),
    floor_materials=("herringbone", "mosaic"),
    rug_patterns=("ringed",),
    windows=("hexagonal",),
    lights=("neon", "blinds"),
    clutter=("confetti", "bunting"),
)
DEV = Vocabulary(
    wall_patterns=("plaid", "scales"),
    floor_materials=("terrazzo",),
    rug_patterns=("crossed",),
    windows=("arched",),
    lights=("dappled",),
    clutter=("socks",),
)

SHAPED_LIGHTS = ("spot", "shadows")
"""Lights of ``BROAD`` that fall on some places only. They may fall on a room besides the light on
the whole picture."""
COLOURS = tuple(ROOM_COLOURS)
PLAIN_WALLS = ("white", "cream", "beige", "grey")
PLAIN_FLOORS = (("brown", "wood"), ("beige", "wood"), ("grey", "carpet"), ("beige", "carpet"))

TRAIN_SURROUNDINGS: tuple[Surroundings, ...] = tuple(
    Surroundings(
        room="none",
        wall_colour=wall,
        wall_pattern="plain",
        wall_accent=wall,
        floor_colour=floor,
        floor_material=material,
        rug_colour="grey",
        rug_pattern="none",
        window=window,
        light="daylight",
        clutter="none",
        clutter_colour="grey",
        clutter_amount="few",
    )
    for wall, floor, material, window in (
        ("white", "brown", "wood", "none"),
        ("white", "grey", "carpet", "day"),
        ("cream", "brown", "wood", "day"),
        ("cream", "beige", "carpet", "none"),
        ("grey", "beige", "wood", "none"),
        ("beige", "grey", "carpet", "none"),
    )
)
"""All surroundings of the splits ``train`` and ``test``: plain, bright and without clutter."""


def sample_surroundings(split: Split, rng: np.random.Generator) -> Surroundings:
    """Draw complete surroundings (without None) of a split. Half of them have a room type.

    The room type is drawn from a random stream of its own, so that everything else drawn from
    ``rng``, here and later, does not depend on it. Raises InputError for an unknown split.
    """
    (own,) = rng.spawn(1)
    room = pick(ROOMS, own) if own.random() < 0.5 else "none"
    return replace(_sample_style(HARD.get(split, split), rng), room=room)


def _sample_style(split: Split, rng: np.random.Generator) -> Surroundings:
    """Draw all but the room type."""
    # A fifth of ``broad`` are the plain surroundings of ``train``.
    if split in ("train", "test") or (split == "broad" and rng.random() < 0.2):
        return TRAIN_SURROUNDINGS[int(rng.integers(len(TRAIN_SURROUNDINGS)))]
    if split == "broad":
        return _draw(BROAD_THINGS, (0.5, 0.5, 0.6), rng)
    if split == "ood":
        return _draw(OOD, (0.5, 0.4, 0.7), rng)
    if split == "dev":
        return _draw(DEV, (0.5, 0.4, 0.7), rng)
    raise InputError(f"unknown rooms split {split!r}; use one of {', '.join(SPLITS)}")


def complete(surroundings: Surroundings, rng: np.random.Generator) -> Surroundings:
    """Fill the parts that were not said with something plain, drawn from ``rng``."""
    wall = pick(PLAIN_WALLS, rng)
    floor_colour, floor_material = PLAIN_FLOORS[int(rng.integers(len(PLAIN_FLOORS)))]
    colours = [pick(COLOURS, rng) for _ in range(3)]
    wall = surroundings.wall_colour or wall
    plain = Surroundings(
        room="none",
        wall_colour=wall,
        wall_pattern="plain",
        wall_accent="cream" if wall == "white" else "white",
        floor_colour=floor_colour,
        floor_material=floor_material,
        rug_colour=colours[0],
        rug_pattern="none" if surroundings.rug_colour is None else "plain",
        window="none",
        light="daylight",
        clutter="none",
        clutter_colour=colours[1],
        clutter_amount="few",
    )
    said = {f.name: value for f in fields(surroundings) if (value := getattr(surroundings, f.name))}
    return replace(plain, **said)


def in_even_light(surroundings: Surroundings) -> Surroundings:
    """Return the same surroundings in daylight if a light falls on all of them that can be asked
    for, so that it does not add to the light on the whole picture."""
    light = surroundings.light
    if light not in BROAD.lights or light in SHAPED_LIGHTS:
        return surroundings
    return replace(surroundings, light="daylight")


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    """Draw one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def _draw(
    words: Vocabulary, shares: tuple[float, float, float], rng: np.random.Generator
) -> Surroundings:
    """Draw from a vocabulary. ``shares`` are those of the rooms that have a rug, a window and
    clutter; the words for these do not include "none"."""
    wall, accent, floor, rug, clutter = (pick(COLOURS, rng) for _ in range(5))
    has_rug, has_window, has_clutter = rng.random(3) < shares
    return Surroundings(
        wall_colour=wall,
        wall_pattern=pick(words.wall_patterns, rng),
        wall_accent=accent,
        floor_colour=floor,
        floor_material=pick(words.floor_materials, rng),
        rug_colour=rug,
        rug_pattern=pick(words.rug_patterns, rng) if has_rug else "none",
        window=pick(words.windows, rng) if has_window else "none",
        light=pick(words.lights, rng),
        clutter=pick(words.clutter, rng) if has_clutter else "none",
        clutter_colour=clutter,
        clutter_amount=pick(("few", "many"), rng),
    )
