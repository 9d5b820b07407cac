"""The commands ``syngrpo rooms``: ``write``, ``show`` and ``starter``.

Each command imports the modules it needs only when it runs, so that ``syngrpo --help`` stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from syngrpo.sample import Sample

rooms_app = typer.Typer(help="The embedded world of small indoor scenes.")

SPLITS_HELP = "train, test, ood, dev, broad, hard, ood-hard or dev-hard."
SplitOption = Annotated[str, typer.Option(help=SPLITS_HELP)]
TaskOption = Annotated[str, typer.Option(help="The task of the samples.")]
CountOption = Annotated[int, typer.Option(min=1, help="Number of samples.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Another seed gives other scenes.")]
SizeOption = Annotated[int, typer.Option(min=64, max=512, help="Side of an image in pixels.")]


@rooms_app.command("write")
def write(
    out: Annotated[Path, typer.Option(help="A new directory for data.jsonl and images/.")],
    split: SplitOption = "train",
    task: TaskOption = "rec",
    count: CountOption = 500,
    seed: SeedOption = 0,
    size: SizeOption = 128,
) -> None:
    """Write samples of a split as a JSONL file with a folder of images."""
    from syngrpo.formats.export import write_dataset
    from syngrpo.serving import wording

    samples = _samples(split, task, count, seed, size)
    write_dataset(samples, out, "jsonl")
    print(f"{wording.count(len(samples), 'sample')} in {out / 'data.jsonl'}")


@rooms_app.command("show")
def show(
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    split: SplitOption = "train",
    task: TaskOption = "rec",
    count: CountOption = 24,
    seed: SeedOption = 0,
    size: SizeOption = 128,
) -> None:
    """Draw samples of a split on one sheet, with their questions and answers."""
    from syngrpo.formats.survey import contact_sheet
    from syngrpo.serving import wording

    samples = _samples(split, task, count, seed, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(samples).save(out, format="PNG")
    print(f"{wording.count(len(samples), 'sample')} in {out}")


@rooms_app.command("starter")
def starter(
    out: Annotated[Path, typer.Option(help="Directory for the model, the log and the state.")],
    seed: SeedOption = 0,
    first: Annotated[
        Path | None,
        typer.Option(help="A starter to begin with: the second stage alone, in 20 minutes."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch, for training.")] = 1,
) -> None:
    """Train a starter model by the recipe of the bundled one.

    From random weights this takes one to two hours on two cores. After an interruption, the same
    command resumes the training.
    """
    import json

    from syngrpo_rooms.starter.recipe import Recipe, make_starter

    recipe = Recipe(seed=seed, first=first, workers=workers, threads=threads)
    make_starter(out, recipe, report=lambda record: print(json.dumps(record), flush=True))


def _samples(split: str, task: str, count: int, seed: int, size: int) -> list[Sample]:
    from typing import cast

    from syngrpo.tasks import load_task
    from syngrpo_rooms.dataset import rooms_samples
    from syngrpo_rooms.surroundings import Split

    return rooms_samples(cast(Split, split), count, seed, load_task(task).name, size)
