"""``syngrpo data``: data sets in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.options import Count, Seed, Size, Split, rooms_of

data_app = typer.Typer(help="Data sets.")


@data_app.command("rooms")
def data_rooms(
    out: Annotated[Path, typer.Option(help="Directory for data.jsonl and images/.")],
    split: Split = "train",
    count: Count = 500,
    seed: Seed = 0,
    size: Size = 128,
) -> None:
    """Write a split of the rooms world as JSONL with images."""
    from syngrpo.formats.jsonl import write_jsonl

    samples = rooms_of(split, count, seed, size)
    write_jsonl(samples, out / "data.jsonl", out / "images")
    print(f"{len(samples)} samples in {out / 'data.jsonl'}")


@data_app.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    images: Annotated[
        Path | None, typer.Option(help="Its image folder. Default: the file's folder.")
    ] = None,
) -> None:
    """Check every row and decode every image of a JSONL file."""
    from collections import Counter

    from syngrpo.formats.jsonl import read_jsonl

    samples = read_jsonl(file, images, decode=True)
    tasks = Counter(sample.task for sample in samples)
    pictures = {sample.image.path for sample in samples}
    objects = sum(len(sample.objects) for sample in samples)
    listed = ", ".join(f"{count} {task}" for task, count in sorted(tasks.items()))
    print(f"{file}: ok, {listed} samples, {len(pictures)} images, {objects} labelled objects")
