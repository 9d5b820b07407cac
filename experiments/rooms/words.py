"""Measures how much of response diversity the words of a description decide, for one model.

Children of seed images that no run has used are painted from random descriptions, and the model
answers each of them 2·G times. Two numbers say whether the diversity reward can teach anything:

- the *reliability* of D: the correlation of D of the first G responses with D of the other G. A
  reward for something that does not repeat is noise;
- the share of the variance of D that *words* explain, on families of children that the regression
  has not seen: of all of it, and of that *within* families, which is all that a description can
  change.

Rejected children have D = 0 without any answer; they are counted, and left out of both numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.rooms.matrix import Cell, Matrix
from syngrpo.evaluation.answering import evaluate
from syngrpo.method.diversity import REWARDED, Scale
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.frame import framed_sample
from syngrpo.painting.gate import Gate
from syngrpo.painting.painter import synthesize
from syngrpo.painting.painting_request import PaintingRequest
from syngrpo.policy.model import Policy
from syngrpo.pool.jobs import Job, Rejected
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo.workflow.run_options import RunOptions
from syngrpo_rooms.dataset import rooms_samples

FAMILIES, CHILDREN = 60, 8
SEED = 11
"""Seed of the images and the descriptions; no run has it."""
LEAST_USES = 12
FOLDS = 10
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def measure_words(matrix: Matrix, policy: Policy, task: str) -> dict[str, Any]:
    """Return how many children were painted and how many rejected, by reason; their mean accuracy,
    and the share of its variance that words explain; and the same for D with its reliability, for
    each value of ``method.diversity_of``."""
    options = matrix.options(Cell(task, "random-scene", matrix.settings.seeds[0]))
    refused: Counter[str] = Counter()
    children = list(_children(options, task, refused))
    group = options.rollout.group_size
    result = evaluate(
        policy,
        [child for child, _ in children],
        prompt_style=options.data.prompt_style or "full",
        max_new_tokens=options.rollout.max_new_tokens,
        samples_per_prompt=2 * group,
    )
    scores = [[answer.accuracy for answer in one.sampled] for one in result.predictions]
    families = np.array([family for _, family in children])
    texts = [str(child.description) for child, _ in children]
    accuracy = np.array(scores).mean(axis=1)
    found: dict[str, Any] = {
        "children": len(children),
        "rejected": dict(refused),
        "accuracy": float(accuracy.mean()),
        "words_accuracy": explained_by_words(texts, accuracy, families),
        "diversity_of": {},
    }
    kind, floor = get_task(task), options.method.advantage_floor
    for name, diversity_of in REWARDED.items():
        halves = np.array(
            [
                [diversity_of(half, Scale(kind.hit, kind.chance(child), floor)) for half in both]
                for (child, _), row in zip(children, scores, strict=True)
                for both in [(row[:group], row[group:])]
            ]
        )
        diversity = halves.mean(axis=1)
        found["diversity_of"][name] = {
            "mean": float(diversity.mean()),
            "reliability": float(np.corrcoef(halves.T)[0, 1]),
            "words": explained_by_words(texts, diversity, families),
            "words_within": explained_by_words(texts, within(diversity, families), families),
        }
    return found


def _children(
    options: RunOptions, task: str, refused: Counter[str]
) -> Iterator[tuple[Sample, int]]:
    """Yield painted children with the number of their family."""
    synthesis = options.synthesis
    generator, gate = synthesis.make_generator(), Gate(synthesis.gate)
    describer = DESCRIBERS.load(str(synthesis.describer))
    for family, seed in enumerate(rooms_samples("train", FAMILIES, SEED, task)):
        constraints = get_task(task).constraints(seed)
        for number in range(CHILDREN):
            rng = np.random.default_rng([SEED, family, number])
            text = describer.describe(seed, rng)
            job = Job(f"{family}-{number}", seed.id, text, int(rng.integers(2**31)),
                      generator.fingerprint, 1)  # fmt: skip
            request = PaintingRequest(
                job, seed, constraints, (), synthesis.gate, synthesis.painting
            )
            result = synthesize(request, generator, gate)
            if isinstance(result, Rejected):
                refused[result.reason] += 1
                continue
            child = framed_sample(seed, result.frame)
            name = f"{seed.id}-{number}"
            yield replace(child, id=name, image=result.image, description=text), family


def within(values: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Return the values (N,) less the mean of their family: what siblings are compared by."""
    return np.array(
        [value - values[families == f].mean() for value, f in zip(values, families, strict=True)]
    )


def explained_by_words(texts: Sequence[str], values: np.ndarray, families: np.ndarray) -> float:
    """Return the share of the variance of ``values`` (N,) that ridge regression on the words of the
    texts predicts, on families left out of it. It is that of the best penalty."""
    said = [re.findall(r"[a-z]+", text.lower()) for text in texts]
    pairs = [[*words, *map(" ".join, pairwise(words))] for words in said]
    uses = Counter(word for words in pairs for word in set(words))
    common = sorted(word for word, count in uses.items() if count >= LEAST_USES)
    counts = np.array([[float(word in words) for word in common] for words in pairs])
    counts = (counts - counts.mean(axis=0)) / (counts.std(axis=0) + 1e-9)
    fold = np.random.default_rng(0).permutation(families.max() + 1)[families] % FOLDS
    told = [cross_validated_ridge(counts, values, fold, penalty) for penalty in PENALTIES]
    return max(explained_share(one, values) for one in told)


def cross_validated_ridge(
    x: np.ndarray, values: np.ndarray, fold: np.ndarray, penalty: float
) -> np.ndarray:
    """Return the prediction of each value, float (N,), by ridge regression on the other folds.

    ``x`` is float (N, K), ``values`` float (N,), ``fold`` int (N,): the fold of each value.
    """
    predicted = np.empty_like(values)
    for part in np.unique(fold):
        seen = fold != part
        mean = values[seen].mean()
        gram = x[seen].T @ x[seen] + penalty * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x[seen].T @ (values[seen] - mean))
        predicted[~seen] = x[~seen] @ weights + mean
    return predicted


def explained_share(predicted: np.ndarray, values: np.ndarray) -> float:
    """Return the share of the variance of the values that the predictions explain; 0 or less if
    they are no better than the mean."""
    return float(1 - ((values - predicted) ** 2).mean() / values.var())
