"""Content-addressed image files: ``images/ab/cd/<sha256 of the encoded bytes>``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.sample import EncodedImage, InputError, Sample

_SYNC_THREADS = 8
_MARK = "unfinished-"

Referenced = Callable[[list[str]], set[str]]
"""Of these digests those that a row refers to; others may be among them."""


class ImageFiles:
    """Files that are written once and never changed: any number of processes may add the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Where the image of this digest is, or would be."""
        return self.directory.joinpath(digest[:2], digest[2:4], digest)

    @contextmanager
    def adding(self, samples: Iterable[Sample], referenced: Referenced) -> Iterator[list[str]]:
        """Stores the encoded bytes, not decoded, of the samples' images; yields their digests.

        Rows that refer to them are to be committed within. Each new file has a mark beside it until
        ``referenced`` says that there is such a row, so ``sweep`` finds what a killed process, or
        one that changed its mind, left. Raises InputError for an image that cannot be read, or
        when the disk is full.
        """
        marks: dict[str, Path] = {}
        with self._lock(fcntl.LOCK_SH):
            with explain_disk_errors(self.directory.parent):
                digests = self._store(samples, marks)
            yield digests
            if marks:
                for digest in referenced(list(marks)) & marks.keys():
                    marks[digest].unlink()

    def sweep(self, referenced: Referenced) -> None:
        """Removes what is marked and no row refers to, unless somebody is adding just now."""
        marks = self.directory.glob(f"{_MARK}*")
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                found = {mark: mark.name.removeprefix(_MARK).partition("-")[0] for mark in marks}
                kept = referenced(list(found.values())) if found else set()
                for mark, digest in found.items():
                    if digest not in kept:
                        self.path(digest).unlink(missing_ok=True)
                    mark.unlink()
        except BlockingIOError:
            return

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        self.directory.mkdir(exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _store(self, samples: Iterable[Sample], marks: dict[str, Path]) -> list[str]:
        digests: list[str] = []
        try:
            for sample in samples:
                data = _read(sample.image, sample.id)
                digest = hashlib.sha256(data).hexdigest()
                digests.append(digest)
                if digest not in marks and not is_whole(self.path(digest)):
                    marks[digest] = self._write(digest, data)
            if marks:
                self._publish(marks)
        except BaseException:
            # One that has its name already may be another's by now: its mark stays.
            for digest, mark in marks.items():
                if not is_whole(self.path(digest)):
                    mark.unlink(missing_ok=True)
            raise
        return digests

    def _write(self, digest: str, data: bytes) -> Path:
        path = self.directory / f"{_MARK}{digest}-{uuid.uuid4().hex}"
        try:
            path.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _publish(self, marks: dict[str, Path]) -> None:
        """Bytes are synced before the file gets its name. The name itself is not: SQLite does not
        sync each commit either, and when it does, the filesystem's journal brings the older name
        along. What a power failure might still tear is found by ``is_whole``."""
        if len(marks) == 1:
            _sync(*marks.values())
        else:  # at the same time, so that the disk flushes once for several
            with ThreadPoolExecutor(_SYNC_THREADS) as threads:
                list(threads.map(_sync, marks.values()))
        for digest, mark in marks.items():
            path = self.path(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            second = mark.with_name(mark.name + "-named")
            os.link(mark, second)
            second.replace(path)


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
