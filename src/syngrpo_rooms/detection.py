"""What to detect in a scene: some of its classes, and some that it does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syngrpo_rooms.scenes import LABELS, Scene

MOST_ASKED = 3
MOST_INSTANCES = 4
"""Longer answers would only make a room's lesson longer, not harder."""
ALL_ABSENT = 0.1


@dataclass(frozen=True)
class DetectionQuestion:
    """The asked classes, and the indices into ``scene.things`` that are of one of them.

    ``targets`` are in the order of the asked classes, within a class from left to right.
    """

    classes: tuple[str, ...]
    targets: tuple[int, ...]

    @property
    def text(self) -> str:
        return ", ".join(self.classes)


def detection_question(scene: Scene, rng: np.random.Generator) -> DetectionQuestion:
    """Two or three classes, mostly present; every tenth question asks for absent ones alone."""
    present = list(dict.fromkeys(thing.label for thing in scene.things))
    absent = [label for label in LABELS if label not in present]
    count = int(rng.integers(2, MOST_ASKED + 1))
    wanted = 0 if rng.random() < ALL_ABSENT else int(rng.integers(1, count + 1))
    chosen: list[str] = []
    room = MOST_INSTANCES
    for k in rng.permutation(len(present)).tolist():
        members = sum(thing.label == present[k] for thing in scene.things)
        if len(chosen) < wanted and members <= room:
            chosen.append(present[k])
            room -= members
    chosen += [absent[k] for k in rng.permutation(len(absent))[: count - len(chosen)].tolist()]
    classes = tuple(chosen[k] for k in rng.permutation(len(chosen)).tolist())
    return DetectionQuestion(classes, instances_of(scene, classes))


def instances_of(scene: Scene, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Indices of the things of these classes: class by class, from left to right."""
    found = [
        (classes.index(thing.label), thing.box[0] + thing.box[2], index)
        for index, thing in enumerate(scene.things)
        if thing.label in classes
    ]
    return tuple(index for _, _, index in sorted(found))
