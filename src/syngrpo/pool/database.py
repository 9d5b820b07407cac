"""The pool's SQLite file: its tables, opening it, transactions, and exact copies.

Rows of ``samples`` never change. The properties of a sample that change (state, visits, diversity)
are in the table ``standing``, so that reading those of a million samples does not read their
bodies. ``standing.changed`` is the number of the write transaction that last changed the row: a
reader keeps the highest number it has read, and later reads only rows above it. ``tallies`` holds
counts that triggers keep, so that statistics and limits cost the same for ten samples and for a
million.
``standing.dataset`` is the number of the seed's dataset, for the seed and all its descendants.
``standing.bundle`` and ``standing.waiting`` are explained in ``bundles``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from syngrpo.pool.filesystem import (
    PoolDamaged,
    explain_disk_errors,
    refuse_network_filesystem,
)
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_file
from syngrpo.serving.wording import count, first_line

FILE_NAME = "pool.db"
IMAGES = "images"
"""The folder of the image files, beside the database."""
CREATION_LOCK = ".pool.lock"
BUSY_TIMEOUT_S = 60.0
"""Seconds that a transaction waits for those of other processes, which take milliseconds."""

VERSION = 5
UPGRADES = {
    2: """
ALTER TABLE jobs ADD COLUMN policy_version INTEGER;
ALTER TABLE jobs ADD COLUMN response TEXT;
CREATE INDEX jobs_queued_for ON jobs (generator, number) WHERE state = 'queued';
CREATE TABLE mirrored (source TEXT PRIMARY KEY, cursor INTEGER NOT NULL) WITHOUT ROWID;
""",
    3: """
ALTER TABLE jobs ADD COLUMN bundle TEXT;
ALTER TABLE jobs ADD COLUMN bundle_size INTEGER;
ALTER TABLE standing ADD COLUMN bundle INTEGER;
ALTER TABLE standing ADD COLUMN waiting INTEGER;
CREATE INDEX jobs_bundle ON jobs (bundle) WHERE bundle IS NOT NULL;
CREATE INDEX standing_waiting ON standing (bundle) WHERE waiting IS NOT NULL;
""",
    4: """
ALTER TABLE jobs ADD COLUMN reward REAL;
ALTER TABLE jobs ADD COLUMN settled INTEGER;
""",
}
"""The statements that upgrade a pool to the next version, by the version it has."""

LARGEST_VERSION = 1000
"""A larger number is no version of a pool but a damaged one."""
APPLICATION_ID = 0x53594E47  # "SYNG"

SCHEMA = """
CREATE TABLE datasets (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);
INSERT INTO datasets VALUES (0, '');

CREATE TABLE samples (
    number  INTEGER PRIMARY KEY,            -- order of admission
    id      TEXT NOT NULL UNIQUE,
    parent  INTEGER REFERENCES samples (number),
    job     TEXT UNIQUE,                    -- the job that made it; NULL for a seed
    image   TEXT NOT NULL,                  -- sha256 of the encoded bytes
    body    TEXT NOT NULL,                  -- everything else of the sample, JSON
    created REAL NOT NULL
);
CREATE INDEX samples_parent ON samples (parent) WHERE parent IS NOT NULL;

CREATE TABLE standing (
    number         INTEGER PRIMARY KEY REFERENCES samples (number),
    root           INTEGER NOT NULL REFERENCES samples (number),  -- the seed it descends from
    depth          INTEGER NOT NULL,                              -- 0 for a seed
    dataset        INTEGER NOT NULL DEFAULT 0 REFERENCES datasets (number),
    state          TEXT NOT NULL CHECK (state IN ('active', 'retired', 'quarantined')),
    reason         TEXT,
    visits         INTEGER NOT NULL DEFAULT 0,
    diversity_mean REAL,
    diversity_last REAL,
    changed        INTEGER NOT NULL,
    bundle         INTEGER,                 -- the first sample of its bundle; NULL without one
    waiting        INTEGER                  -- since which step it waits for its siblings
);
CREATE INDEX standing_waiting ON standing (bundle) WHERE waiting IS NOT NULL;
CREATE INDEX standing_changed ON standing (changed);
CREATE INDEX standing_family ON standing (root) WHERE depth > 0 AND state = 'active';

CREATE TABLE observations (
    number         INTEGER PRIMARY KEY,
    sample         INTEGER NOT NULL REFERENCES samples (number),
    step           INTEGER NOT NULL,
    policy_version INTEGER NOT NULL,
    diversity      REAL NOT NULL,
    accuracy       REAL NOT NULL,
    UNIQUE (sample, step, policy_version)
);

CREATE TABLE jobs (
    number      INTEGER PRIMARY KEY,        -- order of submission
    id          TEXT NOT NULL UNIQUE,       -- sha256 of the idempotency key
    parent      INTEGER NOT NULL REFERENCES samples (number),
    root        INTEGER NOT NULL REFERENCES samples (number),
    description TEXT NOT NULL,
    seed        INTEGER NOT NULL,
    generator   TEXT NOT NULL,
    state       TEXT NOT NULL
                CHECK (state IN ('queued', 'leased', 'admitted', 'rejected', 'dead')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    worker      TEXT,                       -- that holds it, or has ended it
    lease_until REAL,                       -- seconds of the host's monotonic clock
    error       TEXT,                       -- of the last failed attempt
    reason      TEXT,                       -- why the gate rejected it
    scores      TEXT,                       -- gate scores, JSON
    cursor      INTEGER,                    -- order of completion
    policy_version INTEGER,                 -- of the policy that wrote the description
    response    TEXT,                       -- the whole of what it wrote
    bundle      TEXT,                       -- name of its bundle; NULL without one
    bundle_size INTEGER,                    -- number of jobs in the bundle
    reward      REAL,                       -- what its description has earned; NULL before
    settled     INTEGER                     -- the training step in which it earned it
);
CREATE INDEX jobs_bundle ON jobs (bundle) WHERE bundle IS NOT NULL;
CREATE INDEX jobs_queued ON jobs (number) WHERE state = 'queued';
CREATE INDEX jobs_queued_for ON jobs (generator, number) WHERE state = 'queued';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'leased';
CREATE INDEX jobs_family ON jobs (root) WHERE state IN ('queued', 'leased');
CREATE UNIQUE INDEX jobs_cursor ON jobs (cursor) WHERE cursor IS NOT NULL;

-- How far the ended jobs of other pools have been recorded here.
CREATE TABLE mirrored (source TEXT PRIMARY KEY, cursor INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE tallies (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;

CREATE TRIGGER standing_inserted AFTER INSERT ON standing BEGIN
    INSERT INTO tallies VALUES
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || NEW.state, 1),
        ('unmeasured', NEW.depth > 0 AND NEW.visits = 0 AND NEW.state = 'active'),
        ('depth', NEW.depth * (NEW.state = 'active'))
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER standing_updated AFTER UPDATE OF state, visits ON standing
WHEN OLD.state <> NEW.state OR (OLD.visits = 0) <> (NEW.visits = 0) BEGIN
    INSERT INTO tallies VALUES
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || OLD.state, -1),
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || NEW.state, 1),
        ('unmeasured', (NEW.depth > 0 AND NEW.visits = 0 AND NEW.state = 'active')
                     - (OLD.depth > 0 AND OLD.visits = 0 AND OLD.state = 'active')),
        ('depth', NEW.depth * ((NEW.state = 'active') - (OLD.state = 'active')))
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO tallies VALUES ('job/' || NEW.state, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER jobs_updated AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO tallies VALUES ('job/' || OLD.state, -1), ('job/' || NEW.state, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER jobs_rejected AFTER UPDATE OF state ON jobs WHEN NEW.state = 'rejected' BEGIN
    INSERT INTO tallies VALUES ('rejected/' || NEW.reason, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + 1;
END;
"""


_TABLES = re.findall(r"CREATE TABLE (\w+)", SCHEMA)

_OTHER_FILE = "choose another one, or, if it was the pool of a run, run: syngrpo pool repair"


class NoPool(InputError):  # noqa: N818
    """A file is no database, or the database of another program."""


def database_files(directory: Path) -> list[Path]:
    """Return the files that make up the database in a directory: itself, and SQLite's beside it."""
    names = (FILE_NAME, *(f"{FILE_NAME}-{part}" for part in ("wal", "shm", "journal")))
    return [file for name in names if (file := directory / name).exists()]


def require_file(path: Path) -> None:
    """Raise PoolDamaged when a folder, a pipe or something else is in the place of the database."""
    if path.exists() and not path.is_file():
        raise PoolDamaged(path.parent, f"{path.name} is no file")


def require_content(path: Path) -> None:
    """Raise PoolDamaged when the database is missing or empty. Opening it would create it."""
    require_file(path)
    if not _size(path):
        raise PoolDamaged(path.parent, f"{path.name} is missing or empty")


def require_backup(path: Path) -> None:
    """Raise InputError unless ``Database.restore`` can read this file."""
    if not path.is_file():
        raise InputError(f"pool backup {path} does not exist; check the path")
    with closing(read_only(path)) as source:
        _check_version(source, path, upgradable=True)


def is_older(path: Path) -> bool:
    """Return whether a file is a pool's database of an earlier version."""
    with path.open("rb") as file:
        header = file.read(72)
    # https://www.sqlite.org/fileformat.html#the_database_header: user version, application id
    version, application = (int.from_bytes(header[at : at + 4]) for at in (60, 68))
    return application == APPLICATION_ID and version < VERSION


def read_only(path: Path) -> sqlite3.Connection:
    """Open a database file that nobody changes, without writing beside it."""
    # SQLite writes beside a file unless it is told that nobody changes it; then it reads no log.
    logs = (path.with_name(f"{path.name}-{part}") for part in ("wal", "journal"))
    unchanging = "" if any(log.exists() for log in logs) else "&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{unchanging}", uri=True)


class Database:
    """An open database. The threads of one process share it; every process opens its own.

    A committed transaction survives the death of any process. After a power failure the database
    is consistent but may miss the last transactions (WAL mode with ``synchronous=NORMAL``).
    """

    def __init__(self, directory: Path, anew: bool = False) -> None:
        """Open the database in a directory, or create it. With ``anew`` delete it first; then no
        other process may have it open.

        Raises PoolDamaged when the database is damaged, or when it is gone although the directory
        has images of a pool.
        """
        self.directory = directory
        self._lock = threading.RLock()
        self._process = os.getpid()
        with explain_disk_errors(directory), _creation_lock(directory):
            require_file(directory / FILE_NAME)
            if anew:
                for file in database_files(directory):
                    file.unlink()
            elif not _size(directory / FILE_NAME):  # SQLite would write to it, or delete its log
                _refuse_lost(directory / FILE_NAME)
            self._connection = _connect(directory / FILE_NAME)
            try:
                _prepare(self._connection, directory / FILE_NAME, anew)
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that holds the write lock from its start. All of its statements take
        effect, or none when the block raises."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that sees one consistent state. It does not wait for writers."""
        with self._transaction("BEGIN") as connection:
            yield connection

    def backup(self, path: Path) -> None:
        """Write an exact copy of the database to one file. The file is complete or absent.

        Images are not copied: the pool never changes or deletes them, so the copy refers to the
        same files. Raises InputError when the disk is full.
        """
        with explain_disk_errors(path.parent), self._lock, atomic_file(path, durable=True) as new:
            copy = _connect(new)
            try:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, no log beside it
            finally:
                copy.close()

    def restore(self, path: Path) -> None:
        """Replace the whole content by that of a backup, upgraded if it has an older version.

        Raises InputError when the file is no backup of a pool.
        """
        require_backup(path)
        with explain_disk_errors(self.directory), self._lock:
            with closing(read_only(path)) as source:
                source.backup(self._connection)
            _upgrade(self._connection, path)

    def checkpoint(self) -> None:
        """Write the log into the database file, so that this file alone is the whole database. No
        other process may have it open. Raises InputError when the disk is full."""
        with explain_disk_errors(self.directory), self._lock:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def damage(self, thorough: bool = False) -> str | None:
        """Return the first thing that is wrong with the file in a few words, None if nothing is.

        This reads the whole file: some seconds for a million samples. With ``thorough`` the indices
        are compared with the tables as well, which takes several times as long.
        """
        check = "integrity_check" if thorough else "quick_check"
        try:
            with self.read() as connection:
                found = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
        except PoolDamaged as error:
            return first_line(error.__cause__ or error)
        return None if found == "ok" else " ".join(found.split())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise RuntimeError("a pool cannot cross a fork; open it again in the new process")
        with self._lock, explain_disk_errors(self.directory):
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have rolled it back already
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _creation_lock(directory: Path) -> Iterator[None]:
    """Create the directory and lock it. When several processes open a new pool at the same time,
    one creates the tables and the others wait."""
    refuse_network_filesystem(directory)
    lock = FileLock(directory / CREATION_LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror
        raise InputError(f"pool directory {directory} cannot be used ({reason})") from None
    try:
        yield
    finally:
        lock.release()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database file, or create it as the umask says (SQLite would let no group write it)."""
    with suppress(OSError):  # it exists, or SQLite says why it cannot be created
        path.touch(exist_ok=False)
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _prepare(connection: sqlite3.Connection, path: Path, anew: bool) -> None:
    with _explain_other_files(path):
        tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if tables:
        _upgrade(connection, path)
        _check_version(connection, path)
        for table in _TABLES:
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1")
    else:
        if not anew:
            _refuse_lost(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -16000")  # KiB
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; fewer waits for the disk


def _refuse_lost(path: Path) -> None:
    """Raise PoolDamaged if there are images beside a database that is missing or has no tables."""
    images = sum(1 for _ in (path.parent / IMAGES).glob("??/*"))
    if images:
        raise PoolDamaged(
            path.parent, f"{path.name} is missing or empty, but there are {count(images, 'image')}"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Upgrade a pool of an older version. The caller holds the creation lock.

    Upgrades only add tables, columns and indices, so a process of an older version of syngrpo that
    has the pool open can go on.
    """
    with _explain_other_files(path):
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            return
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    while version in UPGRADES:
        script, version = UPGRADES[version], version + 1
        connection.executescript(
            f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {version}; COMMIT;"
        )


def _check_version(connection: sqlite3.Connection, path: Path, upgradable: bool = False) -> None:
    """Raise InputError unless this is a pool of the present version, or with ``upgradable`` of one
    that can be upgraded to it. Raises PoolDamaged for a version that no pool will have."""
    with _explain_other_files(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise NoPool(f"{path} is not a pool; {_OTHER_FILE} {path.parent}")
    if not 1 <= version <= LARGEST_VERSION:  # no pool was ever written with format 0
        raise PoolDamaged(path.parent, f"{path.name} is damaged (its format is {version})")
    if version != VERSION and not (upgradable and version in UPGRADES):
        raise InputError(
            f"{path} has pool format {version}, this version of syngrpo reads {VERSION}; "
            "use the version that wrote it, or a new directory"
        )


@contextmanager
def _explain_other_files(path: Path) -> Iterator[None]:
    """Raise InputError when SQLite finds that the file is no database."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise NoPool(f"{path} is not a SQLite database; {_OTHER_FILE} {path.parent}") from None
