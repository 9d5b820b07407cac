"""Opens a pool for reading, also one in a directory where nothing can be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from syngrpo.pool.database import FILE_NAME, IMAGES, database_files, is_older, require_content
from syngrpo.pool.image_store import ImageFiles
from syngrpo.pool.store import Pool


def open_to_read(directory: Path) -> Pool:
    """Open an existing pool of which nothing will be changed, and no file is removed.

    SQLite needs to write beside a database that it reads, and a database of an earlier version is
    upgraded when it is opened. Where that is not possible or not wanted, a copy of the database in
    the folder for temporary files is opened. Raises InputError as ``Pool.open``.
    """
    path = directory / FILE_NAME
    require_content(path)
    if os.access(directory, os.W_OK) and not is_older(path):
        return Pool(directory)
    return PoolCopy(directory)


class PoolCopy(Pool):
    """A copy of a pool's database, with the pool's own images. What is added to the pool later is
    not in it."""

    def __init__(self, directory: Path) -> None:
        self._copied = _state(directory)
        self._folder = TemporaryDirectory(prefix="syngrpo-pool-")
        for file in database_files(directory):
            if not file.name.endswith("-shm"):  # SQLite makes it anew
                shutil.copyfile(file, Path(self._folder.name) / file.name)
        try:
            super().__init__(Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise
        self.directory = directory
        self.images = ImageFiles(directory / IMAGES)

    def is_current(self) -> bool:
        """Return whether the database is as it was when it was copied. Raises OSError for one that
        is gone."""
        return self._copied == _state(self.directory)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


def _state(directory: Path) -> list[tuple[str, int, int]]:
    """Return what tells a database from the same one at another time."""
    found = [(file.name, file.stat()) for file in database_files(directory)]
    return [(name, one.st_mtime_ns, one.st_size) for name, one in found if "-shm" not in name]
