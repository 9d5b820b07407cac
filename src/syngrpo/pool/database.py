"""One connection to the pool's SQLite file: opening, transactions, exact copies."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syngrpo.pool.filesystem import explain_disk_errors, refuse_network_filesystem
from syngrpo.pool.schema import APPLICATION_ID, SCHEMA, UPGRADES, VERSION
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_file

FILE_NAME = "pool.db"
BUSY_TIMEOUT_S = 60.0
"""How long a transaction waits for another process's. Ours last milliseconds."""


class Database:
    """A connection that the threads of one process share; every process opens its own.

    Commits survive the death of any process. After a power failure the database is consistent
    and may miss the last moments (WAL with ``synchronous=NORMAL``).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.RLock()
        self._process = os.getpid()
        with explain_disk_errors(directory), _creation_lock(directory):
            self._connection = _connect(directory / FILE_NAME)
            try:
                _prepare(self._connection, directory / FILE_NAME)
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the one write lock from its start; all or nothing."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one consistent state. Never waits for writers."""
        with self._transaction("BEGIN") as connection:
            yield connection

    def backup(self, path: Path) -> None:
        """Writes the exact state to one file, atomically. Raises InputError when the disk is full.

        Images are not copied: they are never changed or deleted, so the copy's references hold.
        """
        with explain_disk_errors(path.parent), self._lock, atomic_file(path, durable=True) as new:
            copy = sqlite3.connect(new)
            try:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, no log beside it
            finally:
                copy.close()

    def restore(self, path: Path) -> None:
        """Replaces the whole state by that of a backup. Raises InputError when it is not one."""
        if not path.is_file():
            raise InputError(f"pool backup {path} does not exist; check the path")
        with explain_disk_errors(self.directory), self._lock:
            source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                _check_version(source, path)
                source.backup(self._connection)
            finally:
                source.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise RuntimeError("a pool cannot cross a fork; open it in the new process")
        with self._lock, explain_disk_errors(self.directory):
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may already have rolled back
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _creation_lock(directory: Path) -> Iterator[None]:
    """Several processes may open a pool that does not exist yet: one creates, the others wait."""
    refuse_network_filesystem(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror
        raise InputError(f"pool directory {directory} cannot be used ({reason})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with _explain_other_files(path):
        tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if tables:
        _upgrade(connection, path)
        _check_version(connection, path)
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -16000")  # KiB
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; fewer waits for the disk


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Older versions differ by tables and columns that were added; whoever has them open goes on.

    Only the process that holds the creation lock comes here.
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


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    with _explain_other_files(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise InputError(f"{path} is not a pool; choose another one")
    if version != VERSION:
        raise InputError(
            f"{path} has pool format {version}, this version of syngrpo reads {VERSION}; "
            "use the version that wrote it, or a new directory"
        )


@contextmanager
def _explain_other_files(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise InputError(f"{path} is not a SQLite database; choose another one") from None
