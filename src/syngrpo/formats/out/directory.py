"""A directory that is there complete, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syngrpo.sample import InputError


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to write into; it gets the name ``out`` when the block ends without an error.

    Until then it is ``NAME.unfinished`` beside it; what a killed process left there is removed by
    the next. Raises InputError when ``out`` is a file or has content, or cannot be made.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "is not empty" if out.is_dir() else "is a file"
        raise InputError(f"{out} {kind}; name a new directory with --out")
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{out} cannot be made ({error.strerror}); name another --out") from None
    try:
        yield unfinished
        unfinished.replace(out)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
