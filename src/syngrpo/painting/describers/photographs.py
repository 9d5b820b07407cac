"""The describer ``photographs``: everyday places, and how they are seen and lit.

A description always says a place, what it is made of, where its light comes from and, outside, the
weather; these words stand in ``photographs.yaml``. Each of four further axes is said in four of
five descriptions, whatever the others say: the distance, the position in the picture, the
brightness and the air. The painter carries these out on the whole picture (``painting.wishes``), so
they are phrases that it knows. Now and then a description asks for something rarer, such as a
grainy picture, or for one to four further things. Things of a labelled class are removed later
(``painting.prompt``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml

from syngrpo.sample import Sample

T = TypeVar("T")

WORDS = Path(__file__).with_suffix(".yaml")

# Each axis is a tuple of values; a value is a tuple of phrases that mean the same.
DISTANCES = (("close up",), ("midway",), ("far away", "in the distance"))
POSITIONS = (("on the left",), ("in the middle",), ("on the right",))
BRIGHTNESSES = (("brightly lit", "sunlit"), ("half dark", "at dusk"), ("almost dark", "at night"))
AIRS = (("in clear air",), ("in haze",), ("in thick fog",))
RARER = (
    *(("in glaring light",), ("in warm light",), ("in cold light",)),
    *(("out of focus",), ("grainy",)),
)

AXIS_SHARE = 0.8
"""Share of the descriptions that say an axis."""
RARER_SHARE = 0.15
THINGS_SHARE = 0.3


@dataclass(frozen=True)
class PlaceKind:
    """Places of one kind, such as woods; ``parts`` and ``things`` fit all of them.

    ``parts``: lists of phrases; a description has one phrase of each.
    ``things``: single nouns that take an s in the plural.
    """

    places: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    things: tuple[str, ...]


@cache
def place_kinds() -> tuple[PlaceKind, ...]:
    """Read the kinds of places from ``photographs.yaml``."""
    kinds = yaml.safe_load(WORDS.read_text(encoding="utf-8"))["kinds"]
    return tuple(
        PlaceKind(
            places=tuple(kind.pop("places")),
            things=tuple(kind.pop("things")),
            parts=tuple(map(tuple, kind.values())),
        )
        for kind in kinds.values()
    )


class PhotographDescriber:
    """Writes 10 to 35 random words. All places are equally likely, and so are the values of each
    axis."""

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Describe surroundings that do not depend on the sample."""
        kind, place = _one([(kind, place) for kind in place_kinds() for place in kind.places], rng)
        view = " ".join([*_perhaps(DISTANCES, rng), *_perhaps(POSITIONS, rng)])
        parts = [
            place,
            *(_one(part, rng) for part in kind.parts),
            *([view] if view else []),
            *_perhaps(BRIGHTNESSES, rng),
            *_perhaps(AIRS, rng),
            *_perhaps(RARER, rng, RARER_SHARE),
        ]
        if rng.random() < THINGS_SHARE:
            parts.append(_further_things(kind.things, rng))
        return ", ".join(parts)


def _perhaps(
    axis: Sequence[Sequence[str]], rng: np.random.Generator, share: float = AXIS_SHARE
) -> list[str]:
    """Return a phrase for a random value of the axis, or in the other cases no phrase."""
    return [_one(_one(axis, rng), rng)] if rng.random() < share else []


def _further_things(nouns: Sequence[str], rng: np.random.Generator) -> str:
    """Return a phrase like "two stools and a lamp stand around": one or two of one or two nouns."""
    chosen = rng.choice(nouns, size=int(rng.integers(1, 3)), replace=False).tolist()
    counts = rng.integers(1, 3, size=len(chosen)).tolist()
    things = [
        f"two {noun}s" if count == 2 else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
        for noun, count in zip(chosen, counts, strict=True)
    ]
    return f"{' and '.join(things)} {'stands' if counts == [1] else 'stand'} around"


def _one(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
