"""Turns surroundings into short descriptions and free text into surroundings.

``describe`` writes, ``parse_description`` reads; both know only the words of the vocabulary
``BROAD`` (see ``surroundings``). What is reserved for the splits ``ood`` and ``dev`` has no word
here.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from syngrpo.sample import Sample
from syngrpo_rooms.palette import ROOM_COLOURS
from syngrpo_rooms.surroundings import BROAD, ROOMS, Surroundings, pick, sample_surroundings

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


SEPARATORS = re.compile(r"([,.;:\n]|\b(?:and|with|under|in|on|over|of)\b)")


def parse_description(text: str) -> Surroundings:
    """Read room type, colours, materials, patterns, light and clutter from any text.

    The text is cut at commas, full stops and joining words ("with", "under"). Each piece is about
    the part of the room that it names; its colours and patterns belong to that part. Unknown words
    are ignored, and a property that is not mentioned stays None. The first mention of a property
    counts. The room type may stand anywhere.
    """
    text = text.lower()
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
    room = surroundings
    parts = [_wall_phrase(room, rng), _floor_phrase(room, rng)]
    if room.room not in (None, "none") and rng.random() < 0.8:
        noun = _check(room.room, ROOM_WORDS)
        parts.insert(0, f"an {noun}" if noun == "office" else f"a {noun}")
    extras = []
    if room.rug_pattern not in (None, "none"):
        pattern = "" if room.rug_pattern == "plain" else f"{_check(room.rug_pattern, RUG_WORDS)} "
        extras.append(f"a {pattern}{room.rug_colour} rug")
    if room.window not in (None, "none"):
        extras.append(WINDOW_PHRASES[str(room.window)])
    if room.clutter not in (None, "none"):
        many = "many" if rng.random() < 0.5 else "scattered"
        amount = many if room.clutter_amount == "many" else "a few"
        extras.append(f"{amount} {room.clutter_colour} {_check(room.clutter, CLUTTER_WORDS)}")
    if room.light is not None:
        phrases = LIGHT_PHRASES[room.light]
        extras.append(phrases[int(rng.integers(len(phrases)))])
    for k in rng.permutation(len(extras)).tolist():
        longer = [*parts, extras[k]]
        short = len(" ".join(parts).split()) < 5
        if len(" ".join(longer).split()) <= 14 and (rng.random() < 0.8 or short):
            parts = longer
    return ", ".join(parts)


def random_description(rng: np.random.Generator) -> str:
    """Describe random surroundings of the split ``broad``."""
    return describe(sample_surroundings("broad", rng), rng)


class RoomsDescriber:
    """The describer ``rooms``: random descriptions for the method ``random-scene``."""

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Describe random surroundings, whatever the sample is."""
        return random_description(rng)


def description_words() -> set[str]:
    """Return every word that ``describe`` writes or ``parse_description`` understands."""
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


_KNOWN = description_words()
assert ROOM_WORDS.keys() == set(ROOMS)
assert LIGHT_WORDS.keys() == LIGHT_PHRASES.keys() == set(BROAD.lights)
