"""Reads what a damaged database of a pool still holds, and copies it into an empty pool.

SQLite refuses a query as soon as it meets a damaged page. A table is therefore read in ranges of
row numbers: a range that cannot be read is halved, until only the rows on damaged pages are left
out. ``repair`` calls ``copy_rows`` for the copies in checkpoints and for the damaged file itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import compress
from pathlib import Path
from typing import Any

from syngrpo.pool.database import read_only

TABLES = ("datasets", "samples", "standing", "jobs", "observations")
"""The tables that are copied, in this order. All have row numbers. The tallies are counted anew."""

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What a query on a damaged file raises. The second comes from a message of SQLite that quotes a
damaged name."""

BEYOND = 20_000
"""Row numbers after the last readable one at which is looked if the end of a table is damaged."""

STRANGE = 0.01
"""Largest share of samples with another id under the same number at which two files count as states
of the same pool. Damage can change single ids."""

Row = Sequence[Any]


def copy_rows(source: Path, target: sqlite3.Connection) -> dict[str, int]:
    """Copy all rows that can be read from a database file into an open pool. Return the number of
    rows by table; {} if nothing can be read.

    A row replaces the one with its number, unless that has another id; samples, which never change,
    are only added. Nothing is copied if the numbers mean other samples than in the pool. References
    are not checked.
    """
    with closing(read_only(source)) as connection:
        found = _ids(connection, "samples")
        strange = _strange(found, _ids(target, "samples"))
        if not found or len(strange) > STRANGE * len(found):
            return {}
        return {table: _copy_table(connection, target, table) for table in TABLES}


def readable_rows(source: Path) -> dict[str, int]:
    """Return the number of samples and of jobs that can be read from a database file."""
    with closing(read_only(source)) as connection:
        return {table: len(_ids(connection, table)) for table in ("samples", "jobs")}


def unusable_row(connection: sqlite3.Connection) -> str | None:
    """Return which row of a pool holds a value that cannot be used, in a few words; None if none
    does. SQLite finds damaged pages, but not that a value within one has changed. Raises an error
    of DAMAGE for a value that cannot be read at all."""
    for table in TABLES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for row in connection.execute(f"SELECT * FROM {table}"):
            if not _whole(columns, row):
                return f"row {row[0]} of {table} holds a damaged value"
    return None


def _ids(connection: sqlite3.Connection, table: str) -> dict[int, str]:
    return dict(_readable(connection, table, ("number", "id")))  # type: ignore[arg-type]


def _strange(found: Mapping[int, str], known: Mapping[int, str]) -> set[int]:
    """Return the numbers under which the pool knows another id."""
    return {number for number, name in found.items() if known.get(number, name) != name}


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    columns = _shared_columns(source, target, table)
    if not columns:
        return 0
    without: set[int] = set()
    if table in ("samples", "jobs"):
        without = _strange(_ids(source, table), _ids(target, table))
    required = _required(target, table)
    must_have = [name in required for name in columns]
    rows = [
        row
        for row in _readable(source, table, columns)
        if row[0] not in without
        and _whole(columns, row)
        and not any(value is None for value in compress(row, must_have))
    ]
    add = "INSERT OR IGNORE" if table == "samples" else "INSERT OR REPLACE"
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    target.executemany(f"{add} INTO {table} ({names}) VALUES ({places})", rows)
    return len(rows)


def _shared_columns(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str
) -> tuple[str, ...]:
    """Return the columns that a table has in both files, the number first; () if the source's
    cannot be read."""
    own = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    try:
        there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except DAMAGE:
        return ()
    return tuple(name for name in own if name in there)


def _required(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns of a table that must have a value."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[3]}


def _readable(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table that can be read, by number. ``columns`` begins with the number."""
    query, low = f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED", 0
    try:
        for row in connection.execute(f"{query} ORDER BY number"):
            yield row
            low = row[0] + 1
        return
    except DAMAGE:
        if low == 0 and not _has_tables(connection):
            return
    last, _ = _until_damage(connection, f"{query} WHERE number >= {low} ORDER BY number DESC")
    high = last[-1][0] - 1 if last else low + BEYOND
    yield from _between(connection, query, low, high)
    yield from reversed(last)


def _between(connection: sqlite3.Connection, query: str, low: int, high: int) -> Iterator[Row]:
    """Yield the readable rows with numbers from ``low`` to ``high``."""
    if low > high:
        return
    rows, whole = _until_damage(connection, f"{query} WHERE number BETWEEN {low} AND {high}")
    if whole:
        yield from rows
    elif low < high:
        middle = (low + high) // 2
        yield from _between(connection, query, low, middle)
        yield from _between(connection, query, middle + 1, high)


def _until_damage(connection: sqlite3.Connection, query: str) -> tuple[list[Row], bool]:
    """Return the rows of a query before the first damage, and whether these are all."""
    rows: list[Row] = []
    try:
        rows.extend(connection.execute(query))
    except DAMAGE:
        return rows, False
    return rows, True


def _has_tables(connection: sqlite3.Connection) -> bool:
    try:
        return bool(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    except DAMAGE:
        return False


def _whole(columns: Sequence[str], row: Row) -> bool:
    """Return whether the values of a row can be used. Damage may have changed single ones."""
    return all(
        value is None or name not in _USABLE or _USABLE[name](value)
        for name, value in zip(columns, row, strict=True)
    )


def _is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


_USABLE: Mapping[str, Callable[[Any], bool]] = {
    "body": _is_json,
    "scores": _is_json,
    "diversity": _is_share,
    "accuracy": _is_share,
    "diversity_mean": _is_share,
    "diversity_last": _is_share,
}
"""Column → whether a value of it can be used."""
