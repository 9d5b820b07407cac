"""A check of a pool that uses none of the pool's own code."""

import hashlib
import sqlite3
from pathlib import Path


def check_consistent(directory: Path) -> None:
    """Structure, references, images and tallies of a pool, read without the pool's own code."""
    with sqlite3.connect(directory / "pool.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for (digest,) in db.execute("SELECT DISTINCT image FROM samples"):
            data = (directory / "images" / digest[:2] / digest).read_bytes()
            assert hashlib.sha256(data).hexdigest() == digest
        made = db.execute("SELECT job FROM samples WHERE job IS NOT NULL ORDER BY job")
        admitted = db.execute("SELECT id FROM jobs WHERE state = 'admitted' ORDER BY id")
        assert made.fetchall() == admitted.fetchall()
        (samples,) = db.execute("SELECT COUNT(*) FROM samples").fetchone()
        (standing,) = db.execute("SELECT COUNT(*) FROM standing").fetchone()
        assert samples == standing
        visits = db.execute("SELECT sample, COUNT(*) FROM observations GROUP BY sample")
        measured = db.execute("SELECT number, visits FROM standing WHERE visits > 0")
        assert dict(visits) == dict(measured)
        cursors = [row[0] for row in db.execute("SELECT cursor FROM jobs WHERE cursor > 0")]
        assert sorted(cursors) == list(range(1, len(cursors) + 1))
        tallies = dict(db.execute("SELECT name, count FROM tallies WHERE count > 0"))
        tallies.pop("depth", None)
        assert tallies == dict(
            db.execute(
                "SELECT 'job/' || state, COUNT(*) FROM jobs GROUP BY 1 UNION ALL "
                "SELECT 'rejected/' || reason, COUNT(*) FROM jobs WHERE state = 'rejected' "
                "GROUP BY 1 UNION ALL "
                "SELECT CASE WHEN depth > 0 THEN 'synthetic/' ELSE 'seed/' END || state, COUNT(*) "
                "FROM standing GROUP BY 1 UNION ALL "
                "SELECT 'unmeasured', COUNT(*) FROM standing "
                "WHERE depth > 0 AND visits = 0 AND state = 'active' HAVING COUNT(*) > 0"
            )
        )
