"""Checks plain values and returns the options of a run. Every error is one line that names its key.

The dataclasses of the sections declare types, defaults and bounds; pydantic checks values against
them. The keys of three sections depend on a name in them: a data source has the keys of its format,
``method`` those of its method, and ``synthesis.options`` those of the generator (checked when the
generator is made).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from syngrpo.config.other_trainers import KEYS, PAGE, belongs_elsewhere
from syngrpo.data_server.client_checks import check_bundles, with_waiting_limit
from syngrpo.data_server.synthesis_options import WorkerOptions
from syngrpo.extensions import reason_of
from syngrpo.formats.source import SourceError, source_from_keys
from syngrpo.method import METHODS
from syngrpo.method.base import Method, MethodOptions
from syngrpo.method.method_options import SCENE_BETA
from syngrpo.options import (
    NO_NUMBER,
    alternatives,
    element_of,
    misplaced_booleans,
    problem_of,
)
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.generators import GENERATORS, check_generator
from syngrpo.painting.judges.panel import check_judge
from syngrpo.policy import model_directory
from syngrpo.policy.families import FAMILIES
from syngrpo.rollout import ENGINES, check_engine
from syngrpo.sample import InputError
from syngrpo.tasks.rewards import load_reward
from syngrpo.workflow.run_options import RunOptions

SHOWN_ERRORS = 5

CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False)
_RENAMED: dict[tuple[str, ...], str] = {
    ("trainer", "micro_tokens"): "trainer.token_budget",
    ("rollout", "importance_cap"): "rollout.tis_cap",
    ("synthesis", "displacement"): "synthesis.frame.shift (a share of the free space)",
    ("method", "relative_to_parent"): "method.credit: parent (true) or baseline (false)",
}
"""Keys of earlier versions → their names now."""
_RUN = "run"
# pydantic takes a configuration for a dict of dataclasses, but not for a plain dataclass.
_ADAPTER = TypeAdapter(dict[str, RunOptions], config=CHECKS)


def options_from(values: Mapping[str, Any], where: str = "") -> RunOptions:
    """Check the values of a configuration and return the options of a run, defaults resolved.

    ``where`` names the file in error messages. Raises InputError: all errors, at most five, in one
    line.
    """
    prefix = f"{where}: " if where else ""
    try:
        prepared = _with_method(_with_sources(dict(values)))
        options = _ADAPTER.validate_python({_RUN: prepared})[_RUN]
    except ValidationError as error:
        raise InputError(prefix + describe(error)) from None
    except _WrongKeyError as error:
        raise InputError(prefix + str(error)) from None
    return _resolved(options, prefix)


def describe(error: ValidationError, method: Any = MethodOptions) -> str:
    """Return the errors of a validation, at most five, in one line. ``method`` is the dataclass of
    the keys that the section ``method`` has."""
    details = error.errors()
    lines = [_describe_one(detail, method) for detail in details[:SHOWN_ERRORS]]
    more = len(details) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


class _WrongKeyError(ValueError):
    """A wrong key or value that is found before pydantic checks the rest. The message is one
    line."""


def _with_sources(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the mappings of ``data.train`` and ``evaluation.sets`` into sources. Raises
    _WrongKeyError for renamed keys and for booleans where a number belongs."""
    problems = list(_renamed(values)) or [
        f"{'.'.join(place)}: {value} is not allowed: {NO_NUMBER}"
        for place, value in misplaced_booleans(values, RunOptions)
    ]
    if problems:
        raise _WrongKeyError("; ".join(problems[:SHOWN_ERRORS]))
    data, evaluation = values.get("data"), values.get("evaluation")
    synthesis = values.get("synthesis")
    if isinstance(synthesis, dict) and synthesis.get("mode") is False:  # YAML reads off as false
        values["synthesis"] = {**synthesis, "mode": "off"}
    if isinstance(data, dict) and isinstance(data.get("train"), list):
        train = [_source(one, f"data.train.{n}") for n, one in enumerate(data["train"])]
        values["data"] = {**data, "train": train}
    if isinstance(evaluation, dict) and isinstance(evaluation.get("sets"), dict):
        sets = evaluation["sets"].items()
        named = {name: _source(one, f"evaluation.sets.{name}") for name, one in sets}
        values["evaluation"] = {**evaluation, "sets": named}
    return values


def _source(value: Any, key: str) -> Any:
    if isinstance(value, str):
        raise _WrongKeyError(
            f"{key}: {value!a} is not allowed: should be a section; write {{path: {value}}}"
        )
    if not isinstance(value, dict):
        return value
    try:
        return source_from_keys(value)
    except SourceError as error:
        raise _WrongKeyError(error.below(key)) from None


def _with_method(values: dict[str, Any]) -> dict[str, Any]:
    """Check the section ``method`` against the options of the method that it names, and fill in
    that method's own defaults."""
    section = values.get("method", {})
    if not isinstance(section, dict):
        return values
    name = section.get("name", "syn-grpo")
    if not isinstance(name, str):
        raise _WrongKeyError(f"method.name: {name!r} is not allowed: should be a name")
    try:
        method = METHODS.load(name)
    except InputError as error:
        other = belongs_elsewhere("method.name", name)
        raise _WrongKeyError(other or f"method.name: {error}") from None
    adapter = TypeAdapter(dict[str, method.Options], config=CHECKS)  # type: ignore[name-defined]
    try:
        checked = adapter.validate_python({"method": {**method.defaults, **section}})["method"]
        method(checked, steps=1)
    except ValidationError as error:
        raise _WrongKeyError(describe(error, method.Options)) from None
    except ValueError as error:
        raise _WrongKeyError(f"method: {error}") from None
    except Exception as error:
        raise _WrongKeyError(
            f"method.name: method '{name}' cannot be made ({reason_of(error)})"
        ) from error
    return {**values, "method": checked}


def _check_ahead(options: RunOptions, method: Method, prefix: str) -> None:
    """Raise InputError for what cannot go on while batches are sampled ahead."""
    if not options.rollout.async_steps:
        return
    other = None
    if options.method.refill_zero_variance:
        other = "method.refill_zero_variance draws again within a step"
    elif method.distortion(0) is not None:
        other = f"method {options.method.name} distorts images by the step"
    elif method.paints and options.synthesis.mode == "inline":
        other = "synthesis.mode inline paints within a step"
    if other is not None:
        raise InputError(
            f"{prefix}rollout.async_steps {options.rollout.async_steps} samples later batches "
            f"beforehand, and {other}; use one of them"
        )


def _check_kept_prompts(options: RunOptions, prefix: str) -> None:
    """Raise InputError when prompts are to be kept of which this process computes none."""
    engine, elsewhere = options.rollout.engine_name, options.rollout.server is not None
    if options.trainer.keep_prompts and (elsewhere or engine == "vllm"):
        raise InputError(
            f"{prefix}trainer.keep_prompts true keeps the native rollout's pass over the prompts, "
            f"and rollout.engine {engine} has none; remove trainer.keep_prompts"
        )


def _check_staleness(options: RunOptions, method: Method, prefix: str) -> None:
    """Raise InputError when every description would be too old before its image is measured.

    A description is submitted ``rollout.async_steps`` after it was sampled. Its image is drawn in
    the next step at the earliest, and measured ``rollout.async_steps`` later.
    """
    if not (method.paints and method.written_descriptions):
        return
    updates, ahead = options.trainer.updates_per_rollout, options.rollout.async_steps
    least, given = (1 + 2 * ahead) * updates, options.method.max_staleness
    if given < least:
        raise InputError(
            f"{prefix}method.max_staleness {given}: a description gets its reward after {least} "
            f"policy versions or more (trainer.updates_per_rollout {updates}, rollout.async_steps "
            f"{ahead}), so all would be dropped; set it to {least} or more"
        )


def _resolved(options: RunOptions, prefix: str) -> RunOptions:
    """Fill in the defaults that depend on other sections.

    ``data.prompt_style`` is brief for a model that knows the response format;
    ``method.scene_beta`` is at least ``SCENE_BETA`` where descriptions of the policy are painted;
    ``method.clip_low`` and ``clip_high`` are those of the loss;
    ``pool.max_unmeasured`` is the number of synthetic samples drawn in four steps; a method that
    paints nothing switches synthesis off. Raises InputError for a method that paints if synthesis
    is switched off, or if its generator or describer is not set.
    """
    data, pool, synthesis = options.data, options.pool, options.synthesis
    _check_extensions(options, prefix)
    if data.prompt_style is None:
        _, knows_format = model_directory(options.model.path)
        data = replace(data, prompt_style="brief" if knows_format else "full")
    pool = with_waiting_limit(pool, options.trainer.groups_per_step)
    name = options.method.name
    method = METHODS.load(name)(options.method, options.trainer.steps)
    _check_ahead(options, method, prefix)
    _check_kept_prompts(options, prefix)
    _check_staleness(options, method, prefix)
    if not method.paints:
        synthesis = replace(synthesis, mode="off")
    elif synthesis.mode == "off":
        raise InputError(
            f"{prefix}synthesis.mode 'off' contradicts method.name {name!r}; "
            "set method.name to grpo"
        )
    elif synthesis.generator is None:
        known = ", ".join(GENERATORS.names())
        raise InputError(
            f"{prefix}synthesis.generator is not set, and method {name} paints; use one of "
            f"{known}, or package.module:name"
        )
    elif method.random_descriptions and synthesis.describer is None:
        known = ", ".join(DESCRIBERS.names())
        raise InputError(
            f"{prefix}synthesis.describer is not set, and method {name} draws descriptions at "
            f"random; use one of {known}, or package.module:name"
        )
    options = replace(
        options, data=data, pool=pool, synthesis=synthesis, method=_with_defaults(method)
    )
    if method.paints:
        _check_synthesis(options, prefix)
        _check_painting(options, prefix)
        try:
            check_bundles(
                method.bundle_size,
                options.pool,
                options.trainer.groups_per_step,
                options.synthesis.queue_limit,
                "trainer.groups_per_step",
            )
        except InputError as error:
            raise InputError(f"{prefix}{error}") from None
    return options


def _with_defaults(method: Method) -> MethodOptions:
    """Return the method's options with a value of ``scene_beta``, and of the clipping bounds that
    its loss has."""
    low, high = method.options.clip_range
    options = replace(method.options, clip_low=low, clip_high=high)
    if options.scene_beta is not None:
        return options
    least = SCENE_BETA if method.written_descriptions else 0.0
    return replace(options, scene_beta=max(options.beta, least))


def _check_extensions(options: RunOptions, prefix: str) -> None:
    """Load the extensions that the configuration names, before a run loads its data and its model.
    Raises InputError with a message that begins with the key."""
    with _naming("rollout.engine", prefix):
        ENGINES.load(options.rollout.engine_name)
    try:
        check_engine(options.rollout)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None
    if options.model.family is not None:
        with _naming("model.family", prefix):
            FAMILIES.load(options.model.family)
    for number, reward in enumerate(options.data.rewards):
        with _naming(f"data.rewards.{number}", prefix):
            load_reward(reward)


def _check_synthesis(options: RunOptions, prefix: str) -> None:
    """Raise InputError for settings of painting that would have no effect, or spoil every picture.

    Workers of a data server get the settings of the pictures and of the gate from the run, and no
    others.
    """
    synthesis = options.synthesis
    if options.server.url is not None:
        plain = WorkerOptions()
        for key in ("judges", "job_timeout_s"):
            if getattr(synthesis, key) != getattr(plain, key):
                raise InputError(
                    f"{prefix}synthesis.{key} has no effect on the workers of server.url; leave it "
                    "out, or paint in the run (without server.url)"
                )
    if synthesis.round_trip > 0 and synthesis.gate.max_kept_difference == 0:
        raise InputError(
            f"{prefix}synthesis.round_trip changes the kept pixels, and the gate refuses each such "
            "picture; set synthesis.gate.max_kept_difference, to 255 for any difference"
        )


def _check_painting(options: RunOptions, prefix: str) -> None:
    """Load the extensions of a method that paints, as ``_check_extensions`` does."""
    synthesis = options.synthesis
    if synthesis.generator is not None:
        with _naming("synthesis.generator", prefix):
            GENERATORS.load(synthesis.generator)
        with _naming("synthesis.options", prefix):
            check_generator(synthesis.generator, synthesis.options)
    if synthesis.describer is not None:
        with _naming("synthesis.describer", prefix):
            DESCRIBERS.load(synthesis.describer)
    for number, judge in enumerate(synthesis.judges.more):
        with _naming(f"synthesis.judges.more.{number}", prefix):
            check_judge(judge.use, judge.options)


@contextmanager
def _naming(key: str, prefix: str) -> Iterator[None]:
    """Let an InputError begin with the key that names the extension at fault."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{key}: {error}") from None


def _renamed(values: Mapping[str, Any], parents: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield one line for each key that has another name now."""
    items: Iterator[tuple[str, Any]]
    for key, value in values.items():
        place = (*parents, str(key))
        if (now := _name_now(place)) is not None:
            yield f"{'.'.join(place)} has another name now: {now}"
        if isinstance(value, Mapping):
            yield from _renamed(value, place)
        elif isinstance(value, list):
            items = ((str(n), one) for n, one in enumerate(value))
            for number, one in items:
                if isinstance(one, Mapping):
                    yield from _renamed(one, (*place, number))


def _name_now(location: tuple[str, ...]) -> str | None:
    """Return the present name of a key of earlier versions, None for any other key."""
    in_source = location[:2] in (("data", "train"), ("evaluation", "sets"))
    if in_source and len(location) == 4 and location[3] == "rooms":
        source = ".".join(location[:3])
        return (
            f"{source}.format is rooms and {source}.split the split, for example "
            "{format: rooms, split: train, count: 200}"
        )
    return _RENAMED.get(location)


def _describe_one(detail: Any, method: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    if location[:1] == [_RUN]:
        location = location[1:]
    key = ".".join(location)
    if detail["type"] == "unexpected_keyword_argument":
        return f"unknown key {key}{_suggestion(location, method)}"
    if detail["type"] == "missing":
        return f"{key} is missing{_what_it_is(location)}"
    message = problem_of(detail)
    if not location:
        return message
    if isinstance(detail["input"], dict) and detail["type"] == "value_error":
        return f"{key}: {message}"
    if (other := belongs_elsewhere(key, detail["input"])) is not None:
        return other
    value = ascii(detail["input"])
    value = value if len(value) <= 80 else value[:77] + "..."
    return f"{key}: {value} is not allowed: {message}"


def _what_it_is(location: list[str]) -> str:
    """Return the description of a key in parentheses, "" for an unknown one."""
    *parents, name = location
    section = section_at(parents)
    field = next((f for f in fields(section) if f.name == name), None) if section else None
    return f" ({field.metadata['description']})" if field is not None else ""


def _suggestion(location: list[str], method: Any) -> str:
    """Return the end of a message about an unknown key: the key that TRL or verl calls so, else the
    most similar key of the section, else the same key in another section, else all keys of the
    section."""
    *parents, name = location
    if name in KEYS:
        return f"; did you mean {KEYS[name]}? ({PAGE} compares the names in TRL and verl)"
    section = method if parents == ["method"] else section_at(parents)
    siblings = [field.name for field in fields(section)] if section is not None else []
    close = difflib.get_close_matches(name, siblings, n=1)
    if close:
        return f"; did you mean {'.'.join([*parents, close[0]])}?"
    elsewhere = [key for key in dotted_keys() if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; the keys here are {', '.join(siblings)}"


def section_at(location: list[str]) -> Any | None:
    """Return the dataclass of the section at a location such as ["model", "lora"] or
    ["data", "rewards", "0"], or None."""
    return _section_of(type_at(location))


def type_at(location: list[str]) -> Any | None:
    """Return the type of the value at a location, None where there is no key. An element of a list
    has a number, or N for any."""
    kind: Any = RunOptions
    for name in location:
        section = _section_of(kind)
        if section is not None:
            kind = get_type_hints(section).get(name)
        elif get_origin(kind) is tuple and not name.isdecimal() and name != "N":
            return None
        else:
            kind = element_of(kind)
    return kind


def _section_of(kind: Any) -> Any | None:
    return next((one for one in alternatives(kind) if is_dataclass(one)), None)


def dotted_keys(section: Any = RunOptions, prefix: str = "") -> Iterator[str]:
    """Yield every key of the configuration, such as ``model.lora.rank``, in order."""
    types = get_type_hints(section)
    for field in fields(section):
        inner = _section_of(types[field.name])
        yield f"{prefix}{field.name}"
        if inner is not None:
            yield from dotted_keys(inner, f"{prefix}{field.name}.")


def default_of(field: Any) -> Any:
    """Return the default of a dataclass field; MISSING when the user has to set it."""
    return field.default_factory() if field.default_factory is not MISSING else field.default
