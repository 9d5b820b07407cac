"""Draws scenes: which labelled things are in a room, and where they stand.

Coordinates are pixels of the picture, x to the right, y down. The sizes of things are in units of
1/128 of the picture's shorter side, so that scenes look alike at every picture size.

Things are placed without regard to the surroundings. Every placement fits every room, because the
line between wall and floor always lies between ``WALL_FOOT`` and ``FLOOR_HEAD``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from syngrpo.boxes import intersection
from syngrpo.painting.light import Light
from syngrpo.sample import Box, InputError
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.surroundings import SPLITS, Split, Surroundings, sample_surroundings

SMALL_SIZES: dict[str, tuple[float, float]] = {
    "chair": (18, 25),
    "sofa": (32, 18),
    "table": (28, 18),
    "bed": (35, 19),
    "lamp": (15, 31),
    "plant": (18, 24),
    "vase": (14, 20),
    "ball": (15, 15),
    "box": (17, 16),
    "cup": (17, 15),
    "clock": (16, 16),
    "mirror": (14, 21),
}
"""Width and height of a small thing of each class, in units."""

LABELS = tuple(SMALL_SIZES)
PLURALS = {label: label + "s" for label in LABELS} | {"box": "boxes"}
WALL_LABELS = ("clock", "mirror")
"""Classes that hang on the wall. All others stand on the floor or on a table."""
TABLE_TOP_LABELS = ("cup", "vase", "plant", "box")
"""Classes whose small things may stand on a table."""
SIZES = ("small", "large")
SCALES = {"small": (0.96, 1.04), "large": (1.62, 1.74)}
"""Size → range from which the factor on ``SMALL_SIZES`` is drawn."""

WALL_FOOT, FLOOR_HEAD = 0.47, 0.64
"""The lower edge of a thing on the wall is above the first, that of a thing on the floor is below
the second. Both are distances from the picture's upper edge, as shares of its height."""
MAX_OVERLAP = 0.02
"""Two boxes may overlap by at most this share of the smaller one."""


@dataclass(frozen=True)
class Thing:
    """One labelled thing.

    ``size`` is "small" or "large". ``box`` (xyxy in pixels) is its whole extent, including parts
    that are hidden behind other things. With ``flip`` it is drawn mirrored. ``tone`` is a factor on
    its colour.
    """

    label: str
    colour: str
    size: str
    box: Box
    flip: bool = False
    tone: float = 1.0


@dataclass(frozen=True)
class RoomView:
    """From how far away a room is seen.

    ``scale`` is the size of the labelled things and of the room, as a share of their size seen
    close up. They shrink about the ``horizon``, whose height is a share of the picture's, measured
    from its top.
    """

    scale: float = 1.0
    horizon: float = 0.5

    def down(self, height: float) -> float:
        """Return where a height lies that seen close up is ``height``, both as shares of the
        picture's height from its top."""
        return (1 - self.scale) * self.horizon + self.scale * height


@dataclass(frozen=True)
class Scene:
    """A room with its things, in the order in which they are painted (back to front).

    ``width`` and ``height`` are in pixels. ``detail_seed`` decides small details: where the window
    is, how the patterns are shifted, where clutter lies. ``view`` says from how far away the room
    is seen, where ``things`` lie already; ``light`` falls on the whole picture. ``decoys`` are
    further things, which have no label.
    """

    split: str
    width: int
    height: int
    things: tuple[Thing, ...]
    surroundings: Surroundings
    detail_seed: int
    view: RoomView = field(default_factory=RoomView)
    light: Light = field(default_factory=Light)
    decoys: tuple[Thing, ...] = ()

    @property
    def unit(self) -> float:
        """Number of pixels in 1/128 of the shorter side."""
        return min(self.width, self.height) / 128


def sample_scene(split: Split, seed: int, size: int | tuple[int, int] = 128) -> Scene:
    """Return the scene that belongs to this seed in a split. Different splits have different scenes
    for the same seed.

    It is as seen close up, also in a hard split (``views.seen`` returns it as its samples show it).
    ``size`` is the side of a square picture or (width, height), in pixels. Raises InputError for an
    unknown split or a side below 64 pixels.
    """
    if split not in SPLITS:
        raise InputError(f"unknown rooms split {split!r}; use one of {', '.join(SPLITS)}")
    width, height = (size, size) if isinstance(size, int) else size
    if min(width, height) < 64:
        raise InputError(f"rooms of {width}x{height} pixels are too small; use 64 or more a side")
    rng = np.random.default_rng([SPLITS.index(split), seed])
    surroundings = sample_surroundings(split, rng)
    detail_seed = int(rng.integers(2**31))
    while True:
        things = _place(_draw_kinds(rng), width, height, rng)
        if len(things) >= 2:
            return Scene(split, width, height, things, surroundings, detail_seed)


def _draw_kinds(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Draw (label, colour, size) of 2-6 things. A class often occurs two or three times, so
    that a referring expression has to distinguish things of one class."""
    count = int(rng.choice((2, 3, 4, 5, 6), p=(0.1, 0.2, 0.3, 0.25, 0.15)))
    labels: list[str] = []
    while len(labels) < count:
        label = LABELS[int(rng.integers(len(LABELS)))]
        most = count - len(labels)
        repeats = min(int(rng.choice((1, 2, 3), p=(0.5, 0.32, 0.18))), most)
        labels += [label] * repeats
    colours = tuple(THING_COLOURS)
    # The colours of a scene are drawn from 2-5 only, so that things of a class often share one.
    here = rng.choice(len(colours), size=min(len(colours), int(rng.integers(2, 6))), replace=False)
    kinds = []
    for label in labels:
        colour = colours[int(here[int(rng.integers(len(here)))])]
        kinds.append((label, colour, SIZES[int(rng.random() < 0.45)]))
    return kinds


def _place(
    kinds: list[tuple[str, str, str]], width: int, height: int, rng: np.random.Generator
) -> tuple[Thing, ...]:
    """Place the things and return them in painting order, back to front.

    Wide things are placed first, because they need the most space. A thing is left out if none of
    30 random places is free.
    """
    unit = min(width, height) / 128
    placed: list[tuple[float, Thing]] = []
    laid: list[Box] = []  # boxes of the tables on which something stands
    for label, colour, size in sorted(kinds, key=lambda kind: -SMALL_SIZES[kind[0]][0]):
        scale = unit * float(rng.uniform(*SCALES[size]))
        w, h = SMALL_SIZES[label][0] * scale, SMALL_SIZES[label][1] * scale
        flip, tone = bool(rng.random() < 0.5), float(rng.uniform(0.94, 1.06))
        boxes = [thing.box for _, thing in placed]
        tables = [
            thing
            for _, thing in placed
            if thing.label == "table" and label in TABLE_TOP_LABELS and thing.box not in laid
        ]
        for attempt in range(30):
            table = tables[-1] if tables and size == "small" and attempt < 4 else None
            if table is not None:
                box = _on_table(table.box, w, h, rng)
                others = [other for other in boxes if other != table.box]
            else:
                box = _free_spot(label, w, h, width, height, rng)
                others = boxes
            if box[1] > 0.02 * height and all(_apart(box, other) for other in others):
                depth = box[3] if table is None else table.box[3] + 0.01
                depth = -1.0 if label in WALL_LABELS else depth
                laid += [table.box] if table is not None else []
                placed.append((depth, Thing(label, colour, size, box, flip, tone)))
                break
    return tuple(thing for _, thing in sorted(placed, key=lambda item: item[0]))


def _free_spot(
    label: str, w: float, h: float, width: int, height: int, rng: np.random.Generator
) -> Box:
    """Draw a box of size w x h: on the wall for the classes that hang there, standing on the floor
    for all others. It may overlap other boxes."""
    margin = 0.015 * width
    x = float(rng.uniform(margin, width - w - margin))
    if label in WALL_LABELS:
        bottom = float(rng.uniform(h + 0.03 * height, max(WALL_FOOT * height, h + 0.04 * height)))
    else:
        bottom = float(rng.uniform(max(FLOOR_HEAD * height, h + 0.03 * height), 0.98 * height))
    return (x, bottom - h, x + w, bottom)


def _on_table(table: Box, w: float, h: float, rng: np.random.Generator) -> Box:
    """Draw a box of size w x h that stands on top of the table with this box."""
    x1, y1, x2, y2 = table
    x = float(rng.uniform(x1 + 0.08 * (x2 - x1), max(x2 - 0.08 * (x2 - x1) - w, x1 + 1)))
    bottom = y1 + 0.1 * (y2 - y1)
    return (x, bottom - h, x + w, bottom)


def _apart(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap by at most ``MAX_OVERLAP`` of the smaller one."""
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return intersection(a, b) <= MAX_OVERLAP * smaller
