"""``syngrpo evaluate`` measures a model; ``syngrpo evaluate compare`` compares measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from syngrpo.cli.shared_options import (
    BoxOrder,
    Columns,
    DataFormat,
    DataImages,
    DataSplit,
    DataTask,
    Negatives,
    source_keys,
)
from syngrpo.serving.garbage_collection import importing
from syngrpo.serving.wording import count

if TYPE_CHECKING:
    from rich.console import Console

    from syngrpo.evaluation.model_evaluation import Advance, Asking, Loading
    from syngrpo.sample import Sample
    from syngrpo.tasks.rewards import RewardOptions

ModelName = Annotated[
    str | None,
    typer.Option(
        help="Model directory, run directory (its final), hub name, or name of an installed "
        "model. Required."
    ),
]
DataSets = Annotated[
    list[str] | None,
    typer.Option(
        help="A data set of any format, or FORMAT:[TASK:]SPLIT of a format that generates "
        "samples; may be repeated. Required."
    ),
]
OutDirectory = Annotated[
    Path | None, typer.Option(help="Directory for metrics, predictions and the page. Required.")
]
Adapter = Annotated[Path | None, typer.Option(help="A LoRA adapter for the model.")]
SampleCount = Annotated[int, typer.Option(min=1, help="Number of samples of each FORMAT:SPLIT.")]
SampleLimit = Annotated[int | None, typer.Option(min=1, help="Most samples of each data set.")]
Style = Annotated[
    Literal["full", "brief"] | None,
    typer.Option(help="Style of the prompt. Default: as it was trained."),
]
LengthLimit = Annotated[
    int | None,
    typer.Option(min=1, help="Length limit of a response. Default: as it was trained."),
]
PixelLimit = Annotated[
    int | None, typer.Option(min=1, help="Larger images are shrunk to this area.")
]
Family = Annotated[str | None, typer.Option(help="Model family. Default: as it was trained.")]
CoordinateUnits = Annotated[
    Literal["pixels", "resized", "0-1000", "0-1"] | None,
    typer.Option(
        help="Units of the coordinates in the model's answers. Default: as it was trained. "
        "Those of the data are --option coordinates=…"
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Another key of --data as KEY=VALUE: coordinates=0-1000, exif=stored, or one of its "
        "format; may be repeated."
    ),
]
SampledResponses = Annotated[
    int,
    typer.Option(
        min=0,
        help="Responses to each sample for the sampled accuracy, and for pass@k and best@k up to "
        "this k; 0: greedy only.",
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.01, max=100, help="Temperature of the sampled responses; not of the greedy one."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples answered at a time.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed of the sampled responses.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, …")]
WeightType = Annotated[str, typer.Option(help="Type of the weights: float32 or bfloat16.")]
UserReward = Annotated[
    list[str] | None,
    typer.Option(help="A reward of your own: package.module:function. May be repeated."),
]
UserAccuracy = Annotated[
    str | None,
    typer.Option(help="A reward of your own that replaces the accuracy of the task."),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin again: delete the predictions in --out.")
]

evaluate_app = typer.Typer(
    help="Measure a model's accuracy on data sets, or compare evaluations.",
    invoke_without_command=True,
)


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    model: ModelName = None,
    data: DataSets = None,
    out: OutDirectory = None,
    adapter: Adapter = None,
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Negatives = None,
    boxes: BoxOrder = None,
    option: DataOption = None,
    count: SampleCount = 500,
    limit: SampleLimit = None,
    prompt_style: Style = None,
    max_new_tokens: LengthLimit = None,
    max_pixels: PixelLimit = None,
    family: Family = None,
    coordinates: CoordinateUnits = None,
    samples_per_prompt: SampledResponses = 4,
    temperature: Temperature = 1.0,
    batch_size: BatchSize = 32,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: WeightType = "float32",
    reward: UserReward = None,
    accuracy_reward: UserAccuracy = None,
    restart: Restart = False,
) -> None:
    """Measure a model's accuracy on data sets.

    When it was interrupted, give the same command again: it goes on from there.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None or not data or out is None:
        given = {"--model": model, "--data": data, "--out": out}
        context.fail(
            f"Missing option '{next(name for name, value in given.items() if not value)}'."
        )
    with importing():
        from syngrpo.evaluation.model_evaluation import (
            Asking,
            Loading,
            data_settings,
            final_of_run,
            named_sets,
        )

    if (final := final_of_run(model)) != model:
        typer.echo(f"{model} is a run directory; {final} is evaluated", err=True)
        model = final
    keys = source_keys(
        format=format,
        images=images,
        task=task,
        split=split,
        columns=columns,
        negatives=negatives,
        boxes=boxes,
        limit=limit,
        option=option,
    )
    sets = named_sets(data, count, keys)
    loading = Loading(adapter, max_pixels, device, dtype, family, coordinates)
    asking = Asking(prompt_style, max_new_tokens, samples_per_prompt, batch_size, seed, temperature)
    rewards = _rewards(reward or [], accuracy_reward)
    _measure(model, sets, out, loading, asking, rewards, restart, data_settings(keys))


def _measure(
    model: str,
    sets: dict[str, list[Sample]],
    out: Path,
    loading: Loading,
    asking: Asking,
    rewards: list[RewardOptions],
    restart: bool,
    data: dict[str, Any],
) -> None:
    """Evaluate with progress bars. Write the page and print the table of the results."""
    from rich.console import Console

    from syngrpo.evaluation.model_evaluation import evaluate_model
    from syngrpo.pages.evaluation_page import write_evaluation_page
    from syngrpo.pages.evaluation_tables import results_table

    console = Console()
    with _bars(console) as bars:
        results = evaluate_model(model, sets, out, loading, asking, rewards, restart, bars, data)
    title = f"{model} with {loading.adapter}" if loading.adapter else model
    title += "".join(f", accuracy: {one.use}" for one in rewards if one.replaces_accuracy)
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
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Compare also what differs in more than the model."),
    ] = False,
) -> None:
    """Compare evaluations on the same data: paired differences with 95 % intervals."""
    from rich.console import Console

    from syngrpo.evaluation.compare import compare as compare_evaluations
    from syngrpo.evaluation.compare import write_comparison
    from syngrpo.pages.evaluation_tables import comparison_table

    console = Console()
    comparison = compare_evaluations(directories, allow_different=allow_different)
    console.print(comparison_table(comparison))
    for one in comparison.sets:
        samples = ", ".join(map(str, one.samples))
        _tell(console, f"{one.name}: {count(one.shared, 'sample')} shared, of {samples}")
    for left_out in comparison.left_out:
        _tell(console, f"{left_out}: left out, because not all evaluations have it")
    for mismatch in comparison.mismatches:
        _tell(console, f"different beside the model: {mismatch.words(comparison.names)}")
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
