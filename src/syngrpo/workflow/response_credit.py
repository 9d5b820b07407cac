"""The advantage of each response of a step, from each kind of reward.

A group has one ``Credit`` for accuracy, one for format and one for each custom reward, normalised
separately: if their sum were normalised, the reward that varies most would suppress the others.
``update_rows`` spreads them over the tokens that they are about.

The method normalises within the group. Two options look further: ``method.advantage: batch``
divides by the deviation over the whole step, and ``method.phantom_weight`` scales down what tells
the wrong answers of a group apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from syngrpo.method.advantages import Floats, Part, sample_std
from syngrpo.method.base import Method
from syngrpo.tasks.rewards import Reward
from syngrpo.workflow.groups import Group
from syngrpo.workflow.processes import Processes

ACCURACY = "accuracy"
"""The name of the credit that is about the answer being right."""
SMALLEST_DEVIATION = 1e-4
"""Divisor for a step in which a reward does not vary."""


@dataclass(frozen=True)
class Credit:
    """The advantages of the responses of a group from one kind of reward.

    ``values`` (G,); ``known`` are the places of the responses that have the reward, the others have
    the advantage 0. ``weight`` multiplies the values, ``on`` are the tokens that get them.
    """

    name: str
    values: Floats
    known: tuple[int, ...]
    weight: float
    on: Part

    @property
    def advantages(self) -> Floats:
        """The weighted values (G,)."""
        return np.float32(self.weight) * self.values


def step_credits(
    groups: Sequence[Group], method: Method, rewards: Sequence[Reward], processes: Processes
) -> list[list[Credit]]:
    """Return the credits of each group. All processes call this together."""
    credits = [group_credits(group, method, rewards) for group in groups]
    if method.options.advantage != "batch":
        return credits
    values = [(one.name, one.values[list(one.known)].tolist()) for each in credits for one in each]
    of_step: dict[str, list[float]] = {}
    for name, of_group in processes.gather(values):
        of_step.setdefault(name, []).extend(of_group)
    deviations = {name: max(sample_std(all_), SMALLEST_DEVIATION) for name, all_ in of_step.items()}
    return [
        [replace(one, values=one.values / np.float32(deviations[one.name])) for one in each]
        for each in credits
    ]


def group_credits(group: Group, method: Method, rewards: Sequence[Reward]) -> list[Credit]:
    """Return the credits of a group, normalised within it: accuracy, format, custom rewards."""
    options = method.options
    credits = [
        _credit(ACCURACY, group.accuracy.tolist(), 1.0, "answer", method),
        _credit("format", group.format.tolist(), options.format_weight, "response", method),
    ]
    for reward in rewards:
        if not reward.replaces_accuracy:
            given = group.custom[reward.name]
            credits.append(
                _credit(f"reward {reward.name}", given, reward.weight, reward.on, method)
            )
    return credits if any(group.accuracies) else [_phantom(one, method) for one in credits]


def _credit(
    name: str, rewards: Sequence[float | None], weight: float, on: Part, method: Method
) -> Credit:
    """Return the credit from one reward. Responses without a value are left out of the mean."""
    known = tuple(place for place, value in enumerate(rewards) if value is not None)
    values = np.zeros(len(rewards), dtype=np.float32)
    if known:
        given = [float(value) for value in rewards if value is not None]
        values[list(known)] = method.answer_advantages(given)
    return Credit(name, values, known, weight, on)


def _phantom(credit: Credit, method: Method) -> Credit:
    """Scale down a credit of a group whose answers are all wrong, if it is about the answer."""
    if credit.name == ACCURACY or credit.on == "scene":
        return credit
    return replace(credit, weight=credit.weight * method.options.phantom_weight)
