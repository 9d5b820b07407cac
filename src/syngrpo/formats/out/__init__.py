"""Every data format that can be written, by name, and the one function that writes any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from syngrpo.formats.lineage import lineage_of, write_lineage
from syngrpo.formats.out.coco import write_coco
from syngrpo.formats.out.directory import new_directory
from syngrpo.formats.out.hugging_face import write_hugging_face
from syngrpo.formats.out.jsonl import write_jsonl_directory
from syngrpo.formats.out.vlm_r1 import write_vlm_r1
from syngrpo.sample import InputError, Sample

__all__ = ["WRITERS", "write_dataset"]

Writer = Callable[[Iterable[Sample], Path], dict[str, str]]
"""Writes into an empty directory; returns sample id → image, relative to it."""

WRITERS: dict[str, Writer] = {
    "jsonl": write_jsonl_directory,
    "vlm-r1": write_vlm_r1,
    "coco": write_coco,
    "hf": write_hugging_face,
}

LINEAGE_TABLE = "lineage.csv"


def write_dataset(
    samples: Sequence[Sample],
    out: Path,
    format: str,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Writes a data set into the new directory ``out``, complete or not at all.

    With ``lineage.csv`` beside it when the samples have lineage columns. ``advance`` is called
    after every sample. Raises InputError for an unknown format, an ``out`` that has content, no
    samples, an image that cannot be read, a task for which the format has no place.
    """
    if format not in WRITERS:
        raise InputError(f"unknown format {format!r}; use one of: {', '.join(WRITERS)}")
    if not samples:
        raise InputError("there are no samples to write")
    with new_directory(out) as directory:
        images = WRITERS[format](_counted(samples, advance), directory)
        if all(lineage_of(sample) is not None for sample in samples):
            write_lineage(samples, images, directory / LINEAGE_TABLE)


def _counted(samples: Sequence[Sample], advance: Callable[[], object]) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        advance()
