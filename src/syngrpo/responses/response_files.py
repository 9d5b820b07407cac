"""The names of the files in ``responses/``, and what is removed when a run goes on.

A file holds all kept responses of a range of steps, which its name says. Every step is in one file.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_file, remove_unfinished
from syngrpo.serving.wording import first_line

logger = logging.getLogger(__name__)

RESPONSES = "responses"
"""The folder of the files in the run directory."""
_NAME = re.compile(r"steps-(\d{8,9})-(\d{8,9})\.parquet")


@dataclass(frozen=True, order=True)
class ResponseFile:
    """A file with the responses of the steps ``first`` to ``last``."""

    first: int
    last: int
    path: Path


def file_for(directory: Path, first: int, last: int) -> Path:
    """Return the path of the file for these steps. Sorted by name, files are in order of steps."""
    return directory / f"steps-{first:08}-{last:08}.parquet"


def response_files(directory: Path) -> list[ResponseFile]:
    """Return the files in ``responses/`` of a run in order of steps; [] without the folder."""
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        named = [(_NAME.fullmatch(entry.name), entry) for entry in entries]
        return sorted(
            ResponseFile(int(match[1]), int(match[2]), Path(entry.path))
            for match, entry in named
            if match and entry.is_file()  # a pipe would make its reader wait for ever
        )


def remove_responses_after(directory: Path, step: int) -> None:
    """Remove the responses of steps after ``step``, because the run does these steps again, and
    files that a killed run left half written.

    Can be interrupted and done again. Raises InputError for what cannot be removed.
    """
    try:
        if directory.is_dir():
            remove_unfinished(directory)
        for file in response_files(directory):
            if file.last <= step:
                continue
            if file.first <= step:
                _shorten(file, step)
            file.path.unlink()
    except OSError as error:
        raise InputError(
            f"responses after step {step} cannot be removed from {directory} ({error.strerror}); "
            "the run writes them again: make the folder writable, or move it away"
        ) from error


def _shorten(file: ResponseFile, step: int) -> None:
    """Write the responses of a file up to ``step`` to a file of their own."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        table = pq.read_table(file.path).filter(pc.field("step") <= step)
    except (ArrowException, OSError) as error:  # of damaged pages, too, Arrow says that it is none
        logger.warning("%s cannot be read (%s) and is removed", file.path, first_line(error))
        return
    target = file_for(file.path.parent, file.first, step)
    with atomic_file(target, durable=True) as temporary:
        pq.write_table(table, temporary, compression="zstd")
