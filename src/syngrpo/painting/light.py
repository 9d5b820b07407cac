"""Light and camera: what falls on the whole finished picture, the kept objects included.

The transforms change pixels and move none, so every label stays true. They are applied in the order
in which light reaches a sensor: the light's colour and strength, haze, glare, then the lens (blur)
and the sensor (grain). It also hides the seam between kept and painted pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from syngrpo.options import option
from syngrpo.painting.wishes import LIGHT_AXES, AxisName
from syngrpo.sample import InputError
from syngrpo.tasks import Constraints

WARM, COLD = (1.0, 0.86, 0.62), (0.68, 0.86, 1.0)
"""Gains of red, green and blue in the strongest warm and cold light."""
NAMED_COLOUR_CAST = 0.35
"""Strongest cast, as a share of WARM and COLD, where the question or the answer names a colour: at
this strength each of the eleven basic colour terms stays the nearest to itself."""
FOG = (206.0, 208.0, 212.0)
"""Colour of haze: red, green and blue, before the light's strength."""
GLARE_STREAM = 12


@dataclass(frozen=True, kw_only=True)
class LightOptions:
    """Bounds of light and camera. Each default switches its part off."""

    brightness: float = option(
        1.0, "gain of the darkest light that a description can ask for; 1: none", gt=0, le=1
    )
    haze: float = option(0.0, "share of the thickest haze in a pixel's colour; 0: none", ge=0, lt=1)
    glare: float = option(0.0, "strength of the strongest glare; 0: none", ge=0, le=1)
    cast: float = option(0.0, "strength of the strongest warm or cold light; 0: none", ge=0, le=1)
    blur: float = option(
        0.0, "strongest blur, as a share of the picture's shorter side; 0: none", ge=0, le=0.1
    )
    grain: float = option(
        0.0, "standard deviation of the strongest grain, in grey levels; 0: none", ge=0, le=64
    )

    @property
    def changes(self) -> bool:
        """Whether any light or camera is carried out."""
        return self != LightOptions()

    @property
    def axes(self) -> tuple[AxisName, ...]:
        """The axes that a description can ask for."""
        off = LightOptions()
        key: dict[AxisName, str] = {"darkness": "brightness"}
        names = ((name, key.get(name, name)) for name in LIGHT_AXES)
        return tuple(name for name, one in names if getattr(self, one) != getattr(off, one))


@dataclass(frozen=True)
class Light:
    """Light and camera of one picture. ``brightness`` is a gain; ``haze`` and ``glare`` are shares
    of their colour in a pixel; ``cast`` is between −1 (cold) and 1 (warm); ``blur`` is a share of
    the shorter side, ``grain`` in grey levels. The defaults change nothing."""

    brightness: float = 1.0
    haze: float = 0.0
    glare: float = 0.0
    cast: float = 0.0
    blur: float = 0.0
    grain: float = 0.0

    def lineage(self) -> dict[str, float]:
        """Return the light as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, lineage: Mapping[str, Any]) -> Light:
        """Return the light that ``lineage`` wrote. Raises InputError for other data."""
        names = {one.name for one in fields(cls)}
        if set(lineage) != names:
            raise InputError(f"light has {sorted(lineage)}, not {sorted(names)}")
        return cls(**{name: float(value) for name, value in lineage.items()})


def choose_light(
    constraints: Constraints, levels: Mapping[AxisName, float], options: LightOptions
) -> Light:
    """Return the light for these levels of the light axes, within the bounds.

    Brightness is on a logarithmic scale. Where the question or the answer names a colour, the cast
    is at most NAMED_COLOUR_CAST.
    """
    strongest = options.cast
    if constraints.names_colour:
        strongest = min(strongest, NAMED_COLOUR_CAST)
    side = {0.0: 0.0, 0.5: 1.0, 1.0: -1.0}.get(levels["cast"], 0.0)
    return Light(
        brightness=options.brightness ** levels["darkness"],
        haze=options.haze * levels["haze"],
        glare=options.glare * levels["glare"],
        cast=strongest * side,
        blur=options.blur * levels["blur"],
        grain=options.grain * levels["grain"],
    )


def lit(pixels: np.ndarray, light: Light, seed: int) -> np.ndarray:
    """Return uint8 (H, W, 3) in this light, as this camera sees it. ``seed`` decides where the
    glare is and the grain's pattern."""
    if light == Light():
        return pixels
    rng = np.random.default_rng([GLARE_STREAM, seed])
    centre = _centre(rng)
    seen = pixels.astype(np.float32) * (light.brightness * cast_gain(light.cast))
    fog = np.asarray(FOG, dtype=np.float32) * light.brightness**0.5
    seen += (fog - seen) * light.haze
    if light.glare > 0:
        seen += (255 - seen) * (light.glare * _spot(pixels.shape[:2], centre))
    if light.blur > 0:
        radius = light.blur * min(pixels.shape[:2])
        whole = Image.fromarray(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
        seen = np.asarray(whole.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    if light.grain > 0:
        seen = seen + rng.normal(0, light.grain, (*pixels.shape[:2], 1)).astype(np.float32)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def cast_gain(cast: float) -> np.ndarray:
    """Return the gains of red, green and blue in light of this cast: float32 (3,)."""
    ends = np.asarray(WARM if cast > 0 else COLD, dtype=np.float32)
    return 1 + (ends - 1) * np.float32(abs(cast))


def glare_share(shape: tuple[int, int], light: Light, seed: int) -> np.ndarray:
    """Return the share of the glare's white in each pixel of a picture of this (height, width):
    (H, W), in [0, 1]. So much of a contrast is lost there."""
    if light.glare == 0:
        return np.zeros(shape, dtype=np.float32)
    centre = _centre(np.random.default_rng([GLARE_STREAM, seed]))
    return light.glare * _spot(shape, centre)[..., 0]


def _centre(rng: np.random.Generator) -> np.ndarray:
    """Draw where the glare is: shares of width and height."""
    return rng.uniform((0.15, 0.1), (0.85, 0.6))


def _spot(shape: tuple[int, int], centre: np.ndarray) -> np.ndarray:
    """The glare of a lamp: (H, W, 1), 1 at its centre (shares of width and height), falling off."""
    height, width = shape
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.12)[..., None]
