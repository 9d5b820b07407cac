"""``syngrpo evaluate``: a model and data in, a table, metrics, predictions and a page out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from syngrpo.evaluation.compare import Comparison, compare, write_comparison
from syngrpo.evaluation.fingerprint import model_fingerprint
from syngrpo.evaluation.measure import EvaluationResult, evaluate
from syngrpo.evaluation.output import Output
from syngrpo.evaluation.sets import named_sets
from syngrpo.evaluation.tables import comparison_table, results_table
from syngrpo.formats.registry import ReadOptions
from syngrpo.pages.evaluation_page import write_evaluation_page
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.sample import Sample
from syngrpo.tasks import PromptStyle
from syngrpo_rooms.starter import STARTER_DIR

STARTER = "starter"
LIMITS = {"brief": 64, "full": 512}
"""Tokens of a response, at most, where nothing else is known."""


def evaluate_command(
    model: str,
    data: Sequence[str | Path],
    out: Path,
    *,
    adapter: Path | None = None,
    format: str = "auto",
    options: ReadOptions | None = None,
    count: int = 500,
    prompt_style: PromptStyle | None = None,
    max_new_tokens: int | None = None,
    max_pixels: int | None = None,
    samples_per_prompt: int = 4,
    temperature: float = 1.0,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    restart: bool = False,
    console: Console | None = None,
) -> dict[str, EvaluationResult]:
    """Evaluates a model on each of ``data`` and writes what came out; returns it by set.

    ``model`` is a directory in Hugging Face format, a name on the hub or "starter", with the
    low-rank ``adapter`` on top where one is given; ``data`` are data sets, as ``named_sets`` reads
    them. Prompt style and length limit default to those of the run that trained the model, when
    it is the ``final`` of a run directory; else "brief" for the starter and "full" for any other.

    Writes ``metrics.json``, ``evaluation.jsonl``, ``predictions-SET.jsonl`` and ``report.html`` to
    ``out``. Predictions appear there batch by batch; a later call with the same model, samples and
    settings goes on with them, unless ``restart`` drops them. Raises InputError for a model or data
    that cannot be read, and for an ``out`` with predictions of something else.
    """
    console = console or Console()
    sets = named_sets(data, count, format, options)
    style, limit = _how_to_ask(model, prompt_style, max_new_tokens, adapter)
    path = str(STARTER_DIR) if model == STARTER else model
    policy = load_policy(path, dtype=dtype, device=device, max_pixels=max_pixels, adapter=adapter)
    asking: dict[str, Any] = {
        "prompt_style": style,
        "max_new_tokens": limit,
        "samples_per_prompt": samples_per_prompt,
        "temperature": temperature,
        "seed": seed,
    }
    settings = {"model": model_fingerprint(path, adapter), "max_pixels": max_pixels, "dtype": dtype}
    output = Output(out, settings | asking, restart)
    results = _evaluate_sets(policy, sets, output, asking | {"batch_size": batch_size}, console)
    page = write_evaluation_page(
        out, results, sets, title=f"{model} with {adapter}" if adapter else model
    )
    console.print(results_table(results))
    console.print(
        f"predictions and metrics are in {out}; look at {page}", soft_wrap=True, markup=False
    )
    return results


def compare_command(
    directories: Sequence[Path], out: Path | None = None, console: Console | None = None
) -> Comparison:
    """Compares finished evaluations, prints the table, and writes ``comparison.json`` to ``out``.

    Raises InputError as ``compare`` does.
    """
    console = console or Console()
    comparison = compare(directories)
    console.print(comparison_table(comparison))
    for one in comparison.sets:
        console.print(
            f"{one.name}: {one.shared} samples shared, of {', '.join(map(str, one.samples))}",
            markup=False,
        )
    if out is not None:
        console.print(
            f"written to {write_comparison(comparison, out)}", soft_wrap=True, markup=False
        )
    return comparison


def _how_to_ask(
    model: str, style: PromptStyle | None, limit: int | None, adapter: Path | None = None
) -> tuple[PromptStyle, int]:
    """Prompt style and length limit: as given, else as the run that trained it had them, else by
    model."""
    config: dict[str, Any] = {}
    path = (adapter or Path(model)).resolve().parent / "config.yaml"
    if (adapter or model != STARTER) and path.is_file():
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    by_model: PromptStyle = "brief" if model == STARTER else "full"
    chosen = style or config.get("data", {}).get("prompt_style", by_model)
    return chosen, limit or config.get("rollout", {}).get("max_new_tokens", LIMITS[chosen])


def _evaluate_sets(
    policy: Policy,
    sets: dict[str, list[Sample]],
    output: Output,
    options: dict[str, Any],
    console: Console,
) -> dict[str, EvaluationResult]:
    """Goes on with what ``output`` holds, checked for all sets first."""
    style = options["prompt_style"]
    finished = {name: output.finished(name, samples, style) for name, samples in sets.items()}
    results = {}
    with _bar(console) as bar:
        for name, samples in sets.items():
            task = bar.add_task(name, total=len(samples))
            results[name] = evaluate(
                policy,
                samples,
                **options,
                progress=partial(bar.advance, task),
                finished=finished[name],
                keep=partial(output.append, name),
            )
            output.complete(name, results[name])
    output.write_metrics(results)
    return results


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]evaluate {task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
