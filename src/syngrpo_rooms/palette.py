"""The named colours of things and of rooms, as sRGB triples (0-255), and functions to vary them.

Colours of things are saturated, and colours of rooms with the same name are less so. Therefore a
thing in front of a wall of the same colour name is hard to see, but not invisible.
"""

from __future__ import annotations

RGB = tuple[int, int, int]

THING_COLOURS: dict[str, RGB] = {
    "red": (208, 44, 48),
    "orange": (244, 138, 34),
    "yellow": (247, 212, 62),
    "green": (58, 154, 76),
    "blue": (48, 100, 204),
    "purple": (124, 66, 168),
    "pink": (242, 140, 182),
    "black": (46, 46, 52),
}

ROOM_COLOURS: dict[str, RGB] = {
    "white": (240, 238, 233),
    "cream": (243, 232, 206),
    "beige": (220, 200, 168),
    "grey": (176, 178, 182),
    "brown": (150, 108, 74),
    "teal": (96, 156, 156),
    "red": (192, 84, 78),
    "orange": (228, 156, 90),
    "yellow": (236, 208, 120),
    "green": (122, 166, 116),
    "blue": (108, 146, 196),
    "purple": (150, 116, 176),
    "pink": (232, 170, 186),
    "black": (74, 74, 80),
}

WOOD: RGB = (126, 88, 58)
METAL: RGB = (92, 92, 98)
PAPER: RGB = (246, 243, 234)


def shade(colour: RGB, factor: float) -> RGB:
    """Return a darker or a lighter colour.

    A factor up to 1 multiplies each channel. A larger one moves the colour towards white: 1.3 moves
    it by 30 % of the way.
    """
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    return mix(colour, (255, 255, 255), min(factor - 1, 1.0))


def mix(a: RGB, b: RGB, weight: float) -> RGB:
    """Return a mix of two colours: ``a`` for weight 0, ``b`` for weight 1, linear in between."""
    return (
        int(a[0] + (b[0] - a[0]) * weight),
        int(a[1] + (b[1] - a[1]) * weight),
        int(a[2] + (b[2] - a[2]) * weight),
    )
