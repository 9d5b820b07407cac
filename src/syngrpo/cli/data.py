"""``syngrpo data``: data sets in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.check import data_check
from syngrpo.cli.convert import convert
from syngrpo.cli.options import Count, Seed, Size, Split, Task, rooms_of

data_app = typer.Typer(help="Data sets.")
data_app.command("check")(data_check)
data_app.command("convert")(convert)


@data_app.command("rooms")
def data_rooms(
    out: Annotated[Path, typer.Option(help="Directory for data.jsonl and images/.")],
    split: Split = "train",
    task: Task = "rec",
    count: Count = 500,
    seed: Seed = 0,
    size: Size = 128,
) -> None:
    """Write a split of the rooms world as JSONL with images."""
    from syngrpo.formats.jsonl import write_jsonl

    samples = rooms_of(split, task, count, seed, size)
    write_jsonl(samples, out / "data.jsonl", out / "images")
    print(f"{len(samples)} samples in {out / 'data.jsonl'}")
