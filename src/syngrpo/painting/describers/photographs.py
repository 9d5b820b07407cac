"""The describer ``photographs``: everyday places, what they are made of, light and weather.

The words name surroundings alone and no things, so that a painted picture does not gain objects
that a task asks about.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syngrpo.sample import Sample

INDOOR_PLACES = (
    *("a kitchen", "a bedroom", "a living room", "a dining room", "a bathroom", "a hallway"),
    *("an attic", "a cellar", "a garage", "a workshop", "an office", "a library", "a classroom"),
    *("a gym", "a museum hall", "a hotel lobby", "a restaurant", "a café", "a supermarket aisle"),
    *("a shopping mall", "an airport hall", "a subway station", "a hospital corridor"),
    *("a laboratory", "a warehouse", "a factory hall", "an artist's studio", "a greenhouse"),
    *("a barn", "a church", "a theatre stage", "a wooden cabin", "an empty white studio"),
)
OUTDOOR_PLACES = (
    *("a beach", "a rocky coast", "a harbour", "a river bank", "a lake shore", "a swamp"),
    *("a forest", "a birch grove", "a pine wood", "a meadow", "a wheat field", "a vineyard"),
    *("an orchard", "a flower garden", "a vegetable garden", "a lawn", "a city park"),
    *("a mountain pass", "a snowy slope", "a canyon", "a desert", "a sand dune", "a quarry"),
    *("a busy street", "a narrow alley", "a village square", "a courtyard", "a flat roof"),
    *("a parking lot", "a petrol station", "a building site", "a railway yard", "a bridge"),
    *("a sports field", "a running track", "a campsite", "a farmyard", "a market"),
    "a playground",
)
WALLS = (
    *("white painted walls", "grey concrete walls", "red brick walls", "pale blue walls"),
    *("dark green walls", "yellow walls", "wooden panelling", "white tiles", "black tiles"),
    *("striped wallpaper", "flowered wallpaper", "rough stone walls", "glass walls"),
    *("corrugated metal walls", "peeling plaster"),
)
FLOORS = (
    *("a wooden floor", "a dark parquet floor", "a grey tiled floor", "a chequered floor"),
    *("a polished concrete floor", "a red carpet", "a beige carpet", "a marble floor"),
    *("a linoleum floor", "a terracotta floor", "a rubber floor", "a worn plank floor"),
)
GROUNDS = (
    *("short grass", "tall dry grass", "wet sand", "loose gravel", "bare earth", "deep mud"),
    *("fallen leaves", "moss", "cobblestones", "cracked asphalt", "concrete slabs", "flat rock"),
    *("fresh snow", "trampled snow", "wooden boards", "puddles on asphalt"),
)
LAMPLIGHT = (
    *("bright daylight from a large window", "soft morning light", "warm evening light"),
    *("cold neon light", "dim light", "harsh spotlights", "a single bare bulb", "candlelight"),
    *("coloured stage light", "light through dusty air"),
)
DAYLIGHT = (
    *("bright midday sun", "low evening sun", "sunrise", "golden hour", "dusk", "a moonlit night"),
    *("street lights at night", "harsh shadows", "soft diffuse light", "backlight"),
)
WEATHER = (
    *("a clear blue sky", "scattered clouds", "an overcast sky", "thick fog", "light mist"),
    *("drizzle", "heavy rain", "after the rain", "falling snow", "a sandstorm", "storm clouds"),
    *("autumn colours", "spring blossom", "summer heat", "hoarfrost"),
)


class PhotographDescriber:
    """Picks a place, inside or outside, and what it looks like at random: 6 to 16 words."""

    def describe(self, sample: Sample, rng: np.random.Generator) -> str:
        """Describe surroundings that do not depend on the sample."""
        if rng.random() < 0.5:
            parts = [_one(INDOOR_PLACES, rng), _one(WALLS, rng), _one(FLOORS, rng)]
            parts.append(_one(LAMPLIGHT, rng))
        else:
            parts = [_one(OUTDOOR_PLACES, rng), _one(GROUNDS, rng), _one(DAYLIGHT, rng)]
            parts.append(_one(WEATHER, rng))
        return ", ".join(parts)


def _one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
