"""Measures what response diversity D depends on: time, family, words, and surroundings.

The diversity reward can teach a policy which rooms to describe only as far as D can be predicted
from the description. This is measured in three ways:

- ``explained`` predicts D of the samples that a run painted from the time, the family and the words
  of the description.
- ``words.measure_words`` paints children for this alone, from random descriptions, and measures
  whether D repeats and how much of it the words decide.
- ``changed_samples`` renders the same scenes in other surroundings, and D of the starter is
  measured on them. Unlike in painted samples, the light then also falls on the things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rooms.finding import DEPENDENCE, write_finding
from experiments.rooms.matrix import Cell, Folders, Matrix
from experiments.rooms.sheet import synthetic_ids
from experiments.rooms.words import cross_validated_ridge, explained_share, measure_words
from syngrpo.evaluation.answering import evaluate
from syngrpo.pages.pool_gallery import open_pool
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.sample import EncodedImage, Sample
from syngrpo_rooms.dataset import rooms_samples, rooms_scene
from syngrpo_rooms.room_renderer import render
from syngrpo_rooms.starter import STARTER_DIR
from syngrpo_rooms.surroundings import Surroundings, sample_surroundings

METHODS = ("random-scene", "syn-grpo")
NEAR = 10.0
"""Number of steps over which D hardly falls. Samples that were visited at about the same time
predict each other's D; their weight falls to 1/e over so many steps."""
LEAST_USES = 15
"""A word is used for the prediction if at least this many descriptions contain it."""
FOLDS = 10
"""Number of parts in the cross-validation."""
PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Penalties of the ridge regression that are tried."""
SCENES = 80
SCENES_SEED = 5
Change = Callable[[Surroundings, np.random.Generator], Surroundings]


@dataclass(frozen=True)
class FirstVisits:
    """The first rollout (visit) of each of N synthetic samples, in order of admission to the pool.

    - ``steps``: int (N,), the step of the visit
    - ``diversity``: float (N,), D at this visit
    - ``families``: int (N,), the seed of the scene from which the sample descends
    - ``descriptions``: the texts from which the samples were painted
    """

    steps: np.ndarray
    diversity: np.ndarray
    families: np.ndarray
    descriptions: tuple[str, ...]


def measure_dependence(matrix: Matrix, folders: Folders) -> dict[str, Any]:
    """Measure both, write ``dependence.json`` into the folder of the results, and return its
    content. Runs whose directory does not exist are left out."""
    runs = {
        cell.name: explained(visits)
        for task in matrix.settings.tasks
        for method in METHODS
        for seed in matrix.settings.seeds
        if (visits := first_visits(folders.run(cell := Cell(task, method, seed)))) is not None
    }
    starter = load_policy(STARTER_DIR, device="cpu", dtype="float32")
    tasks = matrix.settings.tasks
    found = {
        "runs": runs,
        "words": {task: measure_words(matrix, starter, task) for task in tasks},
        "surroundings": {task: _by_surroundings(matrix, starter, task) for task in tasks},
    }
    return write_finding(folders, DEPENDENCE, found)


def first_visits(run: Path) -> FirstVisits | None:
    """Return the first visits of a run, None if its directory does not exist or has fewer than 200
    of them."""
    pool = open_pool(run)
    if pool is None:
        return None
    rows = []
    for name in synthetic_ids(pool):
        sample, visits = pool.get(name), pool.observations(name)
        if visits:
            family = sample.columns["scene_seed"]
            rows.append((visits[0].step, visits[0].diversity, family, sample.description or ""))
    pool.close()
    if len(rows) < 200:
        return None
    steps, diversity, families, descriptions = zip(*rows, strict=True)
    return FirstVisits(np.array(steps), np.array(diversity), np.array(families), descriptions)


def explained(visits: FirstVisits) -> dict[str, float]:
    """Return which shares of the variance of D can be predicted.

    Three predictions follow each other, each of what the ones before left unexplained:

    - ``time``: from samples that were visited at about the same step,
    - ``family``: from samples of the same family that were visited at about the same step,
    - ``words``: from the words of the description, by ridge regression. It is the largest share of
      several penalties, which makes it a little too high.

    No sample takes part in its own prediction, so a share of 0 or less means that nothing can be
    predicted. ``samples`` is the number of samples.
    """
    gap = np.abs(visits.steps[:, None] - visits.steps[None, :])
    others = 1.0 - np.eye(len(visits.steps))
    near = np.exp(-gap / NEAR) * others
    of_time = near @ visits.diversity / near.sum(axis=1)
    left = visits.diversity - of_time
    kin = np.exp(-gap / (2 * NEAR)) * others * (visits.families[:, None] == visits.families)
    of_family = kin @ left / (kin.sum(axis=1) + 1.0)
    last = left - of_family
    of_words = _predict_from_words(visits.descriptions, last)
    return {
        "samples": len(left),
        "time": explained_share(of_time, visits.diversity),
        "family": explained_share(of_family, left),
        "words": max(explained_share(told, last) for told in of_words),
    }


def _predict_from_words(descriptions: Sequence[str], values: np.ndarray) -> list[np.ndarray]:
    """Return the predictions of the values for each penalty, float (N,).

    The ridge regression uses the counts of common words and the number of all words. In
    cross-validation with ``FOLDS`` parts, each part is predicted from the others.
    """
    said = [re.findall(r"[a-z]+", text.lower()) for text in descriptions]
    known = {word for words in said for word in words}
    common = [w for w in sorted(known) if sum(w in words for words in said) >= LEAST_USES]
    counts = np.array([[*(words.count(w) for w in common), len(words)] for words in said], float)
    counts = (counts - counts.mean(axis=0)) / (counts.std(axis=0) + 1e-9)
    fold = np.random.default_rng(0).permutation(len(values)) % FOLDS
    return [cross_validated_ridge(counts, values, fold, penalty) for penalty in PENALTIES]


def _by_surroundings(matrix: Matrix, policy: Policy, task: str) -> dict[str, Any]:
    """Return surroundings → metric → [value, lower, upper end of its interval], for D and the
    sampled accuracy of the starter on the same scenes in these surroundings."""
    options = matrix.options(Cell(task, "grpo", matrix.settings.seeds[0]))
    found = {}
    for name, change in CHANGES.items():
        measured = evaluate(
            policy,
            changed_samples(task, change),
            prompt_style=options.data.prompt_style or "full",
            max_new_tokens=options.rollout.max_new_tokens,
            samples_per_prompt=options.rollout.group_size,
        )
        found[name] = {
            metric: [measured.metrics[metric], *measured.intervals[metric]]
            for metric in ("diversity/response", "sampled/accuracy")
        }
    return found


def changed_samples(task: str, change: Change, count: int = SCENES) -> list[Sample]:
    """Return samples of the split ``train`` whose pictures were rendered again in other
    surroundings. Things, boxes and room types stay the same.

    ``change`` takes the plain surroundings of a scene and returns the new ones.
    """
    samples = []
    for number, sample in enumerate(rooms_samples("train", count, SCENES_SEED, task)):
        scene, _ = rooms_scene("train", sample.columns["scene_seed"])
        other = change(scene.surroundings, np.random.default_rng([SCENES_SEED, number]))
        room = replace(scene, surroundings=replace(other, room=scene.surroundings.room))
        samples.append(replace(sample, image=EncodedImage.from_pixels(render(room).image)))
    return samples


CHANGES: Mapping[str, Change] = {
    "plain, as they are": lambda plain, rng: plain,
    "dim": lambda plain, rng: replace(plain, light="dim"),
    "harsh spot light": lambda plain, rng: replace(plain, light="spot"),
    "glare": lambda plain, rng: replace(plain, light="glare"),
    "long shadows": lambda plain, rng: replace(plain, light="shadows"),
    "many papers": lambda plain, rng: replace(
        plain, clutter="papers", clutter_colour="yellow", clutter_amount="many"
    ),
    "anything a description can say": lambda plain, rng: sample_surroundings("broad", rng),
    "the same, in glare": lambda plain, rng: replace(
        sample_surroundings("broad", rng), light="glare"
    ),
    "those of ood": lambda plain, rng: sample_surroundings("ood", rng),
}
