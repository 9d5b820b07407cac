"""Evaluates a model on data sets, for ``syngrpo evaluate``.

``evaluate_model`` loads the model, prompts it as in its training, continues an interrupted
evaluation, and writes predictions and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from syngrpo.evaluation.answering import evaluate
from syngrpo.evaluation.conditions import OF_DATA, conditions_of
from syngrpo.evaluation.evaluation_directory import EvaluationDirectory, model_fingerprint
from syngrpo.evaluation.evaluation_result import EvaluationResult
from syngrpo.evaluation.trained_with import settings_of
from syngrpo.formats.source import Source, source_from_argument
from syngrpo.formats.source_reading import read_dataset
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import MODELS, Coordinates, model_directory
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import make_directory
from syngrpo.serving.directory_lock import used_alone
from syngrpo.tasks import PromptStyle
from syngrpo.tasks.rewards import RewardOptions, load_reward

TOKENS = {"brief": 64, "full": 512}
"""Largest number of tokens of a response by prompt style, if neither the user nor the run sets
it."""

RUN_CONFIG = "config.yaml"
"""The file by which a run directory is known."""

NOT_SETTINGS = ("images", "format", "limit")
"""The keys of data that say where samples are and how many, and not what they mean."""

OPTIONS_OF_FILES = ("format", "images", "split", "columns", "negatives", "boxes")
"""The keys of files that are options of the command line themselves, and not in --option."""

OF_GENERATED = ("task", "limit")
"""The keys of the command line that are also those of a data set that is generated."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Loading:
    """How a model is loaded, in the words of ``load_policy``.

    ``adapter`` is a LoRA put on top. Without ``family`` or ``coordinates``, those of the run that
    trained the model are used.
    """

    adapter: Path | None = None
    max_pixels: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    family: str | None = None
    coordinates: Coordinates | None = None


@dataclass(frozen=True)
class Asking:
    """How a model is asked, in the words of ``answering.evaluate``.

    Without ``prompt_style`` or ``max_new_tokens``, those of ``how_to_ask`` are used.
    """

    prompt_style: PromptStyle | None = None
    max_new_tokens: int | None = None
    samples_per_prompt: int = 4
    batch_size: int = 32
    seed: int = 0
    temperature: float = 1.0


def evaluate_model(
    model: str,
    sets: Mapping[str, Sequence[Sample]],
    out: Path,
    loading: Loading,
    asking: Asking,
    rewards: Sequence[RewardOptions] = (),
    restart: bool = False,
    progress: Callable[[str, int], Advance] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, EvaluationResult]:
    """Evaluate a model on each of the sets, write the results to ``out`` and return them by set.

    ``model`` is a directory in Hugging Face format, a name on the hub or the short name of an
    installed model. ``progress`` is called with the name and size of each set; the function that it
    returns, with the number of samples that were just answered. Earlier predictions in ``out`` for
    the same model, samples and settings are used again, unless ``restart`` deletes them. ``data``:
    the ``data_settings`` of the sets, which are recorded as settings.

    Raises InputError for a model that cannot be loaded, an image that cannot be decoded, and an
    ``out`` with other predictions or in use by another process.
    """
    loading, asking = _as_trained(model, loading, asking)
    path, _ = model_directory(model)
    policy = load_policy(path, **asdict(loading))
    settings = {
        "model": model_fingerprint(path, loading.adapter),
        **_named(loading, "max_pixels", "dtype", "family", "coordinates"),
        **_named(asking, "prompt_style", "max_new_tokens", "samples_per_prompt"),
        **_named(asking, "temperature", "seed"),
        **(data or {}),
    }
    if rewards:
        settings["rewards"] = [[one.shown_name, one.use, one.replaces_accuracy] for one in rewards]
    how = asdict(asking) | {"rewards": [load_reward(one) for one in rewards]}
    make_directory(out)
    with used_alone(out, "wait for it, or give another --out"):
        directory = EvaluationDirectory(out, settings, restart)
        results = _evaluate_sets(policy, sets, directory, how, progress)
        directory.write_metrics(results, conditions_of(model, policy))
    return results


def final_of_run(model: str) -> str:
    """Return the ``final`` of a run directory; any other model as it is. Raises InputError for a
    run without one."""
    directory = Path(model)
    is_run = (directory / RUN_CONFIG).is_file() and not (directory / "config.json").is_file()
    if model in MODELS or not is_run:
        return model
    if not (directory / "final").is_dir():
        raise InputError(
            f"{model} is a run directory without final, because its training has not ended; end "
            f"it with syngrpo train {model}/{RUN_CONFIG} --run-dir {model} --resume"
        )
    return str(directory / "final")


def _as_trained(model: str, loading: Loading, asking: Asking) -> tuple[Loading, Asking]:
    """Replace what is not given by the values of the run that trained the model."""
    trained = _section(_config_of_run(model, loading.adapter), "model")
    style, limit = how_to_ask(model, asking.prompt_style, asking.max_new_tokens, loading.adapter)
    of_adapter = trained if loading.adapter is not None else {}  # a model has its own limit
    loading = replace(
        loading,
        max_pixels=loading.max_pixels or of_adapter.get("max_pixels"),
        family=loading.family or trained.get("family"),
        coordinates=loading.coordinates or trained.get("coordinates"),
    )
    return loading, replace(asking, prompt_style=style, max_new_tokens=limit)


def _named(options: Loading | Asking, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def _evaluate_sets(
    policy: Policy,
    sets: Mapping[str, Sequence[Sample]],
    directory: EvaluationDirectory,
    how: Mapping[str, Any],
    progress: Callable[[str, int], Advance] | None,
) -> dict[str, EvaluationResult]:
    """Evaluate each set with ``how``, keyword arguments of ``evaluate``, and write the predictions
    to the directory."""
    style = how["prompt_style"]
    # Earlier predictions of all sets are checked before the first one is evaluated.
    finished = {name: directory.finished(name, samples, style) for name, samples in sets.items()}
    results = {}
    for name, samples in sets.items():
        results[name] = evaluate(
            policy,
            samples,
            **how,
            progress=progress(name, len(samples)) if progress is not None else None,
            finished=finished[name],
            keep=partial(directory.append, name),
        )
        directory.complete(name, results[name])
    return results


def named_sets(
    data: Sequence[str | Path], count: int = 500, keys: Mapping[str, Any] | None = None
) -> dict[str, list[Sample]]:
    """Return the data sets that the command line names, by a name made from file, folder or split.

    Each of ``data`` is a path, read as a source with ``keys`` (format, images, task, …), or
    ``FORMAT:[TASK:]SPLIT`` of a format that generates its samples, of which ``count`` are read, and
    no more than ``keys["limit"]``. ``keys["task"]`` is that of generated samples, too, unless the
    text names one. Raises InputError for a data set that cannot be read, for two with the same
    name, and for a key that none of them uses.
    """
    keys = keys or {}
    common = {name: keys[name] for name in OF_GENERATED if name in keys}
    generated = {**common, "count": min(count, keys.get("limit", count))}
    sources = {text: source_from_argument(text, keys, generated) for text in map(str, data)}
    _refuse_unused(keys, sources)
    sets: dict[str, list[Sample]] = {}
    for text in map(str, data):
        source = sources[text]
        if source.path:
            path, split = Path(text), source.options.get("split")
            name = (path.stem if path.is_file() else path.name) + (f"-{split}" if split else "")
        else:
            name = text.partition(":")[2].replace(":", "-")
        if name in sets:
            raise InputError(f"data {text}: a set named {name} was given already; rename it")
        sets[name] = read_dataset(source)
    return sets


def data_settings(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys with which data were read as settings of an evaluation, ``data.boxes`` and so
    on, as far as they change what the samples mean."""
    return {f"{OF_DATA}{key}": value for key, value in keys.items() if key not in NOT_SETTINGS}


def _refuse_unused(keys: Mapping[str, Any], sources: Mapping[str, Source]) -> None:
    """Raise InputError for a key that only files have, if all sources are generated, and for a task
    if all of them name another one themselves."""
    if any(source.path for source in sources.values()):
        return
    names = " and ".join(sources)
    for key in keys:
        if key not in OF_GENERATED:
            written = f"--{key}" if key in OPTIONS_OF_FILES else f"--option {key}"
            raise InputError(f"{written} is for data in files; leave it out for {names}")
    task = keys.get("task")
    if task is not None and all(source.task != task for source in sources.values()):
        raise InputError(f"--task {task}: the task is already named by {names}; leave out one")


def how_to_ask(
    model: str, style: PromptStyle | None, limit: int | None, adapter: Path | None = None
) -> tuple[PromptStyle, int]:
    """Return prompt style and length limit in tokens.

    A value that is None comes from the run that trained the model (or the adapter). For any other
    model the style is "brief" if it knows the response format (``NamedModel``), otherwise
    "full", and the limit is that of TOKENS.
    """
    config = _config_of_run(model, adapter)
    by_model: PromptStyle = "brief" if model_directory(model)[1] else "full"
    chosen = style or _section(config, "data").get("prompt_style") or by_model
    trained = _section(config, "rollout").get("max_new_tokens")
    return chosen, limit or trained or TOKENS[chosen]


def _config_of_run(model: str, adapter: Path | None) -> dict[str, Any]:
    """Return the settings of the run that trained the model (or the adapter); {} for any other
    model."""
    return settings_of(adapter or Path(model_directory(model)[0]))


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    return config.get(name) or {}
