"""The pool: seed and synthetic samples, their measurements and their lineage.

A pool is a directory on a local disk. It holds a SQLite database in WAL mode, and image files named
by their content. Any number of processes can have it open at the same time. Samples are never
deleted: they retire, or are quarantined if their image cannot be read.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Literal, cast

import numpy as np

from syngrpo.formats.lineage_columns import Lineage
from syngrpo.pool.bundles import end_overdue
from syngrpo.pool.database import IMAGES, Database, require_backup
from syngrpo.pool.draw_index import DrawIndex
from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.image_store import ImageFiles, is_intact, is_whole
from syngrpo.pool.jobs import select_failures
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.stored_samples import (
    DescriptionReward,
    Observation,
    PoolSample,
    PoolStats,
    add_seed,
    next_change,
    select_samples,
    stats_from_tallies,
)
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving import wording

_log = logging.getLogger(__name__)
_BATCH = 256
GONE = "is missing or empty"
"""The end of the reason for which a sample without its image is quarantined."""

_LINEAGE = """
SELECT r.id, d.name, t.state, s.created, t.visits, t.diversity_mean,
       (SELECT AVG(accuracy) FROM observations WHERE sample = s.number),
       o.step, o.policy_version, j.id, j.generator, j.seed, j.scores,
       j.policy_version, j.response
FROM samples s
JOIN standing t ON t.number = s.number
JOIN samples r ON r.number = t.root
JOIN datasets d ON d.number = t.dataset
LEFT JOIN jobs j ON j.id = s.job
LEFT JOIN observations o
    ON o.number = (SELECT MIN(number) FROM observations WHERE sample = s.number)
WHERE s.id = ?
"""


class Pool:
    """An open pool. Its methods may be called from several threads; each process opens its own.

    Every method that writes raises InputError when the disk is full, the database stays locked by
    another process, or the directory cannot be written.
    """

    def __init__(self, directory: Path, anew: bool = False) -> None:
        self.directory = directory
        self.database = Database(directory, anew)
        self.images = ImageFiles(directory / IMAGES)
        self._index: DrawIndex | None = None

    @classmethod
    def open(cls, directory: Path) -> Pool:
        """Open the pool in a directory, or create it, and remove the image files that a killed
        process has left without a row. (``pool_reading.open_to_read`` removes nothing.)

        Raises InputError when the directory lies on a network filesystem, and when its ``pool.db``
        is no pool, one of another format version, damaged, or gone although there are images.
        """
        pool = cls(directory)
        try:
            with explain_disk_errors(directory):
                pool.images.sweep(pool._referenced)
        except BaseException:
            pool.close()
            raise
        return pool

    @classmethod
    def anew(cls, directory: Path) -> Pool:
        """Delete the database of the pool in a directory, whatever state it is in, and open an
        empty one. Images stay. No other process may have the pool open."""
        return cls(directory, anew=True)

    @classmethod
    def restore(cls, directory: Path, backup: Path) -> Pool:
        """Set the pool in a directory back to the state of a backup, whatever state it is in, and
        open it.

        The images must still be in the directory. No other process may have the pool open. Raises
        InputError, and changes nothing, when the file is no backup of a pool.
        """
        require_backup(backup)
        pool = cls.anew(directory)
        pool.database.restore(backup)
        return pool

    def backup(self, path: Path) -> None:
        """Write the exact state of the database to one file. Images are left out, because they
        never change."""
        self.database.backup(path)

    def close(self) -> None:
        self.images.close()
        self.database.close()

    def add_seeds(self, samples: Iterable[Sample]) -> int:
        """Add the seeds that the pool does not have yet. Return how many were added.

        Images are copied and not decoded. A known seed whose image file is missing gets it back,
        and can be drawn again if it was quarantined (``wake``). Raises InputError for a sample with
        a parent, for an id that the pool has with other content, and for an image file that cannot
        be read. Samples that were added before the error stay in the pool.
        """
        added = 0
        waiting = iter(samples)
        while batch := list(islice(waiting, _BATCH)):
            for sample in batch:
                if sample.parent is not None or sample.depth != 0:
                    raise InputError(f"sample {sample.id} has a parent; a seed must have none")
            with self.adding(batch) as images, self.database.write() as connection:
                for sample, image in zip(batch, images, strict=True):
                    added += add_seed(connection, sample, image)
        self.wake()
        return added

    @contextmanager
    def adding(self, samples: Sequence[Sample]) -> Iterator[list[str]]:
        """Store the images of samples and yield their digests. The caller commits the rows that
        refer to them inside the block.

        So a row never refers to a missing file. A file without a row is removed by the next
        ``Pool.open``.
        """
        ids = json.dumps([sample.id for sample in samples])
        with self.images.adding(samples, lambda _: self._digests("id", ids)) as digests:
            yield digests

    def draw(
        self,
        count: int,
        sampling: SamplingPolicy,
        rng: np.random.Generator,
        avoid: Collection[str] = (),
        weights: Mapping[str, float] | None = None,
    ) -> list[PoolSample]:
        """Draw the samples of a batch, in random order, by the rules of ``syngrpo.pool.sampling``.

        ``avoid``: ids of samples that are drawn only if no others are left, for example those drawn
        before and not yet observed. ``weights``: the proportions in which datasets are drawn, by
        name; a dataset that is not named is not drawn. With None or an empty mapping datasets are
        drawn in proportion to their numbers of seeds.

        The result depends only on the state of the pool and the arguments. If the image file of a
        drawn sample is missing, that sample is quarantined, a warning is logged, and the batch is
        drawn again. Raises InputError when there are fewer than ``count`` samples.
        """
        while True:
            with self.database.read() as connection:
                index = self._refreshed(connection, sampling)
                numbers = index.draw(count, rng, _numbers(connection, avoid), weights)
                among = "s.number IN (SELECT value FROM json_each(?))"
                found = select_samples(
                    connection, self.images, among, (json.dumps(sorted(numbers)),)
                )
            if len(numbers) < count:
                raise InputError(
                    f"pool {self.directory} has {wording.count(len(numbers), 'sample')} to draw "
                    f"from, a batch needs {count}; add data or make the batch smaller"
                )
            gone = [one.sample for one in found if not is_whole(cast(Path, one.sample.image.path))]
            if not gone:
                by_number = dict(zip(sorted(numbers), found, strict=True))
                return [by_number[number] for number in numbers]
            for sample in gone:
                self.quarantine(sample.id, f"image file {sample.image.path} {GONE}")

    def observe(
        self, observations: Iterable[Observation], sampling: SamplingPolicy | None = None
    ) -> None:
        """Record visits, all or none. The same sample, step and policy version count only once, so
        that a call may be repeated.

        If ``sampling`` is given, observed synthetic samples retire by its rules, and siblings stop
        waiting after its deadline. (A draw with it leaves retired samples out in any case.) Raises
        InputError for an unknown sample and for a value outside [0, 1].
        """
        with self.database.write() as connection:
            changed, last = next_change(connection), None
            for observation in observations:
                for value in (observation.diversity, observation.accuracy):
                    if not 0.0 <= value <= 1.0:
                        raise InputError(f"{observation} is outside 0..1")
                number = _number(connection, self.directory, observation.sample_id)
                _observe(connection, number, observation, changed, sampling)
                last = observation.step if last is None else max(last, observation.step)
            if sampling is not None and last is not None:
                end_overdue(connection, last, sampling.sibling_deadline)

    def record_rewards(self, rewards: Sequence[DescriptionReward]) -> None:
        """Record what descriptions have earned, all or none. A call may be repeated; a job that the
        pool does not have is left out. No draw depends on it."""
        if not rewards:
            return
        with self.database.write() as connection:
            connection.executemany(
                "UPDATE jobs SET reward = ?, settled = ? WHERE id = ?",
                [(one.reward, one.step, one.job_id) for one in rewards],
            )

    def quarantine(self, sample_id: str, reason: str) -> None:
        """Exclude an active sample from further draws, for example because its image cannot be
        decoded. A retired one stays retired, so that ``wake`` does not make it active again."""
        with self.database.write() as connection:
            number = _number(connection, self.directory, sample_id)
            changed = connection.execute(
                "UPDATE standing SET state = 'quarantined', reason = ?, changed = ? "
                "WHERE number = ? AND state = 'active'",
                (reason, next_change(connection), number),
            ).rowcount
        if changed:
            _log.warning("sample %s is quarantined: %s", sample_id, reason)

    def wake(self) -> list[str]:
        """Let quarantined samples be drawn again whose image can be read again: it has the bytes
        that it is named for, and can be decoded. Return their ids."""
        if not self.stats().quarantined:
            return []
        quarantined = chain(
            self.samples("seed", "quarantined"), self.samples("synthetic", "quarantined")
        )
        back = [one.sample.id for one in quarantined if _is_readable(one.sample.image)]
        with self.database.write() as connection:
            connection.execute(
                "UPDATE standing SET state = 'active', reason = NULL, changed = ? "
                "WHERE state = 'quarantined' AND number IN "
                "(SELECT number FROM samples WHERE id IN (SELECT value FROM json_each(?)))",
                (next_change(connection), json.dumps(back)),
            )
        return back

    def get(self, sample_id: str) -> Sample:
        """Return one sample, in any state. Its image is the pool's file.

        Raises InputError when the pool has no such sample.
        """
        with self.database.read() as connection:
            found = select_samples(connection, self.images, "s.id = ?", (sample_id,))
        if not found:
            raise InputError(f"pool {self.directory} has no sample {sample_id}")
        return found[0].sample

    def seed_of(self, sample: Sample) -> Sample:
        """Return the seed that a sample of this pool descends from; a seed is its own."""
        while sample.parent is not None:
            sample = self.get(sample.parent)
        return sample

    def children(self, sample_id: str) -> list[PoolSample]:
        """Return the synthetic samples painted from this sample, in any state, oldest first."""
        with self.database.read() as connection:
            return select_samples(connection, self.images, "p.id = ?", (sample_id,))

    def lineage(self, sample_id: str, prompt: str | None = None) -> Lineage:
        """Return the lineage of a sample, in any state. ``prompt`` is the generator's prompt, which
        is only in the sample's columns.

        Raises InputError when the pool has no such sample.
        """
        with self.database.read() as connection:
            row = connection.execute(_LINEAGE, (sample_id,)).fetchone()
        if row is None:
            raise InputError(f"pool {self.directory} has no sample {sample_id}")
        root, dataset, state, created, visits, diversity, accuracy, step, version, *made = row
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

    def ancestry(self, sample_id: str) -> list[Sample]:
        """Return the sample, its parent, and so on up to the seed."""
        line = [self.get(sample_id)]
        while line[-1].parent is not None:
            line.append(self.get(line[-1].parent))
        return line

    def observations(self, sample_id: str) -> list[Observation]:
        """Return the visits of a sample, in the order in which they were recorded."""
        with self.database.read() as connection:
            number = _number(connection, self.directory, sample_id)
            rows = connection.execute(
                "SELECT step, policy_version, diversity, accuracy FROM observations "
                "WHERE sample = ? ORDER BY number",
                (number,),
            ).fetchall()
        return [Observation(sample_id, *row) for row in rows]

    def samples(
        self,
        kind: Literal["seed", "synthetic"],
        state: Literal["active", "retired", "quarantined"] = "active",
    ) -> Iterator[PoolSample]:
        """Yield all samples of a kind and state, oldest first. Only a few are in memory at a
        time."""
        last = 0
        descent = "s.parent IS NULL" if kind == "seed" else "s.parent IS NOT NULL"
        where = f"{descent} AND t.state = ? AND s.number > ? AND s.number <= ?"
        with self.database.read() as connection:
            highest = connection.execute("SELECT MAX(number) FROM samples").fetchone()[0] or 0
        while last < highest:
            values = (state, last, last + _BATCH)
            with self.database.read() as connection:
                found = select_samples(connection, self.images, where, values)
            yield from found
            last += _BATCH

    def seed_ids(self) -> list[str]:
        """Return the ids of all seeds, in any state, oldest first."""
        query = "SELECT id FROM samples WHERE parent IS NULL ORDER BY number"
        with self.database.read() as connection:
            return [name for (name,) in connection.execute(query).fetchall()]

    def task_names(self) -> list[str]:
        """Return the names of the tasks of all seeds."""
        query = (
            "SELECT DISTINCT CASE WHEN json_valid(body) THEN json_extract(body, '$.task') END "
            "FROM samples WHERE parent IS NULL"
        )
        with self.database.read() as connection:
            found = connection.execute(query).fetchall()
        return [name for (name,) in found if isinstance(name, str)]

    def without_image(self) -> list[str]:
        """Return the ids of the active samples and of the seeds whose image file is missing or
        empty, oldest first. This looks at every file: some seconds for a million samples."""
        query = (
            "SELECT s.id, s.image FROM samples s JOIN standing t ON t.number = s.number "
            "WHERE t.state = 'active' OR t.depth = 0 ORDER BY s.number"
        )
        with self.database.read() as connection:
            rows = connection.execute(query).fetchall()
        return [name for name, digest in rows if not is_whole(self.images.path(digest))]

    def stats(self) -> PoolStats:
        """Return counts of samples and jobs. The time does not depend on the size of the pool."""
        with self.database.read() as connection:
            tallies = dict(connection.execute("SELECT name, count FROM tallies").fetchall())
        return stats_from_tallies(tallies)

    def failures(self) -> dict[str, int]:
        """Return the errors of the dead jobs (tracebacks, mostly) and how many jobs each has ended,
        the most frequent first."""
        with self.database.read() as connection:
            return select_failures(connection)

    def _referenced(self, digests: list[str]) -> set[str]:
        """Return those of these digests to which a row refers.

        This reads the whole table. It is only called for images of processes that were killed.
        """
        return self._digests("image", json.dumps(digests))

    def _digests(self, column: str, values: str) -> set[str]:
        query = f"SELECT image FROM samples WHERE {column} IN (SELECT value FROM json_each(?))"
        with self.database.read() as connection:
            return {digest for (digest,) in connection.execute(query, (values,)).fetchall()}

    def _refreshed(self, connection: sqlite3.Connection, sampling: SamplingPolicy) -> DrawIndex:
        """Return the index of this policy, updated from the table ``standing``."""
        if self._index is None or self._index.sampling != sampling:
            self._index = DrawIndex(sampling)
        # The first time read all rows in the order of the table. Later look up the changed rows by
        # the index on "changed". The plus signs make SQLite choose these query plans.
        column, order = ("changed", "+number") if self._index.cursor else ("+changed", "number")
        changes = connection.execute(
            "SELECT number, dataset, root, depth, "
            "state = 'active' AND waiting IS NULL, visits, COALESCE(diversity_mean, 0), "
            "COALESCE(diversity_last, 0), COALESCE(bundle, 0), changed "
            f"FROM standing WHERE {column} > ? ORDER BY {order}",
            (self._index.cursor,),
        )
        while rows := changes.fetchmany(1 << 15):
            self._index.update(rows)
        names = connection.execute("SELECT number, name FROM datasets").fetchall()
        self._index.set_names(dict(names))
        return self._index


def _is_readable(image: EncodedImage) -> bool:
    try:
        if not is_intact(cast(Path, image.path)):
            return False
        image.decode()
    except (InputError, OSError):
        return False
    return True


def _number(connection: sqlite3.Connection, directory: Path, sample_id: str) -> int:
    row = connection.execute("SELECT number FROM samples WHERE id = ?", (sample_id,)).fetchone()
    if row is None:
        raise InputError(f"pool {directory} has no sample {sample_id}")
    return row[0]


def _numbers(connection: sqlite3.Connection, ids: Collection[str]) -> frozenset[int]:
    rows = connection.execute(
        "SELECT number FROM samples WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return frozenset(number for (number,) in rows.fetchall())


def _observe(
    connection: sqlite3.Connection,
    number: int,
    observation: Observation,
    changed: int,
    sampling: SamplingPolicy | None,
) -> None:
    """Record one visit of the sample with this row number. Retire the sample if the policy says so.
    ``changed`` is the number of the write transaction."""
    recorded = connection.execute(
        "INSERT INTO observations (sample, step, policy_version, diversity, accuracy) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            number,
            observation.step,
            observation.policy_version,
            observation.diversity,
            observation.accuracy,
        ),
    )
    if recorded.rowcount == 0:
        return
    visits, mean, depth = connection.execute(
        "SELECT visits, COALESCE(diversity_mean, 0), depth FROM standing WHERE number = ?",
        (number,),
    ).fetchone()
    mean += (observation.diversity - mean) / (visits + 1)
    connection.execute(
        "UPDATE standing SET visits = ?, diversity_mean = ?, diversity_last = ?, changed = ? "
        "WHERE number = ?",
        (visits + 1, mean, observation.diversity, changed, number),
    )
    reason = sampling.retires(visits + 1, mean) if sampling is not None and depth > 0 else None
    if reason is not None:
        connection.execute(
            "UPDATE standing SET state = 'retired', reason = ? "
            "WHERE number = ? AND state = 'active'",
            (reason, number),
        )
