"""Small copies of refused pictures, so that a person sees what the gate refuses.

A worker makes the copy (``small_copy``) when its gate refuses a picture. Whoever ends the job in
the pool stores it with ``RefusedPictures``, which keeps the newest ones of each reason. The job
itself, with its description and scores, is in the pool; a copy only holds how the picture was seen
and lit. Training does not depend on these files.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from PIL import Image

from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.wording import first_line

log = logging.getLogger(__name__)

REFUSED = "refused"
"""The folder of the copies, beside the pool's database. It has a folder for each reason."""
SIDE = 384
"""Largest side of a copy in pixels."""
MOST_BYTES = 1 << 18
"""Largest number of bytes of a copy. One with the most detail takes about 150,000."""
MOST_REASONS = 32
"""Number of reasons of which copies are kept, because a judge of the user names its own."""
_QUALITY = 80
_JOB = re.compile("[0-9a-f]{64}")


def small_copy(pixels: np.ndarray, frame: Frame, light: Light) -> bytes:
    """Return a picture, uint8 (H, W, 3), as a JPEG with at most ``SIDE`` pixels on a side. Its
    comment says how the picture is seen and lit."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    made = {"frame": frame.lineage(), "light": light.lineage()}
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY, comment=json.dumps(made))
    return buffer.getvalue()


def read_view(copy: bytes) -> tuple[Frame, Light] | None:
    """Return how the picture of a copy is seen and lit; None if the copy does not say it."""
    try:
        with Image.open(io.BytesIO(copy), formats=("JPEG",)) as picture:
            made = json.loads(picture.info["comment"])
        return Frame.of(made["frame"]), Light.of(made["light"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    except (RecursionError, OverflowError):  # a worker may write any comment
        return None


@dataclass(frozen=True)
class RefusedPicture:
    """A kept copy: the id of its job, its file, and when it was written, in seconds since 1970."""

    job_id: str
    path: Path
    written: float


class RefusedPictures:
    """The copies in the folder of a pool, the newest ``keep`` of each reason; 0 keeps none.

    Any number of processes may add copies at the same time.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._folder = directory / REFUSED
        self.keep = keep
        self._told = False

    def add(self, job_id: str, reason: str, copy: bytes) -> None:
        """Store a copy, and remove the oldest of its reason if there are too many. A copy that
        cannot be stored is said once and left out."""
        if not self.keep:
            return
        folder = self._folder / _name_of(reason)
        try:
            if not folder.exists() and len(_entries(self._folder)) >= MOST_REASONS:
                return
            atomic_write(folder / f"{job_id}.jpg", copy)
            for old in sorted(_copies(folder), key=lambda one: -one.written)[self.keep :]:
                old.path.unlink(missing_ok=True)
        except (OSError, InputError) as error:  # it is only looked at
            if not self._told:
                self._told = True
                log.warning("refused pictures cannot be kept: %s", first_line(error))


def kept_pictures(directory: Path) -> list[RefusedPicture]:
    """Return the copies in the folder of a pool, the newest first; [] without any."""
    folders = _entries(directory / REFUSED)
    return sorted((one for of in folders for one in _copies(of)), key=lambda one: -one.written)


def kept_picture(directory: Path, job_id: str) -> Path | None:
    """Return the file of the copy of a job in the folder of a pool, None if there is none."""
    if not _JOB.fullmatch(job_id):
        return None
    files = (folder / f"{job_id}.jpg" for folder in _entries(directory / REFUSED))
    return next((file for file in files if file.is_file()), None)


def _name_of(reason: str) -> str:
    """Return the name of the folder of a reason. A reason comes from a worker, so that it may hold
    anything."""
    return re.sub(r"[^a-z0-9_]", "-", reason.lower())[:48]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _copies(folder: Path) -> Iterator[RefusedPicture]:
    for path in folder.glob("[0-9a-f]*.jpg"):
        with suppress(FileNotFoundError):  # another process has removed it
            found = path.stat()
            if S_ISREG(found.st_mode):  # a pipe would make its reader wait for ever
                yield RefusedPicture(path.stem, path, found.st_mtime)
