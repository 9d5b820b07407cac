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

Columns = Annotated[
    list[str] | None,
    typer.Option(help="hf: OUR_FIELD=THEIR_COLUMN; may be repeated."),
]


def column_mapping(pairs: list[str] | None) -> dict[str, str]:
    """``question=problem`` → {"question": "problem"}. Raises InputError for any other text."""
    from syngrpo.sample import InputError

    mapping = {}
    for pair in pairs or ():
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise InputError(f"--columns {pair}: write it as OUR_FIELD=THEIR_COLUMN")
        mapping[field] = column
    return mapping


def rooms_of(split: str, task: str, count: int, seed: int, size: int) -> list[Sample]:
    """Samples of the embedded world."""
    from typing import cast

    from syngrpo.rooms.dataset import rooms_samples
    from syngrpo.rooms.surroundings import Split as SplitName

    return rooms_samples(cast(SplitName, split), count, seed=seed, task=task, size=size)
