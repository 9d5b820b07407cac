"""Checks whether the labels of synthetic samples are true, on samples that runs were trained with.

``truth`` checks one sample.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from experiments.rooms.attempt import has_other_configuration, spent
from experiments.rooms.finding import LABELS, write_finding
from experiments.rooms.matrix import Cell, Folders, Matrix
from experiments.rooms.sheet import spread, synthetic_ids
from experiments.rooms.truth import fault
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pages.pool_gallery import open_pool
from syngrpo.painting.frame import FrameOptions
from syngrpo.painting.light import LightOptions
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import RoomsDescriber

CHECKED = 500
"""Number of samples that are checked for each task."""
FRAME = FrameOptions(scale=(0.4, 1), shift=1, horizon=0.57)
LIGHT = LightOptions(brightness=0.12, haze=0.8, glare=0.6, cast=1, blur=0.015, grain=6)
"""View and light of samples that are painted for the check: the ranges of the experiment."""
METHODS = ("syn-grpo", "syn-grpo-no-smoothing", "random-scene")
"""Methods whose runs are checked: for each task the first of these whose runs painted enough."""


@dataclass(frozen=True)
class LabelCheck:
    """The check of one task.

    ``source`` says where the samples come from, ``checked`` is the number of samples, and
    ``faults`` is fault (see ``truth.fault``) → number of samples with it.
    """

    source: str
    checked: int
    faults: dict[str, int]

    def summary(self) -> dict[str, Any]:
        """Return the check as plain data, with the share of true labels and its 95 % Wilson
        interval."""
        true = self.checked - sum(self.faults.values())
        interval = binomtest(true, self.checked).proportion_ci(method="wilson")
        return {
            "source": self.source,
            "checked": self.checked,
            "true": true,
            "share": true / self.checked,
            "interval": [float(interval.low), float(interval.high)],
            "faults": self.faults,
        }


def check_labels(matrix: Matrix, folders: Folders, count: int = CHECKED) -> dict[str, Any]:
    """Check every task, write ``labels.json`` into the folder of the results, and return its
    content.

    The samples of a task are spread evenly over the runs of one method whose directories still
    exist. If these have too few samples, they are painted here from random descriptions, in the
    same way as in training.
    """
    tasks = {task: _check_task(matrix, task, folders, count) for task in matrix.settings.tasks}
    return write_finding(folders, LABELS, {"tasks": {t: c.summary() for t, c in tasks.items()}})


def _check_task(matrix: Matrix, task: str, folders: Folders, count: int) -> LabelCheck:
    for method in METHODS:
        cells = [Cell(task, method, seed) for seed in matrix.settings.seeds]
        runs = {
            cell: painted_in(folders.run(cell)) for cell in cells if _valid(matrix, cell, folders)
        }
        if sum(map(len, runs.values())) >= count:
            seeds = ", ".join(str(cell.seed) for cell in runs)
            commits = {commit for cell in runs for commit in spent(folders, cell).commits}
            source = f"painted in {method}, seeds {seeds} (commit {', '.join(sorted(commits))})"
            return _checked(source, spread([s for found in runs.values() for s in found], count))
    with tempfile.TemporaryDirectory() as folder:
        samples = painted_here(Path(folder), task, count)
        return _checked("painted for this check from random descriptions", samples)


def _checked(source: str, samples: Sequence[Sample]) -> LabelCheck:
    faults = Counter(found for sample in samples if (found := fault(sample)) is not None)
    return LabelCheck(source, len(samples), dict(faults))


def _valid(matrix: Matrix, cell: Cell, folders: Folders) -> bool:
    """Return whether the cell is finished and the directory of its run still exists."""
    run = folders.run(cell)
    if not folders.result(cell).exists() or not run.exists():
        return False
    return not has_other_configuration(run, matrix.options(cell))


def painted_in(run: Path) -> list[Sample]:
    """Return all synthetic samples of a run, in the order in which they were painted."""
    pool = open_pool(run)
    if pool is None:
        return []
    samples = [pool.get(name) for name in synthetic_ids(pool)]
    pool.close()
    return samples


def painted_here(folder: Path, task: str, count: int) -> list[Sample]:
    """Paint and return ``count`` samples from random descriptions and scenes of ``train``, with the
    frame and the light of the experiment. The pool is made in ``folder``."""
    seeds = rooms_samples("train", count // 3 + 1, task=task)
    pool = Pool.open(folder)
    pool.add_seeds(seeds)
    settings = SynthesisSettings(folder, generator="rooms", frame=FRAME, light=LIGHT)
    client = InlineClient(settings, SamplingPolicy(max_unmeasured=2 * count))
    rng, describer = np.random.default_rng(0), RoomsDescriber()
    while len(ids := synthetic_ids(pool)) < count:
        chosen = rng.permutation(len(seeds))[: count - len(ids)].tolist()
        requests = [
            JobRequest(
                seeds[i].id,
                describer.describe(seeds[i], rng),
                int(rng.integers(2**31)),
                client.fingerprint,
            )
            for i in chosen
        ]
        client.submit(requests)
    samples = [pool.get(name) for name in ids[:count]]
    client.close()
    pool.close()
    return samples
