"""Content-addressed image files: ``images/ab/cd/<sha256 of the encoded bytes>``."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from syngrpo.pool.filesystem import explain_disk_errors
from syngrpo.sample import EncodedImage, InputError, Sample

_SYNC_THREADS = 8


class ImageFiles:
    """Files that are written once and never changed: any number of processes may add the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Where the image of this digest is, or would be."""
        return self.directory.joinpath(digest[:2], digest[2:4], digest)

    def add(self, samples: Iterable[Sample]) -> list[str]:
        """Stores the encoded bytes, not decoded, of the samples' images; returns their digests.

        When it returns, rows that refer to them may be committed. Raises InputError for an image
        that cannot be read, or when the disk is full.
        """
        digests: list[str] = []
        new: dict[str, Path] = {}
        try:
            with explain_disk_errors(self.directory.parent):
                for sample in samples:
                    data = _read(sample.image, sample.id)
                    digest = hashlib.sha256(data).hexdigest()
                    digests.append(digest)
                    if digest not in new and not is_whole(self.path(digest)):
                        new[digest] = self._write(data)
                if new:
                    self._publish(new)
        except BaseException:
            for unfinished in new.values():
                unfinished.unlink(missing_ok=True)
            raise
        return digests

    def _write(self, data: bytes) -> Path:
        self.directory.mkdir(exist_ok=True)
        path = self.directory / f"unfinished-{uuid.uuid4().hex}"
        try:
            path.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _publish(self, new: dict[str, Path]) -> None:
        """Bytes are synced before the file gets its name. The name itself is not: SQLite does not
        sync each commit either, and when it does, the filesystem's journal brings the older name
        along. What a power failure might still tear is found by ``is_whole``."""
        if len(new) == 1:
            _sync(*new.values())
        else:  # at the same time, so that the disk flushes once for several
            with ThreadPoolExecutor(_SYNC_THREADS) as threads:
                list(threads.map(_sync, new.values()))
        for digest, unfinished in new.items():
            path = self.path(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(path)


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
