"""``syngrpo data convert``: any format in, any format out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.options import Columns, DataSplit, DataTask, column_mapping
from syngrpo.serving.wording import count


def convert(
    source: Annotated[str, typer.Argument(help="A data file or folder, or a hub id (hf).")],
    out: Annotated[Path, typer.Option(help="A new directory for the data set.")],
    to: Annotated[str, typer.Option(help="jsonl, vlm-r1, coco or hf.")],
    format: Annotated[
        str, typer.Option(help="Of the input: auto, jsonl, vlm-r1, coco, refcoco or hf.")
    ] = "auto",
    images: Annotated[
        list[Path] | None, typer.Option(help="Its image folder; may be repeated.")
    ] = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Annotated[
        int, typer.Option(min=0, help="Absent classes asked for in an image of COCO.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of drawing those.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="No more samples than that.")] = None,
) -> None:
    """Convert a data set to another format."""
    from syngrpo.cli.progress import progress_bar
    from syngrpo.formats.out import write_dataset
    from syngrpo.formats.registry import ReadOptions, read_dataset

    options = ReadOptions(
        images=tuple(images or ()),
        task=task,
        split=split,
        columns=column_mapping(columns),
        negatives=negatives,
        seed=seed,
        limit=limit,
    )
    samples = read_dataset(Path(source), format, options)
    with progress_bar("writing", len(samples)) as advance:
        write_dataset(samples, out, to, advance)
    print(f"{count(len(samples), 'sample')} in {out}")
