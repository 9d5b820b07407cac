"""Content-addressed image files: ``images/ab/<sha256 of the encoded bytes>``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.sample import EncodedImage, InputError, Sample

_SYNC_THREADS = 8
_BYTES = "bytes-"
"""Begins the names of files whose bytes may not be whole yet."""
_MARK = "unfinished-"
"""Begins the names of marks: lists of digests, one a line, that a row may not refer to yet."""

Referenced = Callable[[list[str]], set[str]]
"""Of these digests those that a row refers to; others may be among them."""


class ImageFiles:
    """Files that are written once and never changed: any number of processes may add the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Where the image of this digest is, or would be."""
        return self.directory.joinpath(digest[:2], digest)

    @contextmanager
    def adding(self, samples: Iterable[Sample], referenced: Referenced) -> Iterator[list[str]]:
        """Stores the encoded bytes, not decoded, of the samples' images; yields their digests.

        Rows that refer to them are to be committed within. A mark names the new files until
        ``referenced`` says that each has such a row, so ``sweep`` finds what a killed process, or
        one that changed its mind, left. Raises InputError for an image that cannot be read, or
        when the disk is full.
        """
        with self._lock(fcntl.LOCK_SH):
            with explain_disk_errors(self.directory.parent):
                digests, new = self._write(samples)
                mark = self._publish(new) if new else None
            yield digests
            if mark is not None and new.keys() <= referenced(list(new)):
                mark.unlink()

    def sweep(self, referenced: Referenced) -> None:
        """Removes what is marked and no row refers to, unless somebody is adding just now."""
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
        """Ends the threads that wait for the disk."""
        if "_threads" in vars(self):
            self._threads.shutdown()
            del self._threads

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SYNC_THREADS, "image-sync")

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        self.directory.mkdir(exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _write(self, samples: Iterable[Sample]) -> tuple[list[str], dict[str, Path]]:
        """(all digests, the files with the bytes of those that are not there yet)."""
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
        """Gives files their names; the mark that says so.

        Bytes are synced before the file gets its name. The name itself is not: SQLite does not
        sync each commit either, and when it does, the filesystem's journal brings the older name
        along. What a power failure might still tear is found by ``is_whole``."""
        mark = self.directory / f"{_MARK}{uuid.uuid4().hex}"
        try:
            mark.write_text("\n".join(new))
            if len(new) == 1:
                _sync(*new.values())
            else:  # at the same time, so that the disk flushes once for several
                list(self._threads.map(_sync, new.values()))
            for digest, file in new.items():
                self._name(file, self.path(digest))
        except BaseException:
            _remove(new.values())  # what has its name already is the next sweep's: it is marked
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
    """False when an image file is missing, or empty (torn by a power failure)."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _read(image: EncodedImage, owner: str) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise InputError(
            f"image {image.path} of sample {owner} cannot be read ({error.strerror}); "
            "check the path in the data"
        ) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
