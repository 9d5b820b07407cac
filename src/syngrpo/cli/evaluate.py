"""``syngrpo evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    model: Annotated[str, typer.Option(help='Model directory, or "starter".')],
    data: Annotated[list[str], typer.Option(help="A JSONL file, or rooms:test; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Directory for metrics and predictions.")],
    count: Annotated[int, typer.Option(min=1, help="Samples of each rooms:SPLIT.")] = 500,
    prompt_style: Annotated[
        Literal["full", "brief"] | None, typer.Option(help="Default: as the model was trained.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length limit of a response.")
    ] = None,
    samples_per_prompt: Annotated[
        int, typer.Option(min=0, help="Responses for the sampled accuracy; 0: greedy only.")
    ] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
) -> None:
    """Measure a model's accuracy on data sets."""
    import torch

    from syngrpo.evaluation import evaluate_command

    evaluate_command(
        model,
        data,
        out,
        count=count,
        prompt_style=prompt_style,
        max_new_tokens=max_new_tokens,
        samples_per_prompt=samples_per_prompt,
        batch_size=batch_size,
        seed=seed,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        dtype=dtype,
    )
