"""``syngrpo evaluate`` and ``syngrpo evaluate compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from syngrpo.cli.options import Columns, DataSplit, DataTask, column_mapping

evaluate_app = typer.Typer(
    help="Measure a model's accuracy on data sets; or compare what was measured.",
    invoke_without_command=True,
)


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help='Model directory, hub name, or "starter". Required.')
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set of any format, or rooms:[TASK:]SPLIT; may be repeated. Required."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for metrics, predictions and the page. Required."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter for the model.")] = None,
    format: Annotated[str, typer.Option(help="Of the data: auto, jsonl, coco, …")] = "auto",
    images: Annotated[
        list[Path] | None, typer.Option(help="Image folder of the data; may be repeated.")
    ] = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    count: Annotated[int, typer.Option(min=1, help="Samples of each rooms:SPLIT.")] = 500,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Samples of every other data set, at most.")
    ] = None,
    prompt_style: Annotated[
        Literal["full", "brief"] | None, typer.Option(help="Default: as the model was trained.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length limit of a response.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Area of a resized image, at most.")
    ] = None,
    samples_per_prompt: Annotated[
        int, typer.Option(min=0, help="Responses for the sampled accuracy; 0: greedy only.")
    ] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop the predictions in --out.")
    ] = False,
) -> None:
    """Measure a model's accuracy on data sets.

    Run it again with the same arguments to go on where it was interrupted.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None or not data or out is None:
        given = {"--model": model, "--data": data, "--out": out}
        missing = next(name for name, value in given.items() if not value)
        context.fail(f"Missing option '{missing}'.")
    import torch

    from syngrpo.evaluation import evaluate_command
    from syngrpo.formats.registry import ReadOptions

    evaluate_command(
        model,
        data,
        out,
        adapter=adapter,
        format=format,
        options=ReadOptions(
            images=tuple(images or ()),
            task=task,
            split=split,
            columns=column_mapping(columns),
            limit=limit,
        ),
        count=count,
        prompt_style=prompt_style,
        max_new_tokens=max_new_tokens,
        max_pixels=max_pixels,
        samples_per_prompt=samples_per_prompt,
        batch_size=batch_size,
        seed=seed,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        dtype=dtype,
        restart=restart,
    )


@evaluate_app.command()
def compare(
    directories: Annotated[
        list[Path], typer.Argument(help="--out of two or more evaluations; the first is the base.")
    ],
    out: Annotated[Path | None, typer.Option(help="Directory for comparison.json.")] = None,
) -> None:
    """Paired differences of evaluations on the same data, with 95 % intervals."""
    from syngrpo.evaluation import compare_command

    compare_command(directories, out)
