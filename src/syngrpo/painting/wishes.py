"""Reads what a description says about the view, the light and the camera.

These wishes are carried out on the whole picture by ``frame`` and ``light``, the kept objects
included, and are removed from the text that the generator gets. Everything else in a description is
left to the generator.

Each axis has a few levels, from 0 (the object is easiest to see) to 1 (hardest), and each level has
phrases that ask for it. An axis that a description does not mention is drawn at random: if it meant
"as it was", a policy could learn to say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

AxisName = Literal["distance", "place", "darkness", "haze", "glare", "cast", "blur", "grain"]

_STREAM = 11
"""Makes these random numbers independent of the generator's, which start from the same seed."""
SPREAD = 0.1
"""A wish is carried out at its level plus or minus at most this, drawn from the job's seed."""


@dataclass(frozen=True)
class Level:
    """One level of an axis. ``phrases`` are regular expressions; the first is plain text, which
    describers write and prompts show."""

    value: float
    phrases: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.phrases[0]


@dataclass(frozen=True)
class Axis:
    """One property of the picture. ``unsaid`` is the probability that the axis is drawn at random
    when a description does not mention it; otherwise it is at level 0.

    For ``place``, 0 is the left and 1 the right. For ``cast``, 0 is no cast, 0.5 warm and 1 cold.
    """

    levels: tuple[Level, ...]
    unsaid: float = 1.0


_LIGHT = r"(?:\s+(?:light|lighting|room|place|surroundings|picture|scene))"
_LAST = r"(?=\s*(?:$|[,.;:]|and\b|with\b|in\b|seen\b))"
"""A lone adjective counts at the end of a phrase only: not the "dark" of "dark green walls"."""
_WITHOUT = (
    r"(?:no|not|without|free (?:of|from)|neither|nor) (?:[\w-]+ n?or )?"
    r"(?:(?:any|an?|trace of|in|at|seen|longer|too|so|very|almost|half|thick|dense|light) )*"
)
"""A negation. A phrase after it asks for another level of its axis than the phrase alone."""
_END = rf"(?:{_LAST}|(?=\s+n?or\b))"
"""The same as ``_LAST`` for an adjective after a negation: "neither dark nor foggy"."""


def _level(value: float, *phrases: str) -> Level:
    return Level(value, phrases)


# fmt: off
AXES: Mapping[AxisName, Axis] = MappingProxyType(
    {
        "distance": Axis((
            _level(0.0, "close up", "close-?up", "up close", "very near", "right in front",
                   f"{_WITHOUT}(?:far away|far off|from afar|in the distance|a long way off)",
                   f"{_WITHOUT}(?:wide view|from the doorway)",
                   f"{_WITHOUT}distant{_END}"),
            _level(0.5, "midway", "halfway", r"(?:a few|some) steps away", "across the room",
                   f"{_WITHOUT}(?:close-?up|close up|up close|very near|right in front)"),
            _level(1.0, "far away", "far off", "from afar", "in the distance", "wide view",
                   "from the doorway", "a long way off", f"distant(?:ly)?{_LAST}"),
        )),
        "place": Axis((
            _level(0.0, "on the left", "to the left",
                   r"(?:in|at) the (?:far |near )?left\b\s*\w*"),
            _level(0.5, "in the middle", "in the cent(?:er|re)", "cent(?:er|re)d"),
            _level(1.0, "on the right", "to the right",
                   r"(?:in|at) the (?:far |near )?right\b\s*\w*"),
        )),
        "darkness": Axis((
            _level(0.0, "brightly lit", "sunlit", "sunny", "well lit", f"bright(?:ly)?{_LIGHT}",
                   "(?:in )?(?:full |soft |bright )?daylight", "midday sun", f"bright{_LAST}",
                   f"{_WITHOUT}(?:dark|gloomy|dim)(?:{_LIGHT}|{_END})",
                   f"{_WITHOUT}(?:dimly lit|unlit|shady|darkness|dusk|twilight|night{_END})"),
            _level(0.5, "half dark", "at dusk", "dusk", "twilight", "dimly lit", f"dim{_LIGHT}",
                   f"dim{_LAST}", "lamplight", "evening light", "shady",
                   f"{_WITHOUT}bright(?:ly)?(?:{_LIGHT}|{_END})",
                   f"{_WITHOUT}(?:brightly lit|well lit|sunlit|sunny)"),
            _level(1.0, "almost dark", "at night", "moonlit", "moonlight", "unlit", "candlelight",
                   "candlelit", f"(?:dark|gloomy){_LIGHT}", f"(?:dark|gloomy|night){_LAST}",
                   f"{_WITHOUT}daylight"),
        )),
        "haze": Axis((
            _level(0.0, "in clear air", "clear air", f"clear{_LAST}",
                   f"{_WITHOUT}(?:fog|foggy|haze|hazy|mist|misty|smoke)"),
            _level(0.5, "in haze", "haze", "hazy", "light mist", "misty", "mist", "dusty air",
                   f"{_WITHOUT}(?:clear air|clear{_END})"),
            _level(1.0, "in thick fog", "(?:in )?(?:thick |dense )?fog", "foggy", "smoke"),
        )),
        "glare": Axis((
            _level(0.0, "without glare", f"{_WITHOUT}(?:glare|glaring light|backlit|backlight)"),
            _level(1.0, "in glaring light", "(?:dazzling )?glare", "backlit", "backlight"),
        ), unsaid=0.2),
        "cast": Axis((
            _level(0.0, "in white light", "neutral light",
                   f"{_WITHOUT}(?:warm|golden|cold|cool) light"),
            _level(0.5, "in warm light", "warm light", "golden light", "golden hour"),
            _level(1.0, "in cold light", "cold light", "cool light", "cold neon light"),
        ), unsaid=0.4),
        "blur": Axis((
            _level(0.0, "in focus", f"sharp{_LAST}",
                   f"{_WITHOUT}(?:blur|out of focus|unfocused|(?:blurred|blurry){_END})"),
            _level(1.0, "out of focus", f"blurred{_LAST}", f"blurry{_LAST}", "unfocused",
                   f"{_WITHOUT}(?:in focus|sharp{_END})"),
        ), unsaid=0.2),
        "grain": Axis((
            _level(0.0, "without grain", f"{_WITHOUT}(?:grain|grainy|film grain|noisy picture)"),
            _level(1.0, "grainy", "film grain", "noisy picture"),
        ), unsaid=0.2),
    }
)
# fmt: on

VIEW_AXES: tuple[AxisName, ...] = ("distance", "place")
LIGHT_AXES: tuple[AxisName, ...] = ("darkness", "haze", "glare", "cast", "blur", "grain")


@dataclass(frozen=True)
class Wishes:
    """What a description asks for: the level of each axis that it mentions, and the text without
    these phrases."""

    levels: Mapping[AxisName, float]
    rest: str

    def drawn(self, seed: int) -> dict[AxisName, float]:
        """Return a level in [0, 1] of every axis: the wish, or one at random where there is none,
        plus or minus at most SPREAD on the axes of several levels.

        The same description and seed give the same levels. Every axis takes its random numbers from
        a stream of its own, so that one wish does not change what the others become.
        """
        found: dict[AxisName, float] = {}
        for number, (name, axis) in enumerate(AXES.items()):
            rng = np.random.default_rng([_STREAM, number, seed])
            spread, on, which = rng.uniform(-SPREAD, SPREAD), rng.random(), rng.random()
            level = self.levels.get(name)
            if level is None:
                level = (
                    axis.levels[int(which * len(axis.levels))].value if on < axis.unsaid else 0.0
                )
            found[name] = float(np.clip(level + spread, 0, 1)) if axis.unsaid == 1 else level
        return found


def read_wishes(text: str, axes: tuple[AxisName, ...] = VIEW_AXES + LIGHT_AXES) -> Wishes:
    """Read the wishes of an English description about these axes. The first mention of an axis
    counts, and of several that begin there the longest: "not dark" before "dark". Every phrase that
    mentions an axis is removed from the text."""
    levels: dict[AxisName, float] = {}
    rest = list(text)
    for name in axes:
        found = sorted(
            (match.start(), -match.end(), level.value)
            for level, pattern in _PATTERNS[name]
            for match in pattern.finditer(text)
        )
        if found:
            levels[name] = found[0][2]
        for start, minus_end, _ in found:
            rest[start:-minus_end] = " " * (-minus_end - start)
    return Wishes(levels, _tidied("".join(rest)))


_LEFT_OVER = re.compile(
    r"^(?:and|n?or|of)\s+|^(?:and|n?or|seen|lit|in|with|not?|without|neither)$"
    r"|\s+(?:and|n?or|seen|in|with|not?|without|neither)$",
    re.IGNORECASE,
)


def _tidied(text: str) -> str:
    """Remove what is left around removed phrases: empty parts between commas, lone joining
    words and superfluous white space."""
    parts = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"([,.;:])", text)]
    kept: list[str] = []
    for words, mark in zip(parts[::2], [*parts[1::2], ""], strict=True):
        words = _LEFT_OVER.sub("", words)
        if words:
            kept += [words, mark]
    return re.sub(r"\s+([,.;:])", r"\1", " ".join(kept)).strip(" ,;:")


def _compiled(axis: Axis) -> tuple[tuple[Level, re.Pattern[str]], ...]:
    """The levels with the pattern of all their phrases. A longer phrase is tried first, so that
    "almost dark" is not read as "dark". Words may be joined by hyphens ("half-dark"), but a phrase
    is never a part of a compound ("smoke-grey")."""
    return tuple(
        (
            level,
            re.compile(
                r"(?<![\w-])(?:"
                + "|".join(sorted(level.phrases, key=len, reverse=True)).replace(" ", r"[\s-]+")
                + r")(?!-?\w)",
                re.IGNORECASE,
            ),
        )
        for level in axis.levels
    )


_PATTERNS = {name: _compiled(axis) for name, axis in AXES.items()}
