"""Measures what response diversity D depends on: time, family, words, and surroundings.

The diversity reward can teach a policy to describe other rooms only as far as D can be predicted
from the description. It is measured in three ways: on the samples that the runs painted; on
children that are painted for this alone (``words``); and on scenes rendered again in other
surroundings.
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
from experiments.rooms.words import measure_words
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
"""Number of steps over which D hardly falls."""
LEAST_USES = 15
FOLDS = 10
PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
SCENES = 80
SCENES_SEED = 5
Change = Callable[[Surroundings, np.random.Generator], Surroundings]


@dataclass(frozen=True)
class FirstVisits:
    """The first rollouts of synthetic samples, in order of admission: the step, D at this step, the
    seed of the scene that the sample descends from (its family), and the description."""

    steps: np.ndarray
    diversity: np.ndarray
    families: np.ndarray
    descriptions: tuple[str, ...]


def measure_dependence(matrix: Matrix, folders: Folders) -> dict[str, Any]:
    """Write ``dependence.json`` beside the results and return its content. Runs without a directory
    are left out."""
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
    """Return the first visits of a run; None if it has no directory, or fewer than 200 of them."""
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

    ``time``: by the step at which it was measured. ``family``: of what is left then, by the other
    samples of the same family. ``words``: of what is left then, by the words of the description,
    with ridge regression. Each sample is left out of its own prediction, so that a share of 0 or
    less means that nothing can be predicted. ``words`` is that of the best of several penalties,
    which makes it a little too high.
    """
    gap = np.abs(visits.steps[:, None] - visits.steps[None, :])
    others = 1.0 - np.eye(len(visits.steps))
    near = np.exp(-gap / NEAR) * others
    of_time = near @ visits.diversity / near.sum(axis=1)
    left = visits.diversity - of_time
    kin = np.exp(-gap / (2 * NEAR)) * others * (visits.families[:, None] == visits.families)
    of_family = kin @ left / (kin.sum(axis=1) + 1.0)
    last = left - of_family
    of_words = _told_by_words(visits.descriptions, last)
    return {
        "samples": len(left),
        "time": _share(of_time, visits.diversity),
        "family": _share(of_family, left),
        "words": max(_share(told, last) for told in of_words),
    }


def _share(told: np.ndarray, values: np.ndarray) -> float:
    return float(1 - ((values - told) ** 2).mean() / values.var())


def _told_by_words(descriptions: Sequence[str], values: np.ndarray) -> list[np.ndarray]:
    """Return, for each penalty, the predictions by cross-validation with ``FOLDS`` folds, from the
    counts of common words and of all words."""
    said = [re.findall(r"[a-z]+", text.lower()) for text in descriptions]
    known = {word for words in said for word in words}
    common = [w for w in sorted(known) if sum(w in words for words in said) >= LEAST_USES]
    counts = np.array([[*(words.count(w) for w in common), len(words)] for words in said], float)
    counts = (counts - counts.mean(axis=0)) / (counts.std(axis=0) + 1e-9)
    fold = np.random.default_rng(0).permutation(len(values)) % FOLDS
    told = []
    for penalty in PENALTIES:
        predicted = np.empty_like(values)
        for part in range(FOLDS):
            seen, mean = fold != part, values[fold != part].mean()
            x = counts[seen]
            gram = x.T @ x + penalty * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, x.T @ (values[seen] - mean))
            predicted[~seen] = counts[~seen] @ weights + mean
        told.append(predicted)
    return told


def _by_surroundings(matrix: Matrix, policy: Policy, task: str) -> dict[str, Any]:
    """Return D and the sampled accuracy of the starter on the same scenes in other surroundings."""
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
    """Render plain scenes in other surroundings. Things, boxes and room type stay the same."""
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
