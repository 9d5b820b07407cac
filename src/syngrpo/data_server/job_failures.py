"""Tells the user of a run that jobs of synthesis fail: a generator or a judge raises an error.

Such a job is given up after some attempts (*dead*), and training goes on without its image. So the
run succeeds, and without these warnings nobody would see that not one image was painted. ``syngrpo
train`` and the client of other trainers (``DataClient``) give them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from syngrpo.pool.jobs import error_line
from syngrpo.pool.store import Pool

logger = logging.getLogger(__name__)

FIRST_JOBS = 20
"""If the first jobs all fail, and are at least this many, a warning says so while training."""
SHOWN = 300
"""Largest number of characters of an error in a warning."""


class JobFailures:
    """Watches the jobs of the run in ``directory``, in the main process.

    Whoever trains calls ``step`` after every step, and ``end`` when all workers have ended.
    ``traceback`` says where the traceback is found; it is logged at level INFO.
    """

    def __init__(self, directory: Path, traceback: str = "log.txt has the traceback") -> None:
        self._directory = directory
        self._traceback = traceback
        self._failed = 0
        self._watching = True

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Warn once if all jobs so far have failed. ``metrics`` are the numbers of the step by
        the names of ``metrics.jsonl``; a missing one is 0."""
        self._failed += int(metrics.get("synthesis/dead", 0))
        if metrics.get("synthesis/admitted") or metrics.get("synthesis/rejected"):
            self._watching = False
        if self._watching and self._failed >= FIRST_JOBS:
            self._watching = False
            self._warn("training goes on without new images")

    def end(self) -> None:
        """Warn if jobs of the run have failed."""
        self._warn("no images were painted from them")

    def _warn(self, consequence: str) -> None:
        with closing(Pool.open(self._directory)) as pool:
            jobs, errors = pool.stats().jobs, pool.failures()
        if not errors:
            return
        ended = sum(jobs[state] for state in ("admitted", "rejected", "dead"))
        lines: Counter[str] = Counter()
        for error, number in errors.items():
            lines[error_line(error)] += number
        ((line, _),) = lines.most_common(1)
        logger.warning(
            "%d of %d synthesis jobs failed, most often with: %s; %s. Correct synthesis.generator "
            "or synthesis.judges; %s",
            jobs["dead"],
            ended,
            line[:SHOWN],
            consequence,
            self._traceback,
        )
        logger.info("%s", next(error for error in errors if error_line(error) == line))
