"""Scenes seen from farther away, in any light, with decoys around: those of the hard splits, and a
share of those that the starter is trained on.

``seen`` moves the things of a scene as a frame moves kept objects (``syngrpo.painting.frame``):
they shrink about the horizon and shift sideways, all together. The renderer draws the scene at its
new places, so boxes and masks come from it and not from a transform. Questions are asked about the
scene as it was; the view changes no order and no relative size, and decoys are of other classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from syngrpo.boxes import Similarity, box_mask
from syngrpo.painting.light import Light, LightOptions, choose_light
from syngrpo.painting.wishes import AxisName
from syngrpo.tasks import Constraints
from syngrpo_rooms.decoys import allowed_classes, draw_kinds, place_decoys
from syngrpo_rooms.scenes import RoomView, Scene
from syngrpo_rooms.surroundings import in_even_light

FARTHEST = 0.4
"""Smallest scale of a view."""
LEAST_SIDE = 6.0
"""No thing is narrower or lower than this, in pixels: the view is not farther away than that."""
ROUNDING = 1.0
"""Pixels by which a drawn box may be smaller than the thing's."""
HARDEST = LightOptions(brightness=0.12, haze=0.8, glare=0.6, cast=1.0, blur=0.015, grain=12.0)
"""Light and camera at the hardest level of each axis."""
RARELY = 0.2
"""Probability of each of glare, cast, blur and grain."""
MOST_DECOYS = 5

_STREAM = 17


def seen(scene: Scene, seed: int, asked: Sequence[str] = (), names_colour: bool = True) -> Scene:
    """Return the scene under a view, a light and with 0-5 decoys, all drawn from ``seed``.

    ``asked`` are classes that a question names, which decoys must not be of, besides those of the
    scene's things. With ``names_colour`` the light leaves every colour the one that it is named.
    """
    rng = np.random.default_rng([_STREAM, seed])
    view, there = _view(scene, rng)
    things = tuple(replace(thing, box=there.box(thing.box)) for thing in scene.things)
    light = _light(names_colour, rng)
    classes = allowed_classes((*(thing.label for thing in things), *asked))
    kinds = draw_kinds(int(rng.integers(MOST_DECOYS + 1)), classes, rng)
    taken = np.zeros((scene.height, scene.width), dtype=bool)
    for thing in things:
        taken |= box_mask(thing.box, scene.width, scene.height)
    decoys = place_decoys(kinds, taken, view, rng)
    room = in_even_light(scene.surroundings)
    return replace(scene, things=things, surroundings=room, view=view, light=light, decoys=decoys)


def _view(scene: Scene, rng: np.random.Generator) -> tuple[RoomView, Similarity]:
    """Draw from where the scene is seen: how far away, on a logarithmic scale, and where in the
    picture its things are."""
    distance, place = rng.random(2).tolist()
    boxes = [thing.box for thing in scene.things]
    narrowest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)
    least = min(1.0, max(FARTHEST, (LEAST_SIDE + ROUNDING) / narrowest))
    view = RoomView(least**distance)
    leftmost = 1 - view.scale * min(box[0] for box in boxes)
    rightmost = scene.width - 1 - view.scale * max(box[2] for box in boxes)
    right = leftmost + place * (rightmost - leftmost)
    return view, Similarity(view.scale, right, view.down(0) * scene.height)


def _light(names_colour: bool, rng: np.random.Generator) -> Light:
    """Draw a light between none and ``HARDEST``."""
    darkness, haze, which = rng.random(3).tolist()
    glare, cast, blur, grain = (rng.random(4) < RARELY).tolist()
    levels: dict[AxisName, float] = {
        "darkness": darkness,
        "haze": haze,
        "glare": float(glare),
        "cast": (0.5 if which < 0.5 else 1.0) if cast else 0.0,
        "blur": float(blur),
        "grain": float(grain),
    }
    rules = Constraints(keep=(), forbidden_labels=(), names_colour=names_colour)
    return choose_light(rules, levels, HARDEST)
