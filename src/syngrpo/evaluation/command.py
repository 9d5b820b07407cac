"""``syngrpo evaluate``: a model directory and data in, a table, metrics and predictions out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from syngrpo.evaluation.measure import EvaluationResult, evaluate
from syngrpo.evaluation.predictions import write_predictions
from syngrpo.formats.jsonl import read_jsonl
from syngrpo.policy.loading import load_policy
from syngrpo.rooms.dataset import rooms_samples
from syngrpo.rooms.starter import STARTER_DIR
from syngrpo.rooms.surroundings import SPLITS, Split
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import PromptStyle

STARTER = "starter"
LIMITS = {"brief": 64, "full": 512}
"""Tokens of a response, at most, where nothing else is known."""


def evaluate_command(
    model: str,
    data: Sequence[str | Path],
    out: Path,
    *,
    count: int = 500,
    prompt_style: PromptStyle | None = None,
    max_new_tokens: int | None = None,
    samples_per_prompt: int = 4,
    temperature: float = 1.0,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    console: Console | None = None,
) -> dict[str, EvaluationResult]:
    """Evaluates a model on each of ``data`` and writes what came out; returns it by set.

    ``model`` is a directory in Hugging Face format or "starter"; each of ``data`` a JSONL file or
    ``rooms:SPLIT``, of which ``count`` samples are taken. Prompt style and length limit default to
    those of the run that trained the model, when it is the ``final`` of a run directory; else
    "brief" for the starter and "full" for any other. Writes ``out/evaluation.jsonl`` and
    ``out/predictions-SET.jsonl``. Raises InputError for a model or data that cannot be read.
    """
    console = console or Console()
    sets = named_sets(data, count)
    style, limit = _how_to_ask(model, prompt_style, max_new_tokens)
    path = STARTER_DIR if model == STARTER else model
    policy = load_policy(path, dtype=dtype, device=device)
    results = {}
    with _bar(console) as bar:
        for name, samples in sets.items():
            task = bar.add_task(name, total=len(samples))
            results[name] = evaluate(
                policy,
                samples,
                prompt_style=style,
                max_new_tokens=limit,
                batch_size=batch_size,
                samples_per_prompt=samples_per_prompt,
                temperature=temperature,
                seed=seed,
                progress=partial(bar.advance, task),
            )
    _write(results, out)
    console.print(results_table(results))
    console.print(f"predictions and metrics are in {out}", soft_wrap=True, markup=False)
    return results


def named_sets(data: Sequence[str | Path], count: int) -> dict[str, list[Sample]]:
    """Reads the data; a set is named by its split or its file. Raises InputError."""
    sets: dict[str, list[Sample]] = {}
    for source in map(str, data):
        kind, _, split = source.partition(":")
        if kind == "rooms" and split not in SPLITS:
            raise InputError(f"data {source}: no such split; use one of {', '.join(SPLITS)}")
        name = split if kind == "rooms" else Path(source).stem
        if name in sets:
            raise InputError(f"data {source}: a set named {name} was given already; rename it")
        # The split was checked, which the type checker cannot see.
        rooms = kind == "rooms"
        sets[name] = rooms_samples(cast(Split, split), count) if rooms else read_jsonl(Path(source))
    return sets


def results_table(results: dict[str, EvaluationResult]) -> Table:
    """Metrics down, sets across; 95 % intervals beside the means."""
    table = Table(title="held-out accuracy, with 95 % intervals", title_justify="left")
    table.add_column("metric")
    for name in results:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(m for result in results.values() for m in result.metrics):
        table.add_row(metric, *(_cell(result, metric) for result in results.values()))
    return table


def _how_to_ask(
    model: str, style: PromptStyle | None, limit: int | None
) -> tuple[PromptStyle, int]:
    """Prompt style and length limit: as given, else as the model's run had them, else by model."""
    config: dict[str, Any] = {}
    path = Path(model).resolve().parent / "config.yaml"
    if model != STARTER and path.is_file():
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    by_model: PromptStyle = "brief" if model == STARTER else "full"
    chosen = style or config.get("data", {}).get("prompt_style", by_model)
    return chosen, limit or config.get("rollout", {}).get("max_new_tokens", LIMITS[chosen])


def _cell(result: EvaluationResult, metric: str) -> str:
    value = result.metrics.get(metric)
    if value is None:
        return "–"
    if metric not in result.intervals:
        return f"{value:g}"
    low, high = result.intervals[metric]
    return f"{value:.3f}  [{low:.3f}, {high:.3f}]".replace("[", r"\[")


def _write(results: dict[str, EvaluationResult], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(result.record(0, name)) + "\n" for name, result in results.items()]
    (out / "evaluation.jsonl").write_text("".join(lines), encoding="utf-8")
    for name, result in results.items():
        write_predictions(result.predictions, out / f"predictions-{name}.jsonl")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]evaluate {task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
