"""The pool's image files, named by their content: ``images/ab/<sha256 of the encoded bytes>``.

A file is synced to the disk before a row of the database refers to it. New files are listed in a
*mark* file until their rows are committed. If a process is killed in between, the next ``sweep``
finds the mark and removes the files that no row refers to. Adding holds a shared lock and sweeping
an exclusive one, so a sweep never removes a file whose row is about to be written.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving.atomic_files import flush

_SYNC_THREADS = 8
_BYTES = "bytes-"
"""Prefix of the names of files whose bytes may not be complete yet."""
_MARK = "unfinished-"
"""Prefix of the names of marks. A mark lists digests that may have no row yet, one in each line."""

Referenced = Callable[[list[str]], set[str]]
"""A function that returns those of the given digests to which a row refers. It may return others as
well."""


class ImageFiles:
    """A directory of image files, which are written once and never change.

    Any number of processes may add images at the same time, also the same image.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Return the path of the image with this digest. The file may not exist yet."""
        return self.directory.joinpath(digest[:2], digest)

    @contextmanager
    def adding(self, samples: Iterable[Sample], referenced: Referenced) -> Iterator[list[str]]:
        """Store the encoded bytes of the samples' images, without decoding them, and yield their
        digests.

        The caller commits the rows that refer to them inside the block. The mark of the new files
        is removed when ``referenced`` says that each of them has a row; otherwise it stays for the
        next ``sweep``. Raises InputError for an image that cannot be read, and when the disk is
        full.
        """
        with self._lock(fcntl.LOCK_SH):
            with explain_disk_errors(self.directory.parent):
                digests, new = self._write(samples)
                mark = self._publish(new) if new else None
            yield digests
            if mark is not None and new.keys() <= referenced(list(new)):
                mark.unlink()

    def sweep(self, referenced: Referenced) -> None:
        """Remove the marked files that no row refers to. Do nothing while a process adds images."""
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                for unfinished in self.directory.glob(f"{_BYTES}*"):
                    unfinished.unlink()
                for mark in self.directory.glob(f"{_MARK}*"):
                    marked = mark.read_text().split()
                    for digest in set(marked) - referenced(marked):
                        self.path(digest).unlink(missing_ok=True)
                    mark.unlink()
        except BlockingIOError:
            return

    def close(self) -> None:
        """End the threads that sync files."""
        if "_threads" in vars(self):
            self._threads.shutdown()
            del self._threads

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SYNC_THREADS, "image-sync")

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        # Not the filelock library: several processes hold this lock together (LOCK_SH), and its
        # shared locks need files of their own.
        self.directory.mkdir(exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _write(self, samples: Iterable[Sample]) -> tuple[list[str], dict[str, Path]]:
        """Write the bytes of new images to files with temporary names. Return the digests of all
        images, and the new files by digest."""
        digests: list[str] = []
        new: dict[str, Path] = {}
        try:
            for sample in samples:
                data = _read(sample.image, sample.id)
                digest = hashlib.sha256(data).hexdigest()
                digests.append(digest)
                if digest not in new and not is_whole(self.path(digest)):
                    new[digest] = self.directory / f"{_BYTES}{uuid.uuid4().hex}"
                    new[digest].write_bytes(data)
        except BaseException:
            _remove(new.values())
            raise
        return digests, new

    def _publish(self, new: dict[str, Path]) -> Path:
        """Sync new files, rename them to their final names, and return the mark that lists them.

        The bytes are synced before the rename. The rename itself is not: SQLite does not sync every
        commit either, and when it does, the filesystem's journal writes the older rename first.
        ``is_whole`` finds a file that a power failure left empty.
        """
        mark = self.directory / f"{_MARK}{uuid.uuid4().hex}"
        try:
            mark.write_text("\n".join(new))
            if len(new) == 1:
                flush(*new.values())
            else:  # in parallel: one flush of the disk can serve several files
                list(self._threads.map(flush, new.values()))
            for digest, file in new.items():
                self._name(file, self.path(digest))
        except BaseException:
            _remove(new.values())  # the next sweep removes renamed ones by the mark
            raise
        return mark

    @staticmethod
    def _name(file: Path, path: Path) -> None:
        try:
            os.replace(file, path)
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            os.replace(file, path)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Return whether an image file exists and is not empty. A power failure can leave it empty."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size > 0 and stat.S_ISREG(found.st_mode)


def is_intact(path: Path) -> bool:
    """Return whether an image file has the bytes that it is named for. This reads all of it."""
    if not is_whole(path):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == path.name


def _read(image: EncodedImage, owner: str) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise InputError(
            f"image {image.path} of sample {owner} cannot be read ({error.strerror}); "
            "check the path in the data"
        ) from None
