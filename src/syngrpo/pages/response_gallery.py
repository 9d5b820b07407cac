"""Reads what the report of a run shows of its kept responses: some groups of the last steps, with
all their answers drawn on the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from syngrpo.pages.labelled_picture import Picture, picture_with_answers, words_beside_picture
from syngrpo.pool.store import Pool
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import Mark

LAST_STEPS = 10
"""Groups are chosen from this many last steps that have responses."""
LONGEST_TEXT = 1000
"""Largest number of characters of a response that are shown."""
LONGEST_LABEL = 80
_COLUMNS = (
    *("step", "group_index", "response_index", "sample_id", "text", "boxes", "points"),
    *("accuracy", "diversity"),
)


@dataclass(frozen=True)
class ShownResponse:
    """One response: its text, perhaps shortened, and the accuracy of its answer."""

    text: str
    accuracy: float


@dataclass(frozen=True)
class ShownGroup:
    """The responses of one step to a sample. ``truth`` is the answer in words if the picture does
    not show it, otherwise ""."""

    step: int
    sample: Sample
    picture: Picture
    truth: str
    diversity: float
    responses: tuple[ShownResponse, ...]

    @property
    def accuracy(self) -> float:
        return sum(one.accuracy for one in self.responses) / len(self.responses)


def last_groups(run_directory: Path, pool: Pool, count: int) -> list[ShownGroup]:
    """Return up to ``count`` groups of the last steps, each of another sample, in order of D: from
    the one whose answers disagree most to the one whose answers agree most.

    Groups whose picture a method has transformed are left out, because the pool does not have it.
    """
    kept = KeptResponses(run_directory)
    last = kept.last_step()
    if last is None:
        return []
    steps = range(last - LAST_STEPS + 1, last + 1)
    rows = kept.read(steps, ~pc.field("transformed"), _COLUMNS).to_pylist()
    of_sample: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        group = of_sample.setdefault(row["sample_id"], [])
        if group and (group[0]["step"], group[0]["group_index"]) != (
            row["step"],
            row["group_index"],
        ):
            group.clear()  # its newest visit is shown
        group.append(row)
    groups = sorted(of_sample.values(), key=lambda group: -group[0]["diversity"])
    places = np.linspace(0, len(groups) - 1, min(count, len(groups))).round().astype(int)
    shown = (_shown(pool, groups[place]) for place in places)
    return [group for group in shown if group is not None]


def _shown(pool: Pool, rows: Sequence[dict[str, Any]]) -> ShownGroup | None:
    """Return a group; None if the pool does not have its sample."""
    try:
        sample = pool.get(rows[0]["sample_id"])
    except InputError:
        return None
    answers = [(row["accuracy"], response_marks(row)) for row in rows]
    return ShownGroup(
        step=rows[0]["step"],
        sample=sample,
        picture=picture_with_answers(sample, answers),
        truth=words_beside_picture(sample),
        diversity=rows[0]["diversity"],
        responses=tuple(ShownResponse(_short(row["text"]), row["accuracy"]) for row in rows),
    )


def response_marks(row: Mapping[str, Any]) -> list[Mark]:
    """Return the marks of a kept response, a row with the columns ``response_index``, ``accuracy``,
    ``boxes`` and ``points``. Their labels say which response it is, and its accuracy."""
    name = f"{row['response_index'] + 1}: {row['accuracy']:.2f}"

    def label(one: Mapping[str, Any]) -> str:
        return f"{name} {(one['label'] or '')[:LONGEST_LABEL]}".strip()

    boxes = [
        Mark(label(one), box=(one["x1"], one["y1"], one["x2"], one["y2"]))
        for one in row["boxes"]
        if _is_drawn(one, "x1", "y1", "x2", "y2")
    ]
    points = [one for one in row["points"] if _is_drawn(one, "x", "y")]
    return boxes + [Mark(label(one), point=(one["x"], one["y"])) for one in points]


def _is_drawn(one: Mapping[str, Any] | None, *names: str) -> bool:
    """Return whether a box or a point of a file has all of its coordinates."""
    return one is not None and all(
        one[name] is not None and math.isfinite(one[name]) for name in names
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"
