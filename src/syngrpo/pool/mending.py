"""Makes the tables of a pool fit each other again after rows were lost.

``repair`` calls ``mend`` in a transaction. On a pool that nothing has happened to, it changes
nothing.
"""

from __future__ import annotations

import sqlite3

from syngrpo.pool.stored_samples import next_change
from syngrpo.serving.wording import count

LOST = "its sample was lost with a damaged pool.db"
"""The error of a job whose sample is gone."""

_COUNTS = """
SELECT CASE WHEN depth > 0 THEN 'synthetic/' ELSE 'seed/' END || state, COUNT(*)
FROM standing GROUP BY 1
UNION ALL
SELECT 'unmeasured', COUNT(*) FROM standing WHERE depth > 0 AND visits = 0 AND state = 'active'
UNION ALL
SELECT 'depth', COALESCE(SUM(depth), 0) FROM standing WHERE state = 'active'
UNION ALL
SELECT 'job/' || state, COUNT(*) FROM jobs GROUP BY 1
UNION ALL
SELECT 'rejected/' || reason, COUNT(*) FROM jobs WHERE state = 'rejected' GROUP BY 1
"""
"""What the triggers of the database keep in the table ``tallies``."""

_VISITS = "SELECT COUNT(*) FROM observations WHERE sample = standing.number"
_MEAN = "SELECT AVG(diversity) FROM observations WHERE sample = standing.number"
_LAST = (
    "SELECT diversity FROM observations WHERE sample = standing.number ORDER BY number DESC LIMIT 1"
)


def mend(connection: sqlite3.Connection) -> list[str]:
    """Mend the tables of a pool, inside a write transaction. Return a line for each kind of change.

    Rows that refer to lost ones are removed; the standing of a sample is made anew; a job and its
    sample are brought to agree; visits and tallies are counted again.
    """
    changes = (
        ("removed {} that referred to lost ones", "row", _remove_dangling(connection)),
        ("made the standing of {} anew", "sample", _stand_again(connection)),
        ("counted the visits of {} anew", "sample", _count_visits(connection)),
        ("gave up {} whose sample is lost", "job", _end_lost(connection)),
        ("ended {} whose sample is there", "job", _end_done(connection)),
        ("counted {} anew", "tally", _count_tallies(connection)),
    )
    return [text.format(count(number, noun)) for text, noun, number in changes if number]


def _remove_dangling(connection: sqlite3.Connection) -> int:
    removed = 0
    while broken := connection.execute("PRAGMA foreign_key_check").fetchall():
        for table, number in {(table, number) for table, number, *_ in broken}:
            query = f"DELETE FROM {table} WHERE number = ?"
            removed += connection.execute(query, (number,)).rowcount
    return removed


def _stand_again(connection: sqlite3.Connection) -> int:
    """Add the missing rows of ``standing``. A seed is put into the dataset that most others are
    in."""
    usual = connection.execute(
        "SELECT dataset FROM standing WHERE depth = 0 GROUP BY dataset ORDER BY COUNT(*) DESC"
    ).fetchone()
    rows = connection.execute(
        "SELECT number, parent FROM samples WHERE number NOT IN (SELECT number FROM standing) "
        "ORDER BY number"
    ).fetchall()
    for number, parent in rows:
        root, depth, dataset = number, 0, usual[0] if usual else 0
        if parent is not None:
            root, depth, dataset = connection.execute(
                "SELECT root, depth + 1, dataset FROM standing WHERE number = ?", (parent,)
            ).fetchone()
        connection.execute(
            "INSERT INTO standing (number, root, depth, dataset, state, changed) "
            "VALUES (?, ?, ?, ?, 'active', ?)",
            (number, root, depth, dataset, next_change(connection)),
        )
    return len(rows)


def _count_visits(connection: sqlite3.Connection) -> int:
    return connection.execute(
        f"UPDATE standing SET visits = ({_VISITS}), diversity_mean = ({_MEAN}), "
        f"diversity_last = ({_LAST}), changed = ? WHERE visits <> ({_VISITS})",
        (next_change(connection),),
    ).rowcount


def _count_tallies(connection: sqlite3.Connection) -> int:
    """Write the tallies that are wrong. Return their number."""
    kept = dict(connection.execute("SELECT name, count FROM tallies"))
    counted = dict(connection.execute(_COUNTS))
    wrong = {
        name: counted.get(name, 0)
        for name in {*kept, *counted}
        if kept.get(name, 0) != counted.get(name, 0)
    }
    connection.executemany(
        "INSERT INTO tallies VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = excluded.count",
        wrong.items(),
    )
    return len(wrong)


def _end_lost(connection: sqlite3.Connection) -> int:
    return connection.execute(
        "UPDATE jobs SET state = 'dead', error = ? WHERE state = 'admitted' "
        "AND id NOT IN (SELECT job FROM samples WHERE job IS NOT NULL)",
        (LOST,),
    ).rowcount


def _end_done(connection: sqlite3.Connection) -> int:
    done = connection.execute(
        "SELECT number FROM jobs WHERE state <> 'admitted' "
        "AND id IN (SELECT job FROM samples WHERE job IS NOT NULL) ORDER BY number"
    ).fetchall()
    for (number,) in done:
        connection.execute(
            "UPDATE jobs SET state = 'admitted', worker = NULL, lease_until = NULL, "
            "cursor = COALESCE(cursor, (SELECT COALESCE(MAX(cursor), 0) + 1 FROM jobs)) "
            "WHERE number = ?",
            (number,),
        )
    return len(done)
