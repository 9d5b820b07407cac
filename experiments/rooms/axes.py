"""Measures where the pictures of a run lie on the axes that a description can choose, over the run.

The axes are those of the view and the light (``painting.frame``, ``painting.light``) and the number
of decoys. A level is 0 where nothing is changed, and 1 where the bounds of the configuration are
reached; of the distance and the darkness it is measured on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.rooms.sheet import synthetic_ids
from syngrpo.painting.frame import FrameOptions
from syngrpo.painting.light import LightOptions
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.workflow.run_options import RunOptions
from syngrpo_rooms.decoys import MOST, read_decoys

AXES = ("distance", "darkness", "haze", "glare", "cast", "blur", "grain", "decoys")
PARTS = 6
"""Number of parts of a run."""
BINS = 3
"""Number of bins of the levels: low, middle, high."""

Table = Mapping[str, Sequence[Sequence[Sequence[float]]]]
"""Axis → for each part of the run, for each bin: number of pictures at their first visit, mean
accuracy, mean D. The means are 0 where there are no pictures."""


def axes_of(pool: Pool, options: RunOptions) -> dict[str, list[list[list[float]]]]:
    """Return the table of the synthetic samples of a run, each at its first visit."""
    rows, steps = [], []
    for name in synthetic_ids(pool):
        visits = pool.observations(name)
        if visits:
            first, levels = visits[0], levels_of(pool.get(name), options)
            steps.append(first.step)
            rows.append([*levels, first.accuracy, first.diversity])
    if not rows:
        return {}
    values = np.array(rows)
    part = np.minimum(PARTS * np.array(steps) // (options.trainer.steps + 1), PARTS - 1)
    bins = np.minimum((values[:, : len(AXES)] * BINS).astype(int), BINS - 1)
    return {
        axis: [
            [_cell(values[(part == p) & (bins[:, number] == b), -2:]) for b in range(BINS)]
            for p in range(PARTS)
        ]
        for number, axis in enumerate(AXES)
    }


def _cell(found: np.ndarray) -> list[float]:
    """Return the number of pictures and their means. ``found`` is float (N, 2)."""
    if not len(found):
        return [0, 0.0, 0.0]
    return [len(found), *(float(f"{value:.4g}") for value in found.mean(axis=0))]


def levels_of(sample: Sample, options: RunOptions) -> list[float]:
    """Return the level in [0, 1] of each of ``AXES`` of a synthetic sample."""
    made = sample.columns["synthesis"]
    frame, light = options.synthesis.frame, options.synthesis.light
    decoys, _ = read_decoys((sample.description or "").lower())
    return [
        _distance(made["frame"]["scale"], frame),
        *_light_levels(made["light"], light),
        len(decoys or ()) / MOST,
    ]


def _distance(scale: float, options: FrameOptions) -> float:
    least, most = options.scale
    return 0.0 if least == most else _within(math.log(most / scale) / math.log(most / least))


def _light_levels(made: Mapping[str, Any], options: LightOptions) -> list[float]:
    darkest = math.log(options.brightness)
    levels = [_within(math.log(made["brightness"]) / darkest) if darkest else 0.0]
    for name in ("haze", "glare", "cast", "blur", "grain"):
        bound = getattr(options, name)
        levels.append(_within(abs(made[name]) / bound) if bound else 0.0)
    return levels


def _within(level: float) -> float:
    return min(max(level, 0.0), 1.0)


@dataclass(frozen=True)
class Movement:
    """How the pictures of one run moved along the axes, from its first third to its last.

    - ``towards_diversity``: sum over axes and bins of the change of the share of the pictures times
      how far D of the pictures there is above the mean D of the same part of the run. Positive if
      the pictures moved to where the answers disagree more. D falls during training, so D of
      different parts cannot be compared.
    - ``harder``: the same with the accuracy of ``yardstick`` in place of D, with the sign changed:
      how much less accurate a policy is expected to be on the late pictures than on the early
      ones, in percentage points, if the axes add up.
    """

    towards_diversity: float
    harder: float


def movement(table: Table, yardstick: Table) -> Movement | None:
    """Return the movement of a run. ``yardstick`` is the table of a run with random descriptions
    for the same task and seed. None if either has no pictures early or late."""
    if not table or not yardstick:
        return None
    diverse = harder = 0.0
    for axis in AXES:
        counts = np.array(table[axis])[..., 0]  # (PARTS, BINS)
        early, late = counts[: PARTS // 3].sum(axis=0), counts[-PARTS // 3 :].sum(axis=0)
        if not early.sum() or not late.sum():
            return None
        change = late / late.sum() - early / early.sum()
        diverse += float(change @ _means(table[axis], 2))
        harder -= 100 * float(change @ _means(yardstick[axis], 1))
    return Movement(diverse, harder)


def _means(parts: Sequence[Sequence[Sequence[float]]], column: int) -> np.ndarray:
    """Return how far the mean of a column in each bin is above that of all bins in the same part of
    the run, as the mean over the pictures there, float (BINS,). 0 for a bin without pictures."""
    values = np.array(parts)
    counts, means = values[..., 0], values[..., column]
    of_part = (counts * means).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    above = counts * (means - of_part[:, None])
    return above.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)


def mean_bins(table: Table, axis: str) -> np.ndarray:
    """Return the mean bin of an axis in each part of the run, float (PARTS,): 0 if all pictures are
    in the lowest one, 1 if all are in the highest; NaN for a part without pictures."""
    counts = np.array(table[axis])[..., 0]
    return _ratio(counts @ np.linspace(0, 1, BINS), counts.sum(axis=1))


def accuracy_at(table: Table, axis: str, bin_: int) -> np.ndarray:
    """Return the mean accuracy of the pictures in a bin in each part of the run, float (PARTS,);
    NaN for a part without such pictures."""
    values = np.array(table[axis])[:, bin_]
    return np.where(values[:, 0] > 0, values[:, 1], np.nan)


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.where(under > 0, over / np.maximum(under, 1), np.nan)
