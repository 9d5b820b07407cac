"""Predicts the reward of a description from its words, before anything is painted.

Painting an image and rolling it out is what a description costs. A run measures a few descriptions
in each step and learns from them which words promise a high reward:

- ``method.choice: predicted`` submits those descriptions of a group whose predicted reward is
  highest, instead of the first ones;
- ``method.predicted_weight`` gives the scene tokens of *every* fresh description its predicted
  reward, compared with the others of its group, without waiting for an image.

The prediction is a ridge regression on the words and pairs of neighbouring words of the
descriptions measured last. How much it can be trusted is measured, too: its penalty is the one with
the smallest leave-one-out error, and if even that error is no smaller than the variance of the
rewards, nothing is predicted.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 512
"""Number of measured descriptions of a task that the regression uses, the last ones."""
LEAST = 48
"""With fewer measured descriptions nothing is predicted."""
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Ridge penalties that are tried. The features of a description have the norm 1."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Regression:
    """A fitted regression. ``weights`` (V,) and ``centre`` (V,) belong to the V features of
    ``columns``; ``explained`` is the share of the variance of the rewards that is predicted when
    each description is left out of the fit in turn, 0 if nothing is predicted."""

    columns: Mapping[str, int]
    weights: NDArray[np.float64]
    centre: NDArray[np.float64]
    mean: float
    explained: float

    def predict(self, text: str) -> float:
        """Return the predicted reward of a description."""
        features = _features(text)
        known = [self.columns[one] for one in features if one in self.columns]
        scale = 1 / np.sqrt(max(len(features), 1))
        return float(self.mean + scale * self.weights[known].sum() - self.centre @ self.weights)


@dataclass
class RewardPrediction:
    """Learns from measured descriptions, for each task, what reward the words of another one
    promise."""

    kept: int = KEPT
    _measured: dict[str, deque[tuple[str, float]]] = field(default_factory=dict)
    _fitted: dict[str, Regression | None] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks of which descriptions were measured, sorted."""
        return tuple(sorted(self._measured))

    def update(self, task: str, text: str, reward: float) -> None:
        """Add a description and the reward ρ that it got."""
        self._measured.setdefault(task, deque(maxlen=self.kept)).append((text, reward))
        self._fitted.pop(task, None)

    def predict(self, task: str, texts: Sequence[str]) -> list[float]:
        """Return the predicted rewards of descriptions; all 0 if nothing can be predicted."""
        fitted = self._regression(task)
        return [0.0 if fitted is None else fitted.predict(text) for text in texts]

    def explained(self, task: str) -> float:
        """Return the share of the variance of the rewards that the words tell, in [0, 1]."""
        fitted = self._regression(task)
        return 0.0 if fitted is None else fitted.explained

    def state_dict(self) -> dict[str, Any]:
        """Return the measured descriptions by task, as plain values."""
        return {task: [list(one) for one in known] for task, known in self._measured.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the measured descriptions by those of ``state``."""
        self._fitted.clear()
        self._measured = {
            task: deque(((text, reward) for text, reward in known), maxlen=self.kept)
            for task, known in state.items()
        }

    def _regression(self, task: str) -> Regression | None:
        if task not in self._fitted:
            known = self._measured.get(task, ())
            self._fitted[task] = fit(known) if len(known) >= LEAST else None
        return self._fitted[task]


def fit(measured: Sequence[tuple[str, float]] | deque[tuple[str, float]]) -> Regression | None:
    """Return the regression on N measured descriptions, with the penalty of the smallest
    leave-one-out error; None if that explains nothing.

    The leave-one-out residual of a ridge regression is αᵢ / (K + λ)⁻¹ᵢᵢ with α = (K + λ)⁻¹(y − ȳ),
    where K is the matrix of the products of the centred features, (N, N) (Allen 1974).
    """
    found = [_features(text) for text, _ in measured]
    columns = {name: place for place, name in enumerate(dict.fromkeys(n for f in found for n in f))}
    features = np.zeros((len(found), len(columns)))
    for row, names in enumerate(found):
        features[row, [columns[name] for name in names]] = 1 / np.sqrt(max(len(names), 1))
    rewards = np.array([reward for _, reward in measured])
    centre, mean = features.mean(axis=0), float(rewards.mean())
    variance = float(rewards.var())
    if variance == 0:
        return None
    centred = features - centre
    values, vectors = np.linalg.eigh(centred @ centred.T)
    along = vectors.T @ (rewards - mean)
    best: tuple[float, NDArray[np.float64]] | None = None
    for penalty in PENALTIES:
        inverse = 1 / (np.maximum(values, 0) + penalty)
        alpha = vectors @ (inverse * along)
        left_out = alpha / ((vectors**2) @ inverse)
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = error, alpha
    assert best is not None
    explained = 1 - best[0] / variance
    if explained <= 0:
        return None
    return Regression(columns, centred.T @ best[1], centre, mean, explained)


def _features(text: str) -> set[str]:
    """Return the words of a text and its pairs of neighbouring words."""
    words = _WORD.findall(text.casefold())
    return {*words, *(f"{first} {second}" for first, second in pairwise(words))}
