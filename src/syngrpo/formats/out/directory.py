"""A directory that is there complete, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_directory


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to write into; it gets the name ``out`` when the block ends without an error.

    What a killed process wrote is removed when ``out`` is made again. Raises InputError when
    ``out`` is a file or has content, or cannot be made.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "is not empty" if out.is_dir() else "is a file"
        raise InputError(f"{out} {kind}; name a new directory with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{out} cannot be made ({error.strerror}); name another --out") from None
    with atomic_directory(out, durable=False) as temporary:
        yield temporary
