"""``syngrpo data``: data sets checked, and converted from any format to any other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.check import data_check
from syngrpo.cli.options import (
    Columns,
    DataFormat,
    DataImages,
    DataLimit,
    DataSplit,
    DataTask,
    FormatOption,
    Negatives,
    source_keys,
)

data_app = typer.Typer(help="Data sets.")
data_app.command("check")(data_check)


@data_app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A data file or folder, a hub name, or FORMAT:[TASK:]SPLIT of a format that "
            "generates samples."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new directory for the data set.")],
    to: Annotated[str, typer.Option(help="The format to write. syngrpo extensions lists them.")],
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Negatives = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of what the format draws at random.")
    ] = None,
    limit: DataLimit = None,
    option: FormatOption = None,
) -> None:
    """Convert a data set to another format."""
    from syngrpo.cli.progress import progress_bar
    from syngrpo.formats import writable_format
    from syngrpo.formats.export import write_dataset
    from syngrpo.formats.source import read_dataset, source_from_argument

    writable_format(to)
    drawn = source_keys(seed=seed, limit=limit, option=option)
    of_files = source_keys(
        format=format, images=images, task=task, split=split, columns=columns, negatives=negatives
    )
    samples = read_dataset(source_from_argument(source, of_files | drawn, drawn))
    with progress_bar("writing", len(samples)) as advance:
        write_dataset(samples, out, to, advance)
    print(f"{len(samples)} samples in {out}")
