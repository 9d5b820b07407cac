"""``syngrpo evaluate`` measures a model; ``syngrpo evaluate compare`` compares measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from syngrpo.cli.shared_options import (
    Columns,
    DataFormat,
    DataImages,
    DataSplit,
    DataTask,
    source_keys,
)
from syngrpo.serving.wording import count

if TYPE_CHECKING:
    from rich.console import Console

    from syngrpo.evaluation.model_evaluation import Advance
    from syngrpo.tasks.rewards import RewardOptions

evaluate_app = typer.Typer(
    help="Measure a model's accuracy on data sets, or compare evaluations.",
    invoke_without_command=True,
)


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(help="Model directory, hub name, or name of an installed model. Required."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set of any format, or FORMAT:[TASK:]SPLIT of a format that generates "
            "samples; may be repeated. Required."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for metrics, predictions and the page. Required."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter for the model.")] = None,
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of samples of each FORMAT:SPLIT.")
    ] = 500,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most samples of every other data set.")
    ] = None,
    prompt_style: Annotated[
        Literal["full", "brief"] | None,
        typer.Option(help="Style of the prompt. Default: as it was trained."),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Length limit of a response. Default: as it was trained."),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Larger images are shrunk to this area.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Model family. Default: as it was trained.")
    ] = None,
    coordinates: Annotated[
        Literal["pixels", "resized", "0-1000", "0-1"] | None,
        typer.Option(help="Units of the model's coordinates. Default: as it was trained."),
    ] = None,
    samples_per_prompt: Annotated[
        int,
        typer.Option(
            min=0, help="Responses to each sample for the sampled accuracy; 0: greedy only."
        ),
    ] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples answered at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sampled responses.")] = 0,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, …")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: float32 or bfloat16.")
    ] = "float32",
    reward: Annotated[
        list[str] | None,
        typer.Option(help="A reward of your own: package.module:function. May be repeated."),
    ] = None,
    accuracy_reward: Annotated[
        str | None,
        typer.Option(help="A reward of your own that replaces the accuracy of the task."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again: delete the predictions in --out.")
    ] = False,
) -> None:
    """Measure a model's accuracy on data sets.

    When it was interrupted, give the same command again: it goes on from there.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None or not data or out is None:
        given = {"--model": model, "--data": data, "--out": out}
        missing = next(name for name, value in given.items() if not value)
        context.fail(f"Missing option '{missing}'.")
    from rich.console import Console

    from syngrpo.evaluation.model_evaluation import evaluate_model, named_sets
    from syngrpo.pages.evaluation_page import write_evaluation_page
    from syngrpo.pages.evaluation_tables import results_table

    keys = source_keys(
        format=format, images=images, task=task, split=split, columns=columns, limit=limit
    )
    sets = named_sets(data, count, keys)
    console = Console()
    with _bars(console) as bars:
        results = evaluate_model(
            model,
            sets,
            out,
            adapter=adapter,
            prompt_style=prompt_style,
            max_new_tokens=max_new_tokens,
            max_pixels=max_pixels,
            family=family,
            coordinates=coordinates,
            samples_per_prompt=samples_per_prompt,
            batch_size=batch_size,
            seed=seed,
            device=device,
            dtype=dtype,
            restart=restart,
            rewards=_rewards(reward or [], accuracy_reward),
            progress=bars,
        )
    title = f"{model} with {adapter}" if adapter else model
    if accuracy_reward is not None:
        title += f", accuracy: {accuracy_reward}"
    page = write_evaluation_page(out, results, sets, title)
    console.print(results_table(results))
    _tell(console, f"predictions and metrics are in {out}; look at {page}")


@evaluate_app.command()
def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            help="The --out of two or more evaluations. The others are compared with the first."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Directory for comparison.json.")] = None,
) -> None:
    """Compare evaluations on the same data: paired differences with 95 % intervals."""
    from rich.console import Console

    from syngrpo.evaluation.compare import compare as compare_evaluations
    from syngrpo.evaluation.compare import write_comparison
    from syngrpo.pages.evaluation_tables import comparison_table

    console = Console()
    comparison = compare_evaluations(directories)
    console.print(comparison_table(comparison))
    for one in comparison.sets:
        samples = ", ".join(map(str, one.samples))
        _tell(console, f"{one.name}: {count(one.shared, 'sample')} shared, of {samples}")
    if out is not None:
        _tell(console, f"written to {write_comparison(comparison, out)}")


def _rewards(added: list[str], replacing: str | None) -> list[RewardOptions]:
    """Return the rewards that --reward and --accuracy-reward name. Raises InputError."""
    from syngrpo.sample import InputError
    from syngrpo.tasks.rewards import RewardOptions

    try:
        rewards = [RewardOptions(use) for use in added]
        if replacing is not None:
            rewards.append(RewardOptions(replacing, replaces_accuracy=True))
    except ValueError as error:
        raise InputError(f"--reward: {error}") from None
    return rewards


def _tell(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int], Advance]]:
    """Show a progress bar for each set.

    Yield a function that is called with the name of a set and its number of samples. It adds a bar
    and returns another function, which is called with the number of samples just answered.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("[bold]evaluate {task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:

        def start(name: str, samples: int) -> Advance:
            return partial(bars.advance, bars.add_task(name, total=samples))

        yield start
