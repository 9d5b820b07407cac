"""Bundles: synthetic samples of one parent that are drawn together, in one batch.

With ``method.credit: siblings`` the descriptions of one group are compared with each other, so
their images must be rolled out in the same step. ``jobs.bundled`` marks the jobs of a group as a
bundle. Their samples wait until every job of the bundle has ended, or until the deadline
``pool.sibling_deadline`` has passed; then ``draw_index`` draws the unmeasured ones in one batch.

The functions below run inside a transaction of the caller. ``standing.bundle`` is the row number of
the first sample of the bundle. ``standing.waiting`` is the step in which the sample began to wait,
NULL if it does not wait.
"""

from __future__ import annotations

import sqlite3

from syngrpo.pool.stored_samples import next_change


def join_bundle(connection: sqlite3.Connection, job: int) -> None:
    """Update the bundle of a job that has just ended. ``job`` is its row number.

    If the job has a sample, this begins to wait, unless its siblings no longer do. If the job is
    the last of its bundle, nothing of the bundle waits any longer.
    """
    bundle, size, sample = connection.execute(
        "SELECT j.bundle, j.bundle_size, s.number FROM jobs j LEFT JOIN samples s ON s.job = j.id "
        "WHERE j.number = ?",
        (job,),
    ).fetchone()
    if bundle is None:
        return
    sibling = connection.execute(
        "SELECT t.bundle, t.waiting FROM jobs j JOIN samples s ON s.job = j.id "
        "JOIN standing t ON t.number = s.number "
        "WHERE j.bundle = ? AND t.bundle IS NOT NULL LIMIT 1",
        (bundle,),
    ).fetchone()
    if sample is not None:
        first, waiting = sibling or (sample, _last_step(connection))
        connection.execute(
            "UPDATE standing SET bundle = ?, waiting = ? WHERE number = ?", (first, waiting, sample)
        )
        sibling = (first, waiting)
    (ended,) = connection.execute(
        "SELECT COUNT(*) FROM jobs WHERE bundle = ? AND cursor IS NOT NULL", (bundle,)
    ).fetchone()
    if sibling is not None and ended >= size:
        _stop_waiting(connection, "bundle = ?", sibling[0])


def end_overdue(connection: sqlite3.Connection, step: int, deadline: int) -> None:
    """End the waiting of every bundle whose first sample has waited for ``deadline`` steps in this
    step."""
    overdue = "bundle IN (SELECT bundle FROM standing WHERE waiting <= ?)"
    _stop_waiting(connection, overdue, step - deadline)


def _stop_waiting(connection: sqlite3.Connection, which: str, value: int) -> None:
    connection.execute(
        f"UPDATE standing SET waiting = NULL, changed = ? WHERE waiting IS NOT NULL AND {which}",
        (next_change(connection), value),
    )


def _last_step(connection: sqlite3.Connection) -> int:
    """Return the step of the last observation, 0 before the first."""
    row = connection.execute("SELECT step FROM observations ORDER BY number DESC LIMIT 1")
    return (row.fetchone() or (0,))[0]
