"""Browses the samples of a pool.

Every query has a limit. What the table ``standing`` has (state, visits, D) is filtered and sorted
without reading the bodies of samples. Task, question and answer are only in the bodies: a search
reads them one after the other until a page is full, and then the samples are not counted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from syngrpo.dashboard.reading.gate_limits import score_title
from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.dashboard.samples.sample_catalogue import (
    PAGE,
    CatalogueEntry,
    CataloguePage,
    Choices,
    SampleFilter,
)
from syngrpo.pages.shown_text import shown_time
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolSample, select_samples
from syngrpo.sample import InputError
from syngrpo.serving.wording import first_line

_ORDERS = {
    "": ("newest first", "t.number DESC"),
    "oldest": ("oldest first", "t.number"),
    "D": ("D, highest first", "t.diversity_mean DESC, t.number"),
    "-D": ("D, lowest first", "t.diversity_mean IS NULL, t.diversity_mean, t.number"),
    "visits": ("most visits first", "t.visits DESC, t.number"),
}
_KINDS = {"seed": "t.depth = 0", "synthetic": "t.depth > 0"}
_STATES = ("active", "retired", "quarantined")
_ANSWER = "REPLACE(json_extract(s.body, '$.answer'), '\"__tuple__\":', '')"
"""The answer in a body, without what marks a tuple in it."""
_LOOKED_AT = 50
"""Samples of each dataset by which its tasks are known."""


class PoolCatalogue:
    """The samples of a pool that is open for reading. ``find`` returns the pool as it is now, None
    without one: a run that goes on from a checkpoint has a new one in its place."""

    def __init__(self, find: Callable[[], Pool | None]) -> None:
        self._find = find

    def choices(self) -> Choices:
        with self._read() as (_, connection):
            datasets = connection.execute("SELECT number, name FROM datasets ORDER BY name")
            names, tasks = [], set()
            for number, name in datasets.fetchall():
                rows = connection.execute(
                    "SELECT DISTINCT json_extract(body, '$.task') FROM (SELECT s.body "
                    "FROM standing t JOIN samples s ON s.number = t.number "
                    "WHERE t.dataset = ? LIMIT ?)",
                    (number, _LOOKED_AT),
                ).fetchall()
                tasks |= {task for (task,) in rows}
                names += [name] if rows and name else []
        return Choices(
            kinds={"": "all", "seed": "seed only", "synthetic": "synthetic only"},
            datasets=names,
            tasks=sorted(tasks),
            states={"": "every state"} | {state: state for state in _STATES},
            orders={key: title for key, (title, _) in _ORDERS.items()},
        )

    def page(self, wanted: SampleFilter, number: int) -> CataloguePage:
        where, values = _conditions(wanted)
        _, order = _ORDERS.get(wanted.order, _ORDERS[""])
        tables = "standing t"
        of_bodies = bool(wanted.task or wanted.search)
        if of_bodies:
            tables += " JOIN samples s ON s.number = t.number"
        query = f"FROM {tables} WHERE {where}"
        with self._read() as (pool, connection):
            total = None
            if not of_bodies:
                (total,) = connection.execute(f"SELECT COUNT(*) {query}", values).fetchone()
            rows = connection.execute(
                f"SELECT t.number {query} ORDER BY {order} LIMIT ? OFFSET ?",
                (*values, PAGE + 1, number * PAGE),
            ).fetchall()
            entries = _entries(pool, connection, [row for (row,) in rows[:PAGE]])
        return CataloguePage(entries, len(rows) > PAGE, total)

    def size(self) -> int:
        with self._read() as (_, connection):
            (size,) = connection.execute("SELECT COUNT(*) FROM standing").fetchone()
        return int(size)

    def entry(self, sample_id: str) -> CatalogueEntry | None:
        with self._read() as (pool, connection):
            rows = connection.execute("SELECT number FROM samples WHERE id = ?", (sample_id,))
            entries = _entries(pool, connection, [number for (number,) in rows.fetchall()])
        if not entries:
            return None
        with _explained(pool):
            lineage = pool.lineage(sample_id)
        more = [
            ("mean accuracy", "" if lineage.accuracy is None else f"{lineage.accuracy:.3f}"),
            ("descends from", "" if lineage.root == sample_id else lineage.root),
            ("in the pool since", shown_time(lineage.admitted)),
            ("first drawn in step", _whole(lineage.step)),
            ("painted by", lineage.generator or ""),
            ("policy version that described it", _whole(lineage.written_by)),
            *(
                (f"gate: {score_title(name)}", f"{score:.4g}")
                for name, score in lineage.scores.items()
            ),
            ("response with the description", lineage.response or ""),
        ]
        return CatalogueEntry(entries[0].sample, (*entries[0].facts, *more))

    @contextmanager
    def _read(self) -> Iterator[tuple[Pool, sqlite3.Connection]]:
        """Open a transaction on the pool as it is now."""
        pool = self._find()
        if pool is None:
            raise InputError("the pool cannot be read now")
        with _explained(pool), pool.database.read() as connection:
            yield pool, connection


@contextmanager
def _explained(pool: Pool) -> Iterator[None]:
    """Raise InputError for whatever is wrong with the pool."""
    try:
        yield
    except InputError:
        raise
    except FAULTS as error:
        where = pool.directory
        raise InputError(f"pool {where} cannot be read: {first_line(error)}") from error


def _entries(
    pool: Pool, connection: sqlite3.Connection, numbers: Sequence[int]
) -> list[CatalogueEntry]:
    """Return the samples of these rows, in this order."""
    of_rows = "{}.number IN (SELECT value FROM json_each(?))"
    rows = (json.dumps(numbers),)
    found = select_samples(connection, pool.images, of_rows.format("s"), rows)
    standing = connection.execute(
        f"SELECT s.id, t.number, t.state, t.reason FROM standing t "
        f"JOIN samples s ON s.number = t.number WHERE {of_rows.format('t')}",
        rows,
    ).fetchall()
    places = {name: numbers.index(number) for name, number, _, _ in standing}
    states = {name: (state, reason) for name, _, state, reason in standing}
    found.sort(key=lambda one: places[one.sample.id])
    return [CatalogueEntry(one.sample, _facts(one, *states[one.sample.id])) for one in found]


def _whole(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _facts(one: PoolSample, state: str, reason: str | None) -> tuple[tuple[str, str], ...]:
    mean = () if one.diversity_mean is None else (("D", f"{one.diversity_mean:.2f}"),)
    told = f"{state}: {reason.replace('_', ' ')}" if reason else state
    return *mean, ("visits", f"{one.visits:,}"), ("state", told)


def _conditions(wanted: SampleFilter) -> tuple[str, tuple[str, ...]]:
    """Return the SQL condition of a filter, and its values."""
    parts, values = ["1"], []
    if wanted.kind in _KINDS:
        parts.append(_KINDS[wanted.kind])
    if wanted.dataset:
        parts.append("t.dataset = (SELECT number FROM datasets WHERE name = ?)")
        values.append(wanted.dataset)
    if wanted.state:
        parts.append("t.state = ?")
        values.append(wanted.state)
    if wanted.task:  # a body begins with its task: this is five times as fast as json_extract
        parts.append(r"s.body LIKE ? ESCAPE '\'")
        values.append(_like('{"task":' + _json(wanted.task) + ",") + "%")
    if wanted.search:
        # question and answer stand before the objects: few other bodies are parsed
        inside = "%" + _like(_json(wanted.search)[1:-1]) + '%,"objects":%'
        parts.append(
            r"s.body LIKE ? ESCAPE '\' AND (json_extract(s.body, '$.question') LIKE ? ESCAPE '\' "
            rf"OR {_ANSWER} LIKE ? ESCAPE '\')"
        )
        plain = "%" + _like(wanted.search) + "%"
        values += [inside, plain, plain]
    return " AND ".join(parts), tuple(values)


def _json(text: str) -> str:
    """Return a text as it stands in a body."""
    return json.dumps(text, ensure_ascii=False)


def _like(text: str) -> str:
    """Return the pattern of LIKE that matches this text only."""
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, "\\" + sign)
    return text
