"""``syngrpo rooms``: the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.options import Count, Seed, Size, Split, Task, rooms_of

rooms_app = typer.Typer(help="The embedded world of small indoor scenes.")


@rooms_app.command("starter")
def rooms_starter(
    out: Annotated[Path, typer.Option(help="Directory for the model, its log and state.")],
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads that train.")] = 1,
) -> None:
    """Make the bundled starter model from nothing, by its recipe.

    One to two hours on two cores; run it again to go on where it stopped.
    """
    import json

    from syngrpo_rooms.starter.recipe import Recipe, make_starter

    recipe = Recipe(seed=seed, workers=workers, threads=threads)
    make_starter(out, recipe, report=lambda record: print(json.dumps(record), flush=True))


@rooms_app.command("show")
def rooms_show(
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    split: Split = "train",
    task: Task = "rec",
    count: Count = 24,
    seed: Seed = 0,
    size: Size = 128,
) -> None:
    """Draw samples of a split on one sheet, with their questions and answers."""
    from syngrpo.formats.contact_sheet import contact_sheet

    samples = rooms_of(split, task, count, seed, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(samples).save(out, format="PNG")
    print(f"{len(samples)} samples in {out}")
