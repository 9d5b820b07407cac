"""Turns surroundings into short descriptions and free text into surroundings.

``describe`` writes, ``parse_description`` reads; both know only the words of the vocabulary
``BROAD`` (see ``surroundings``). What is reserved for the splits ``ood`` and ``dev`` has no word
here.

``random_description`` also says how the room is seen and lit, in the phrases of
``syngrpo.painting.wishes``, and which further things stand around (``decoys``). How often it says
which of these is an ``Asking``; the three describers differ in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from syngrpo.painting.wishes import AXES, AxisName
from syngrpo.sample import Sample
from syngrpo.tasks.asking import constraints_of
from syngrpo_rooms.decoys import UNSAID, allowed_classes, decoy_words, read_decoys, write_decoys
from syngrpo_rooms.palette import ROOM_COLOURS
from syngrpo_rooms.scenes import LABELS
from syngrpo_rooms.surroundings import (
    BROAD,
    ROOMS,
    SHAPED_LIGHTS,
    Surroundings,
    pick,
    sample_surroundings,
)

ROOM_WORDS: dict[str, tuple[str, ...]] = {
    "kitchen": ("kitchen", "kitchenette"),
    "bathroom": ("bathroom", "bath"),
    "office": ("office", "study"),
    "workshop": ("workshop", "garage"),
    "gym": ("gym",),
}
WALL_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "painted", "bare"),
    "striped": ("striped", "stripes"),
    "dotted": ("dotted", "spotted", "dots"),
    "checked": ("checked", "checkered", "chequered"),
    "brick": ("brick", "bricks"),
    "panelled": ("panelled", "paneled", "panels"),
    "tiled": ("tiled", "tiles"),
    "floral": ("floral", "flowery", "flowers"),
}
FLOOR_WORDS: dict[str, tuple[str, ...]] = {
    "wood": ("wood", "wooden", "planks", "parquet", "timber"),
    "tile": ("tile", "tiled", "tiles"),
    "carpet": ("carpet", "carpeted"),
    "stone": ("stone", "flagstone", "slate"),
    "concrete": ("concrete", "cement"),
}
RUG_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain",),
    "striped": ("striped", "stripes"),
    "bordered": ("bordered", "round", "oval"),
    "checked": ("checked", "checkered", "chequered"),
}
WINDOW_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("day", "sunny", "daytime"),
    "evening": ("evening", "sunset", "dusk"),
    "night": ("night", "moonlit", "starry"),
}
LIGHT_WORDS: dict[str, tuple[str, ...]] = {
    "daylight": ("daylight", "soft"),
    "bright": ("bright", "brilliant"),
    "warm": ("warm", "golden", "evening", "sunset"),
    "cool": ("cool", "cold", "bluish"),
    "dim": ("dim", "dark", "gloomy", "night"),
    "spot": ("spot", "spotlight", "harsh"),
    "glare": ("glare", "glaring", "dazzling"),
    "shadows": ("shadows", "shadow", "shadowy"),
}
CLUTTER_WORDS: dict[str, tuple[str, ...]] = {
    "leaves": ("leaves", "leaf"),
    "papers": ("papers", "paper", "notes"),
    "toys": ("toys", "toy", "blocks"),
    "cables": ("cables", "cable", "wires"),
    "posters": ("posters", "poster"),
    "books": ("books", "magazines"),
}
AMOUNT_WORDS = {"few": ("few", "some"), "many": ("many", "scattered", "messy", "cluttered")}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ROOM_COLOURS},
    "grey": ("grey", "gray", "silver"),
    "brown": ("brown", "tan", "walnut", "oak"),
    "cream": ("cream", "ivory"),
    "beige": ("beige", "sand"),
    "teal": ("teal", "turquoise", "cyan"),
    "red": ("red", "crimson", "scarlet"),
    "blue": ("blue", "navy"),
    "purple": ("purple", "violet", "lilac"),
    "black": ("black", "charcoal"),
}
PARTS: dict[str, tuple[str, ...]] = {
    "wall": ("wall", "walls", "wallpaper"),
    "floor": ("floor", "floors", "flooring", "carpet", "parquet"),
    "rug": ("rug", "mat"),
    "window": ("window", "windows"),
    "light": ("light", "lighting", "lamplight", "daylight", "shadows", "glare"),
    "clutter": tuple(word for words in CLUTTER_WORDS.values() for word in words),
}
LIGHT_PHRASES: dict[str, tuple[str, ...]] = {
    "daylight": ("soft daylight", "daylight"),
    "bright": ("bright light",),
    "warm": ("warm light", "golden light"),
    "cool": ("cool light", "cold light"),
    "dim": ("dim light", "gloomy light"),
    "spot": ("harsh spot light",),
    "glare": ("dazzling glare", "glare"),
    "shadows": ("long shadows",),
}
WINDOW_PHRASES = {
    "day": "a sunny window",
    "evening": "an evening window",
    "night": "a night window",
}
UNLIT_WINDOWS = WINDOW_PHRASES | {"day": "a window"}
"""The same, where "sunny" would be a wish for the light on the whole picture."""

JOINING_WORDS = frozenset(
    ("a", "an", "and", "with", "without", "under", "in", "on", "over", "of", "out", "up", "the")
)
"""Words of descriptions that say nothing by themselves."""
SEPARATORS = re.compile(r"([,.;:\n]|\b(?:and|with|under|in|on|over|of)\b)")


def parse_description(text: str) -> Surroundings:
    """Read room type, colours, materials, patterns, light and clutter from any text.

    The text is cut at commas, full stops and joining words ("with", "under"). Each piece is about
    the part of the room that it names; its colours and patterns belong to that part. Unknown words
    are ignored, and a property that is not mentioned stays None. The first mention of a property
    counts. The room type may stand anywhere. Further things with their colours ("two red balls")
    are left to ``decoys``. Phrases about distance, position and air mean nothing here. Those about
    light mean the room's own light: where ``light`` carries them out, they are no longer in the
    text.
    """
    _, text = read_decoys(text.lower())
    room = _first(re.findall(r"[a-z]+", text), ROOM_WORDS)
    said: dict[str, str] = {"room": room} if room else {}
    pieces = [*SEPARATORS.split(text), ""]
    waiting: list[str] = []
    previous: str | None = None
    before = ""
    for piece, after in zip(pieces[::2], pieces[1::2], strict=True):
        tokens = waiting + re.findall(r"[a-z]+", piece)
        part = _part(tokens)
        waiting = []
        known = _KNOWN.issuperset(tokens)  # else the colours may belong to a thing
        if part is None and known and after == "and":  # "red and white walls" is one piece
            waiting = tokens
            continue
        if part is None and known and before in ("in", "with", "of"):  # "wallpaper with white dots"
            part = previous
        for key, value in _read_piece(tokens, part).items():
            said.setdefault(key, value)
        previous, before = part, after
    return replace(Surroundings(), **said)


def describe(surroundings: Surroundings, rng: np.random.Generator) -> str:
    """Write a short text of 5-14 words that ``parse_description`` reads back. Parts of the room are
    left out at random.

    Raises KeyError for surroundings with reserved parts, for which there are no words.
    """
    parts = [_wall_phrase(surroundings, rng), _floor_phrase(surroundings, rng)]
    parts = [*_room_phrase(surroundings, rng), *parts]
    extras = _extras(surroundings, rng)
    for k in rng.permutation(len(extras)).tolist():
        longer = [*parts, extras[k]]
        if _words(longer) <= 14 and (rng.random() < 0.8 or _words(parts) < 5):
            parts = longer
    return ", ".join(parts)


def _words(parts: Sequence[str]) -> int:
    return len(" ".join(parts).split())


def _room_phrase(room: Surroundings, rng: np.random.Generator) -> list[str]:
    """Name the type of the room, if it has one, in four of five texts."""
    if room.room in (None, "none") or rng.random() >= 0.8:
        return []
    noun = _check(room.room, ROOM_WORDS)
    return [f"an {noun}" if noun == "office" else f"a {noun}"]


def _extras(room: Surroundings, rng: np.random.Generator, lit: bool = True) -> list[str]:
    """Say what is in the room besides walls and floor.

    Without ``lit``, nothing is said that is also a wish for the light on the whole picture.
    """
    extras = []
    if room.rug_pattern not in (None, "none"):
        pattern = "" if room.rug_pattern == "plain" else f"{_check(room.rug_pattern, RUG_WORDS)} "
        extras.append(f"a {pattern}{room.rug_colour} rug")
    if room.window not in (None, "none"):
        extras.append(WINDOW_PHRASES[str(room.window)] if lit else UNLIT_WINDOWS[str(room.window)])
    if room.clutter not in (None, "none"):
        many = "many" if rng.random() < 0.5 else "scattered"
        amount = many if room.clutter_amount == "many" else "a few"
        extras.append(f"{amount} {room.clutter_colour} {_check(room.clutter, CLUTTER_WORDS)}")
    if room.light is not None and (lit or room.light in SHAPED_LIGHTS):
        phrases = LIGHT_PHRASES[room.light]
        extras.append(phrases[int(rng.integers(len(phrases)))])
    return extras


@dataclass(frozen=True)
class Asking:
    """What random descriptions say besides the room.

    ``levels``: for an axis of ``wishes``, the levels that are asked for, all equally likely; all of
    them where it is not given. ``decoys``: the numbers of further things that are asked for, all
    equally likely. ``said``: the probability that a description speaks of a main axis, and of
    further things. ``rare``: the same for each axis in ``RARE``, of which level 0 is not said, if
    ``levels`` does not say otherwise. ``most``: words of a description.
    """

    levels: Mapping[AxisName, tuple[float, ...]] = field(default_factory=dict)
    decoys: tuple[int, ...] = UNSAID
    said: float = 0.8
    rare: float = 0.15
    most: int = 30


MAIN: tuple[AxisName, ...] = ("distance", "place", "darkness", "haze")
RARE: tuple[AxisName, ...] = ("glare", "cast", "blur", "grain")

WHOLE_RANGE = Asking()
"""Everything that can be asked for, also what makes a picture hopeless."""
_NEUTRAL: dict[AxisName, tuple[float, ...]] = dict.fromkeys((*MAIN, *RARE), (0,))
NEUTRAL = Asking(levels=_NEUTRAL | {"place": (0.5,)}, decoys=(0,), said=1, rare=1, most=44)
"""Seen close up, in clear light and alone: only the room differs."""
TUNED = Asking(levels=dict.fromkeys(("distance", "darkness", "haze"), (0, 0.5)), said=1)
"""Neither far away nor almost dark nor in thick fog."""


def random_description(
    rng: np.random.Generator,
    asking: Asking = WHOLE_RANGE,
    classes: Sequence[str] = LABELS,
) -> str:
    """Describe random surroundings of the split ``broad``, and how they are seen and lit.

    ``classes`` are those of which further things may be asked for. The parts are in random order.
    """
    room = sample_surroundings("broad", rng)
    parts = [_wall_phrase(room, rng), _floor_phrase(room, rng)]
    for name in MAIN:
        if rng.random() < asking.said:
            parts.append(_level(name, asking, rng))
    if rng.random() < asking.said:
        count = asking.decoys[int(rng.integers(len(asking.decoys)))]
        parts.append(write_decoys(count, classes, rng))
    more = [_level(name, asking, rng) for name in RARE if rng.random() < asking.rare]
    more += _room_phrase(room, rng)
    extras = _extras(room, rng, lit=False)
    more += [extras[k] for k in rng.permutation(len(extras)).tolist() if rng.random() < 0.8]
    for part in more:
        if _words([*parts, part]) <= asking.most:
            parts.append(part)
    return ", ".join(parts[k] for k in rng.permutation(len(parts)).tolist())


def _level(name: AxisName, asking: Asking, rng: np.random.Generator) -> str:
    """Return the phrase that asks for a level of an axis, drawn at random."""
    levels = [level for level in AXES[name].levels if name in MAIN or level.value > 0]
    if name in asking.levels:
        levels = [level for level in AXES[name].levels if level.value in asking.levels[name]]
    return levels[int(rng.integers(len(levels)))].name


class RoomsDescriber:
    """The describer ``rooms``: random descriptions for the method ``random-scene``."""

    asking = WHOLE_RANGE

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Describe random surroundings. Further things are of classes that may be painted around
        this sample's objects; nothing else depends on the sample."""
        rules = constraints_of(sample)
        classes = allowed_classes((*rules.forbidden_labels, *rules.forbidden_words))
        return random_description(rng, self.asking, classes)


class NeutralDescriber(RoomsDescriber):
    """The describer ``rooms-neutral``: only the room differs, see ``NEUTRAL``."""

    asking = NEUTRAL


class TunedDescriber(RoomsDescriber):
    """The describer ``rooms-tuned``: a range chosen by hand, see ``TUNED``."""

    asking = TUNED


def room_words() -> set[str]:
    """Return every word about the room itself that ``describe`` writes or ``parse_description``
    understands."""
    tables = (
        ROOM_WORDS, WALL_WORDS, FLOOR_WORDS, RUG_WORDS, WINDOW_WORDS, LIGHT_WORDS, CLUTTER_WORDS,
        AMOUNT_WORDS, COLOUR_WORDS, PARTS, LIGHT_PHRASES,
    )  # fmt: skip
    known = {
        word for table in tables for texts in table.values() for t in texts for word in t.split()
    }
    phrases = [
        *WINDOW_PHRASES.values(),
        "a",
        "an",
        "and",
        "with",
        "under",
        "in",
        "on",
        "over",
        "of",
    ]
    return known | {word for phrase in phrases for word in phrase.split()}


def description_words() -> set[str]:
    """Return every word that ``describe`` or ``random_description`` writes or
    ``parse_description`` understands."""
    levels = [level.name for axis in AXES.values() for level in axis.levels]
    return room_words() | decoy_words() | {word for name in levels for word in name.split()}


def _wall_phrase(room: Surroundings, rng: np.random.Generator) -> str:
    pattern = _check(room.wall_pattern, WALL_WORDS)
    papered = pattern in ("striped", "dotted", "checked", "floral")
    noun = "wallpaper" if papered and rng.random() < 0.5 else pick(("wall", "walls"), rng)
    accent = papered and room.wall_accent != room.wall_colour and rng.random() < 0.35
    colours = f"{room.wall_colour} {room.wall_accent}" if accent else f"{room.wall_colour}"
    if pattern == "plain" and rng.random() < 0.5:
        return f"{colours} {noun}"
    order = rng.random() < 0.5
    return f"{pattern} {colours} {noun}" if order else f"{colours} {pattern} {noun}"


def _floor_phrase(room: Surroundings, rng: np.random.Generator) -> str:
    material = _check(room.floor_material, FLOOR_WORDS)
    if material == "carpet" and rng.random() < 0.6:
        return f"{room.floor_colour} carpet"
    if material == "wood" and rng.random() < 0.4:
        material = "wooden"
    return f"{room.floor_colour} {material} floor"


def _check(word: str | None, table: dict[str, tuple[str, ...]]) -> str:
    """Return the first way to say this word. Raises KeyError if the table does not have it."""
    return table[str(word)][0]


def _read_piece(tokens: list[str], part: str | None) -> dict[str, str]:
    """Return what one piece of text says about a part of the room: fields of Surroundings."""
    colours = _all(tokens, COLOUR_WORDS)
    said: dict[str, str | None] = {}
    if part == "wall":
        said["wall_pattern"] = _first(tokens, WALL_WORDS)
        said["wall_colour"] = colours[0] if colours else None
        said["wall_accent"] = colours[1] if len(colours) > 1 else None
    elif part == "floor":
        said["floor_material"] = _first(tokens, FLOOR_WORDS)
        said["floor_colour"] = colours[0] if colours else None
    elif part == "rug":
        said["rug_pattern"] = _first(tokens, RUG_WORDS) or "plain"
        said["rug_colour"] = colours[0] if colours else None
    elif part == "window":
        said["window"] = _first(tokens, WINDOW_WORDS) or "day"
    elif part == "clutter":
        said["clutter"] = _first(tokens, CLUTTER_WORDS)
        said["clutter_colour"] = colours[0] if colours else None
        said["clutter_amount"] = _first(tokens, AMOUNT_WORDS)
    if part in ("light", None):
        said["light"] = _first(tokens, LIGHT_WORDS)
        said["window"] = _first(tokens, WINDOW_WORDS)
    if part is None:
        said["wall_pattern"] = _first(tokens, WALL_WORDS)
    return {key: value for key, value in said.items() if value is not None}


def _part(tokens: list[str]) -> str | None:
    """Return the part of the room that a piece of text is about: its last word that names one."""
    for token in reversed(tokens):
        for part, names in PARTS.items():
            if token in names:
                return part
    return None


def _all(tokens: list[str], table: dict[str, tuple[str, ...]]) -> list[str]:
    return [key for token in tokens for key, names in table.items() if token in names]


def _first(tokens: list[str], table: dict[str, tuple[str, ...]]) -> str | None:
    found = _all(tokens, table)
    return found[0] if found else None


_KNOWN = room_words()
assert ROOM_WORDS.keys() == set(ROOMS)
assert LIGHT_WORDS.keys() == LIGHT_PHRASES.keys() == set(BROAD.lights)
