"""What the pool knows of where a sample comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from syngrpo.formats.lineage import Lineage
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError

_SELECT = """
SELECT r.id, t.state, s.created, t.visits, t.diversity_mean,
       (SELECT AVG(accuracy) FROM observations WHERE sample = s.number),
       o.step, o.policy_version, j.id, j.generator, j.seed, j.scores,
       j.policy_version, j.response
FROM samples s
JOIN standing t ON t.number = s.number
JOIN samples r ON r.number = t.root
LEFT JOIN jobs j ON j.id = s.job
LEFT JOIN observations o
    ON o.number = (SELECT MIN(number) FROM observations WHERE sample = s.number)
WHERE s.id = ?
"""


def lineage(pool: Pool, sample_id: str, dataset: str = "", prompt: str | None = None) -> Lineage:
    """The lineage of a sample in whatever state. ``dataset`` and ``prompt`` are what the sample
    itself says. Raises InputError when the pool has no such sample."""
    with pool.database.read() as connection:
        row = connection.execute(_SELECT, (sample_id,)).fetchone()
    if row is None:
        raise InputError(f"pool {pool.directory} has no sample {sample_id}")
    root, state, created, visits, diversity, accuracy, step, version, *made = row
    job, generator, seed, scores, written_by, response = made
    return Lineage(
        root=root,
        dataset=dataset,
        state=state,
        admitted=datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        visits=visits,
        diversity=diversity,
        accuracy=accuracy,
        step=step,
        policy_version=version,
        job=job,
        generator=generator,
        seed=seed,
        prompt=prompt,
        scores=json.loads(scores) if scores else {},
        written_by=written_by,
        response=response,
    )
