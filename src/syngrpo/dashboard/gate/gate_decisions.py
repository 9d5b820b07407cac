"""Reads what the gate has decided in a run: shares of its reasons over time, scores with their
limits, and the refused pictures that were kept.

Ended jobs are looked at in parts of the run, a limited number in each, so that reading those of a
long run takes no longer than those of a short one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from syngrpo.dashboard.reading.gate_limits import ScoreLimit, score_title
from syngrpo.pages.pool_gallery import view_words
from syngrpo.pages.run_data import RunData
from syngrpo.painting.frame import Frame, framed_sample
from syngrpo.painting.refused_pictures import kept_pictures, read_view
from syngrpo.pool.store import Pool
from syngrpo.sample import EncodedImage, InputError, Sample

PARTS, OF_PART, LEAST = 60, 100, 12
"""Largest number of parts of a run in which shares are counted, of jobs that are looked at in each,
and the number of jobs below which a part is not divided further."""
LAST = 2000
"""Number of decisions whose scores are looked at, the last ones."""
BINS = 40
EDGE = 0.5
"""Per cent of the values that are drawn in the first or last bin of a histogram although they lie
beyond it."""


@dataclass(frozen=True)
class Part:
    """A part of the run: the cursors of its first and last job, and how many of the jobs that were
    looked at the gate has admitted (reason "") or refused, by reason."""

    first: int
    last: int
    counts: dict[str, int]

    def share(self, reason: str) -> float:
        """Return the share in [0, 1] of the pictures that were refused for this reason."""
        return self.counts.get(reason, 0) / max(1, sum(self.counts.values()))


def decided_parts(pool: Pool, parts: int = PARTS, of_part: int = OF_PART) -> list[Part]:
    """Return the parts of a run with their decisions, in order; without dead jobs, and without
    parts that have no decision."""
    found = []
    with pool.database.read() as connection:
        query = "SELECT COALESCE(MAX(cursor), 0) FROM jobs WHERE cursor IS NOT NULL"
        (last,) = connection.execute(query).fetchone()
        number = max(1, min(parts, last // LEAST))
        edges = np.linspace(0, last, number + 1).round().astype(int).tolist()
        for before, end in pairwise(edges):
            rows = connection.execute(
                "SELECT CASE state WHEN 'admitted' THEN '' ELSE reason END FROM jobs "
                "WHERE cursor > ? AND cursor <= ? AND state IN ('admitted', 'rejected') "
                "ORDER BY cursor LIMIT ?",
                (before, end, of_part),
            ).fetchall()
            counts = Counter(reason for (reason,) in rows)
            if counts:
                found.append(Part(before + 1, end, dict(counts)))
    return found


def steps_of(cursors: Sequence[int], run: RunData) -> list[int]:
    """Return the step in which the trainer learned how each of these jobs ended; [] for a run whose
    metrics do not say it."""
    steps, ended = [], []
    for row in run.metrics:
        numbers = [row.get(f"synthesis/{end}") for end in ("admitted", "rejected", "dead")]
        steps.append(row["step"])
        ended.append(sum(one for one in numbers if isinstance(one, int | float)))
    if not any(ended):
        return []
    places = np.searchsorted(np.cumsum(ended), cursors)
    return [steps[place] for place in np.minimum(places, len(steps) - 1).tolist()]


@dataclass(frozen=True)
class Decision:
    """What the gate has decided about one picture: ``reason`` is "" for an admitted one."""

    reason: str
    scores: dict[str, float]


def last_decisions(pool: Pool, count: int = LAST) -> list[Decision]:
    """Return the ``count`` decisions that were made last."""
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT CASE state WHEN 'admitted' THEN '' ELSE reason END, scores FROM jobs "
            "WHERE cursor IS NOT NULL AND state IN ('admitted', 'rejected') "
            "ORDER BY cursor DESC LIMIT ?",
            (count,),
        ).fetchall()
    return [Decision(reason, json.loads(scores) if scores else {}) for reason, scores in rows]


@dataclass(frozen=True)
class ScoreHistogram:
    """How often a score had which value.

    ``edges`` (N + 1,) are those of the bins. The others are counts (N,): of pictures that were
    ``admitted``, that this check has ``refused``, and that another check has. ``seen`` is the
    number of pictures that have the score: the others were refused before it was computed.
    """

    limit: ScoreLimit
    edges: tuple[float, ...]
    admitted: tuple[int, ...]
    refused: tuple[int, ...]
    elsewhere: tuple[int, ...]

    @property
    def seen(self) -> int:
        return sum(self.admitted) + sum(self.refused) + sum(self.elsewhere)


def score_histograms(
    decisions: Sequence[Decision], limits: Mapping[str, ScoreLimit]
) -> list[ScoreHistogram]:
    """Return a histogram of each score that has more than one value, in the order of the checks;
    after them those of scores of the user's own judges."""
    names = [*limits, *sorted({n for one in decisions for n in one.scores} - limits.keys())]
    found = []
    for name in names:
        limit = limits.get(name) or ScoreLimit(name, score_title(name), "", "", True)
        scored = [one for one in decisions if name in one.scores]
        values = np.array([one.scores[name] for one in scored], float)
        if len(values) and values.min() < values.max():
            found.append(_histogram(limit, scored, values))
    return found


def _histogram(
    limit: ScoreLimit, decisions: Sequence[Decision], values: np.ndarray
) -> ScoreHistogram:
    low, high = np.percentile(values, (EDGE, 100 - EDGE))
    if limit.limit is not None:
        low, high = min(low, limit.limit), max(high, limit.limit)
    if low == high:
        low, high = values.min(), values.max()
    edges = np.linspace(low, high, BINS + 1)
    clipped = np.clip(values, low, high)

    def counted(chosen: list[bool]) -> tuple[int, ...]:
        return tuple(np.histogram(clipped[np.array(chosen, bool)], edges)[0].tolist())

    def by_this(one: Decision, value: float) -> bool:
        return bool(one.reason) and one.reason == limit.reason and limit.refuses(value)

    pairs = list(zip(decisions, values.tolist(), strict=True))
    return ScoreHistogram(
        limit=limit,
        edges=tuple(edges.tolist()),
        admitted=counted([not one.reason for one, _ in pairs]),
        refused=counted([by_this(one, value) for one, value in pairs]),
        elsewhere=counted([bool(one.reason) and not by_this(one, value) for one, value in pairs]),
    )


@dataclass(frozen=True)
class RefusedJob:
    """A refused picture that was kept.

    ``seed`` is the picture that it was painted from, with its labels; ``labelled`` has them where
    they lie in the refused picture, and its size, but no image; None if the copy does not say it.
    ``view`` is how the picture is seen and lit.
    """

    job_id: str
    parent: str
    description: str
    reason: str
    scores: dict[str, float]
    reward: float | None
    seed: Sample
    labelled: Sample | None
    view: str


def refused_jobs(pool: Pool, reason: str, count: int) -> tuple[list[RefusedJob], dict[str, int]]:
    """Return up to ``count`` of the refused pictures that were kept, the newest first, and how many
    there are by reason. ``reason``: only those refused for it; "" for all."""
    kept = kept_pictures(pool.directory)
    files = {one.job_id: one for one in kept}
    with pool.database.read() as connection:
        rows = connection.execute(
            "SELECT j.id, s.id, j.description, j.reason, j.scores, j.reward FROM jobs j "
            "JOIN samples s ON s.number = j.parent WHERE j.state = 'rejected' "
            "AND j.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(files)),),
        ).fetchall()
    by_id = {row[0]: row for row in rows}
    ordered = [by_id[one.job_id] for one in kept if one.job_id in by_id]
    numbers = dict(Counter(row[3] for row in ordered))
    chosen = [row for row in ordered if not reason or row[3] == reason][:count]
    return [_refused(pool, row, files[row[0]].path.read_bytes()) for row in chosen], numbers


def _refused(pool: Pool, row: tuple[Any, ...], copy: bytes) -> RefusedJob:
    job_id, parent, description, reason, scores, reward = row
    seed = pool.seed_of(pool.get(parent))
    seen = read_view(copy)
    return RefusedJob(
        job_id=job_id,
        parent=parent,
        description=description,
        reason=reason,
        scores=json.loads(scores) if scores else {},
        reward=reward,
        seed=seed,
        labelled=_labelled(seed, seen[0]) if seen is not None else None,
        view=view_words(*seen) if seen is not None else "",
    )


def _labelled(seed: Sample, frame: Frame) -> Sample | None:
    """Return the sample with its labels in the frame; None if its task is not installed here."""
    objects = tuple(replace(one, mask=None) for one in seed.objects)
    width, height = frame.size
    try:
        placed = framed_sample(replace(seed, objects=objects), frame)
    except InputError:
        return None
    return replace(placed, image=EncodedImage(width, height, data=b""))
