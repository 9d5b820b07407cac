"""A pool of an older version is brought up to date when it is opened."""

import sqlite3
from pathlib import Path

from pool_samples import child, seed

from syngrpo.pool.database import VERSION
from syngrpo.pool.job_queue import JobQueue
from syngrpo.pool.jobs import JobRequest, bundled
from syngrpo.pool.pool_reading import open_to_read
from syngrpo.pool.store import Pool

BEFORE = """
DROP TABLE mirrored;
DROP INDEX jobs_queued_for;
ALTER TABLE jobs DROP COLUMN policy_version;
ALTER TABLE jobs DROP COLUMN response;
PRAGMA user_version = 2;
"""
WITHOUT_REWARDS = """
ALTER TABLE jobs DROP COLUMN reward;
ALTER TABLE jobs DROP COLUMN settled;
PRAGMA user_version = 4;
"""
WITHOUT_BUNDLES = """
DROP INDEX jobs_bundle;
DROP INDEX standing_waiting;
ALTER TABLE jobs DROP COLUMN bundle;
ALTER TABLE jobs DROP COLUMN bundle_size;
ALTER TABLE standing DROP COLUMN bundle;
ALTER TABLE standing DROP COLUMN waiting;
PRAGMA user_version = 3;
"""


def shape(path: Path) -> set[tuple[str, ...]]:
    """Tables, indices and columns."""
    database = sqlite3.connect(path)
    names = database.execute("SELECT type, name FROM sqlite_master").fetchall()
    tables = [name for kind, name in names if kind == "table"]
    columns = [
        (table, row[1], row[2])
        for table in tables
        for row in database.execute(f"PRAGMA table_info({table})")
    ]
    database.close()
    return {*names, *columns}


def test_a_pool_of_version_2_goes_on(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path / "old")
    pool.add_seeds([seed(0)])
    queue = JobQueue(pool, limit=9, lease_s=9, max_attempts=3)
    queue.submit([JobRequest("seed-0", "a wall", 1, "noop")])
    pool.close()
    database = sqlite3.connect(tmp_path / "old" / "pool.db")
    database.executescript(WITHOUT_REWARDS + WITHOUT_BUNDLES + BEFORE)
    database.close()
    pool = Pool.open(tmp_path / "old")
    queue = JobQueue(pool, limit=9, lease_s=9, max_attempts=3)
    queue.submit([JobRequest("seed-0", "a door", 1, "noop", 5, "<scene>a door</scene>")])
    first, second = queue.lease("worker", 2, "noop")
    assert queue.complete_all("worker", [(job.id, child(job)) for job in (first, second)])
    written = [(job.request.policy_version, job.request.response) for job in queue.ended(0, 9)]
    assert written == [(None, None), (5, "<scene>a door</scene>")]
    Pool.open(tmp_path / "new").close()
    assert shape(tmp_path / "old" / "pool.db") == shape(tmp_path / "new" / "pool.db")
    with pool.database.read() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_copy_of_a_pool_of_version_3_is_restored_and_goes_on(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path / "run")
    pool.add_seeds([seed(0)])
    pool.backup(tmp_path / "checkpoint.db")
    pool.close()
    database = sqlite3.connect(tmp_path / "checkpoint.db")
    database.executescript(WITHOUT_REWARDS + WITHOUT_BUNDLES)
    database.close()
    pool = Pool.restore(tmp_path / "run", tmp_path / "checkpoint.db")
    queue = JobQueue(pool, limit=9, lease_s=9, max_attempts=3)
    asked = bundled([JobRequest("seed-0", text, 1, "noop") for text in ("a wall", "a door")])
    assert queue.submit(asked).accepted == [job.id for job in asked]
    Pool.open(tmp_path / "new").close()
    assert shape(tmp_path / "run" / "pool.db") == shape(tmp_path / "new" / "pool.db")


def test_reading_a_pool_of_an_earlier_version_does_not_change_it(tmp_path: Path) -> None:
    pool = Pool.open(tmp_path)
    pool.add_seeds([seed(0)])
    pool.close()
    database = sqlite3.connect(tmp_path / "pool.db")
    database.executescript(WITHOUT_REWARDS)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    before = (tmp_path / "pool.db").read_bytes()
    reader = open_to_read(tmp_path)
    assert reader.get("seed-0").image.decode().shape == seed(0).image.decode().shape
    assert reader.directory == tmp_path
    reader.close()
    assert (tmp_path / "pool.db").read_bytes() == before
    Pool.open(tmp_path).close()
    assert (tmp_path / "pool.db").read_bytes() != before
