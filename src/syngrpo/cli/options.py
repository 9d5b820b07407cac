"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from syngrpo.sample import Sample

Split = Annotated[str, typer.Option(help="train, test, ood, dev or broad.")]
Task = Annotated[str, typer.Option(help="rec, ovd or isr.")]
Count = Annotated[int, typer.Option(min=1, help="Number of samples.")]
Seed = Annotated[int, typer.Option(min=0, help="Other seeds give other scenes.")]
Size = Annotated[int, typer.Option(min=64, max=512, help="Side of an image in pixels.")]


def rooms_of(split: str, task: str, count: int, seed: int, size: int) -> list[Sample]:
    """Samples of the embedded world."""
    from typing import cast

    from syngrpo.rooms.dataset import rooms_samples
    from syngrpo.rooms.surroundings import Split as SplitName

    return rooms_samples(cast(SplitName, split), count, seed=seed, task=task, size=size)
