"""What to ask about a picture with labelled objects and no question: its classes, and others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from syngrpo.sample import InputError


@dataclass(frozen=True)
class DetectionQuestion:
    """Asks for the classes of a picture and for ``negatives`` of the others among ``classes``, in
    an order drawn from ``seed`` and the picture's name."""

    classes: Sequence[str]
    negatives: int
    seed: int

    def ask(self, present: Sequence[str], name: str) -> str:
        """Class names joined by commas. Raises InputError when there is none to ask for."""
        asked = list(dict.fromkeys(present))
        absent = [label for label in self.classes if label not in asked]
        draw = random.Random(f"{self.seed} {name}")
        asked += draw.sample(absent, min(self.negatives, len(absent)))
        if not asked:
            raise InputError("the row has no objects and no class could be asked for")
        draw.shuffle(asked)
        return ", ".join(asked)
