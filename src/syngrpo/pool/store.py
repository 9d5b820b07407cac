"""The evolving training set: seeds, synthetic samples, lineage, measurements, state.

One SQLite database in WAL mode and content-addressed image files beside it, on a local disk. Any
number of processes open the same directory at once. Nothing is ever deleted: a sample retires.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal, cast

import numpy as np

from syngrpo.pool.database import Database
from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.pool.image_store import ImageFiles, is_whole
from syngrpo.pool.records import Observation, PoolSample, PoolStats, stats_from_tallies
from syngrpo.pool.rows import add_seed, next_change, select_samples
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.summary import Summary
from syngrpo.sample import InputError, Sample

__all__ = ["Observation", "Pool", "PoolSample", "PoolStats"]

_log = logging.getLogger(__name__)
_BATCH = 256


class Pool:
    """An open pool. Its methods may be called from several threads; each process opens its own.

    A disk that is full, a database that stays locked and a directory that cannot be written raise
    InputError from every method that writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = Database(directory)
        self.images = ImageFiles(directory / "images")
        self._summary: Summary | None = None
        with explain_disk_errors(directory):
            self.images.sweep(self._referenced)

    @classmethod
    def open(cls, directory: Path) -> Pool:
        """Opens the pool in a directory, or creates it.

        Raises InputError for a network filesystem, another format version, a file that is no pool.
        """
        return cls(directory)

    @classmethod
    def restore(cls, directory: Path, backup: Path) -> Pool:
        """Opens the pool in a directory after setting it back to the state of a backup.

        The images must still be in the directory. Other Pool objects on it must be closed before.
        """
        pool = cls(directory)
        pool.database.restore(backup)
        return pool

    def backup(self, path: Path) -> None:
        """Writes the exact state (images excepted: they are never changed) to one file."""
        self.database.backup(path)

    def close(self) -> None:
        self.images.close()
        self.database.close()

    def add_seeds(self, samples: Iterable[Sample]) -> int:
        """Adds what is not there yet; returns how many were. Images are copied, not decoded.

        Raises InputError for a sample with a parent, an id that the pool knows with other content,
        an image file that cannot be read. What came before it stays added.
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
        return added

    @contextmanager
    def adding(self, samples: Sequence[Sample]) -> Iterator[list[str]]:
        """Stores the samples' images and yields their digests; rows that refer to them are to be
        committed within. So a row never refers to a file that is not there, and a file that no row
        came to refer to is removed when the pool is opened next."""
        ids = json.dumps([sample.id for sample in samples])
        with self.images.adding(samples, lambda _: self._digests("id", ids)) as digests:
            yield digests

    def draw(
        self,
        count: int,
        policy: SamplingPolicy,
        rng: np.random.Generator,
        avoid: Collection[str] = (),
    ) -> list[PoolSample]:
        """The samples of a batch, in random order; see ``syngrpo.pool.sampling`` for the rules.

        Depends on the state of the pool, the policy, ``avoid`` and ``rng`` alone, and does not
        change the pool, but for a sample whose image file is gone: that is quarantined, logged,
        and another one drawn. ``avoid`` are ids already drawn and not yet observed: they come
        again only when nothing else is left. Raises InputError when there are fewer than
        ``count`` samples.
        """
        while True:
            with self.database.read() as connection:
                summary = self._refreshed(connection, policy)
                numbers = summary.draw(count, rng, _numbers(connection, avoid))
                among = "s.number IN (SELECT value FROM json_each(?))"
                found = select_samples(
                    connection, self.images, among, (json.dumps(sorted(numbers)),)
                )
            if len(numbers) < count:
                raise InputError(
                    f"pool {self.directory} has {len(numbers)} samples to draw from, a batch "
                    f"needs {count}; add data or make the batch smaller"
                )
            gone = [one.sample for one in found if not is_whole(cast(Path, one.sample.image.path))]
            if not gone:
                by_number = dict(zip(sorted(numbers), found, strict=True))
                return [by_number[number] for number in numbers]
            for sample in gone:
                self.quarantine(sample.id, f"image file {sample.image.path} is missing or empty")

    def observe(
        self, observations: Iterable[Observation], policy: SamplingPolicy | None = None
    ) -> None:
        """Records visits, all or none; the same (sample, step, policy version) counts once.

        With a policy its retirement rules are applied to the synthetic samples observed (draws
        with that policy leave such samples out in any case). Raises InputError for an unknown
        sample or a value outside [0, 1].
        """
        with self.database.write() as connection:
            changed = next_change(connection)
            for observation in observations:
                for value in (observation.diversity, observation.accuracy):
                    if not 0.0 <= value <= 1.0:
                        raise InputError(f"{observation} is outside 0..1")
                number = _number(connection, self.directory, observation.sample_id)
                _observe(connection, number, observation, changed, policy)

    def quarantine(self, sample_id: str, reason: str) -> None:
        """Takes a sample out of every further draw, for example when its image does not decode."""
        with self.database.write() as connection:
            number = _number(connection, self.directory, sample_id)
            connection.execute(
                "UPDATE standing SET state = 'quarantined', reason = ?, changed = ? "
                "WHERE number = ? AND state <> 'quarantined'",
                (reason, next_change(connection), number),
            )
        _log.warning("sample %s is quarantined: %s", sample_id, reason)

    def get(self, sample_id: str) -> Sample:
        """One sample in whatever state; its image is the pool's file. Raises InputError."""
        with self.database.read() as connection:
            found = select_samples(connection, self.images, "s.id = ?", (sample_id,))
        if not found:
            raise InputError(f"pool {self.directory} has no sample {sample_id}")
        return found[0].sample

    def children(self, sample_id: str) -> list[PoolSample]:
        """The synthetic samples painted from this one, in whatever state, oldest first."""
        with self.database.read() as connection:
            return select_samples(connection, self.images, "p.id = ?", (sample_id,))

    def lineage(self, sample_id: str) -> list[Sample]:
        """The sample, its parent, and so on up to the seed."""
        line = [self.get(sample_id)]
        while line[-1].parent is not None:
            line.append(self.get(line[-1].parent))
        return line

    def observations(self, sample_id: str) -> list[Observation]:
        """Every visit of a sample, in order."""
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
        """All samples of a kind and state by order of admission, a few at a time in memory."""
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

    def stats(self) -> PoolStats:
        """Counts; costs the same however large the pool is."""
        with self.database.read() as connection:
            tallies = dict(connection.execute("SELECT name, count FROM tallies").fetchall())
        return stats_from_tallies(tallies)

    def _referenced(self, digests: list[str]) -> set[str]:
        """Reads the whole table; there is work for it only after a crash."""
        return self._digests("image", json.dumps(digests))

    def _digests(self, column: str, values: str) -> set[str]:
        query = f"SELECT image FROM samples WHERE {column} IN (SELECT value FROM json_each(?))"
        with self.database.read() as connection:
            return {digest for (digest,) in connection.execute(query, (values,)).fetchall()}

    def _refreshed(self, connection: sqlite3.Connection, policy: SamplingPolicy) -> Summary:
        if self._summary is None or self._summary.policy != policy:
            self._summary = Summary(policy)
        # The first time every row is new and is read in order; later an index finds the changed.
        column, order = ("changed", "+number") if self._summary.cursor else ("+changed", "number")
        changes = connection.execute(
            "SELECT number, dataset, root, depth, state = 'active', visits, "
            "COALESCE(diversity_mean, 0), COALESCE(diversity_last, 0), changed "
            f"FROM standing WHERE {column} > ? ORDER BY {order}",
            (self._summary.cursor,),
        )
        while rows := changes.fetchmany(1 << 15):
            self._summary.update(rows)
        names = connection.execute("SELECT number, name FROM datasets").fetchall()
        self._summary.name(dict(names))
        return self._summary


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
    policy: SamplingPolicy | None,
) -> None:
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
    reason = policy.retires(visits + 1, mean) if policy is not None and depth > 0 else None
    if reason is not None:
        connection.execute(
            "UPDATE standing SET state = 'retired', reason = ? "
            "WHERE number = ? AND state = 'active'",
            (reason, number),
        )
