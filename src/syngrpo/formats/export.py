"""Writes a data set in any format that can be written. The directory appears complete or not at
all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from syngrpo.formats import writable_format
from syngrpo.formats.lineage_columns import lineage_of, write_lineage
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_directory

LINEAGE_TABLE = "lineage.csv"


def write_dataset(
    samples: Sequence[Sample],
    out: Path,
    format: str,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Write samples into the new directory ``out``, with ``lineage.csv`` if all have a lineage.

    ``format``: a short name, or ``package.module:name``. ``advance`` is called after every sample.
    Raises InputError for a format that cannot be written, an ``out`` that is not empty, an empty
    list of samples, an image that cannot be read, and a sample that the format cannot represent.
    """
    writer = writable_format(format)
    if not samples:
        raise InputError("there are no samples to write")
    with new_directory(out) as directory:
        images = writer.write(_counted(samples, advance), directory)
        if all(lineage_of(sample) is not None for sample in samples):
            write_lineage(samples, images, directory / LINEAGE_TABLE)


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """Yield a directory to write into. It is renamed to ``out`` when the block ends without error.

    If the process is killed, a temporary directory remains; it is removed when ``out`` is written
    again. Raises InputError when ``out`` is a file, is not empty, cannot be created or cannot be
    renamed.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "is not empty" if out.is_dir() else "is a file"
        raise InputError(f"{out} {kind}; name a new directory with --out")
    if out.exists() and (out.is_mount() or out.samefile(Path.cwd())):
        what = "a disk is mounted there" if out.is_mount() else "it is the working directory"
        raise InputError(
            f"{out} cannot be replaced by a complete export, because {what}; name a new directory "
            f"in it with --out, such as {out / 'export'}"
        )
    with atomic_directory(out, durable=False) as temporary:
        yield temporary


def _counted(samples: Sequence[Sample], advance: Callable[[], object]) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        advance()
