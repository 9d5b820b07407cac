"""The scene grammar: which labelled things a room holds and where they stand.

Coordinates are pixels of the picture, x right, y down. ``unit`` is 1/128 of the shorter side, so a
scene keeps its look at every size. Things never depend on the surroundings: a scene's layout is
drawn from its own random stream, and every layout fits every surroundings (the floor line stays
between ``WALL_FOOT`` and ``FLOOR_HEAD``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syngrpo.boxes import intersection
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
"""Width and height of a small one of each class, in units."""

LABELS = tuple(SMALL_SIZES)
WALL_LABELS = ("clock", "mirror")
TABLE_TOP_LABELS = ("cup", "vase", "plant", "box")
SIZES = ("small", "large")
SCALES = {"small": (0.96, 1.04), "large": (1.62, 1.74)}

WALL_FOOT, FLOOR_HEAD = 0.47, 0.64
"""Wall things end above the first, floor things end below the second (share of the height)."""
MAX_OVERLAP = 0.02
"""Two boxes may share at most this part of the smaller one."""


@dataclass(frozen=True)
class Thing:
    """One labelled thing. ``box`` is the drawn extent before anything stands in front of it."""

    label: str
    colour: str
    size: str
    box: Box
    flip: bool = False
    tone: float = 1.0


@dataclass(frozen=True)
class Scene:
    """A room: its things in painting order (back to front), surroundings, and the seed of the
    small details (window position, pattern phase, clutter places)."""

    split: str
    width: int
    height: int
    things: tuple[Thing, ...]
    surroundings: Surroundings
    detail_seed: int

    @property
    def unit(self) -> float:
        """Pixels in 1/128 of the shorter side."""
        return min(self.width, self.height) / 128


def sample_scene(split: Split, seed: int, size: int | tuple[int, int] = 128) -> Scene:
    """The scene of a split with this seed, the same everywhere; different splits never share one.

    ``size`` is the side of a square picture or (width, height), in pixels. Raises InputError for an
    unknown split or a size under 64.
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
    """(label, colour, size) of 2-6 things; classes repeat often, so that a phrase has to choose."""
    count = int(rng.choice((2, 3, 4, 5, 6), p=(0.1, 0.2, 0.3, 0.25, 0.15)))
    labels: list[str] = []
    while len(labels) < count:
        label = LABELS[int(rng.integers(len(LABELS)))]
        most = count - len(labels)
        repeats = min(int(rng.choice((1, 2, 3), p=(0.5, 0.32, 0.18))), most)
        labels += [label] * repeats
    colours = tuple(THING_COLOURS)
    # Few colours in a scene make the colour alone ambiguous.
    here = rng.choice(len(colours), size=min(len(colours), int(rng.integers(2, 6))), replace=False)
    kinds = []
    for label in labels:
        colour = colours[int(here[int(rng.integers(len(here)))])]
        kinds.append((label, colour, SIZES[int(rng.random() < 0.45)]))
    return kinds


def _place(
    kinds: list[tuple[str, str, str]], width: int, height: int, rng: np.random.Generator
) -> tuple[Thing, ...]:
    """Things that found room, in painting order. Wide ones go first: they are hardest to place."""
    unit = min(width, height) / 128
    placed: list[tuple[float, Thing]] = []
    laid: list[Box] = []  # tables that carry something already
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
    """A box on the wall or standing on the floor, anywhere."""
    margin = 0.015 * width
    x = float(rng.uniform(margin, width - w - margin))
    if label in WALL_LABELS:
        bottom = float(rng.uniform(h + 0.03 * height, max(WALL_FOOT * height, h + 0.04 * height)))
    else:
        bottom = float(rng.uniform(max(FLOOR_HEAD * height, h + 0.03 * height), 0.98 * height))
    return (x, bottom - h, x + w, bottom)


def _on_table(table: Box, w: float, h: float, rng: np.random.Generator) -> Box:
    """A box whose foot stands on the table's top."""
    x1, y1, x2, y2 = table
    x = float(rng.uniform(x1 + 0.08 * (x2 - x1), max(x2 - 0.08 * (x2 - x1) - w, x1 + 1)))
    bottom = y1 + 0.1 * (y2 - y1)
    return (x, bottom - h, x + w, bottom)


def _apart(a: Box, b: Box) -> bool:
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return intersection(a, b) <= MAX_OVERLAP * smaller
