"""What is wrong with a config, in one line: the key, its value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

SHOWN_ERRORS = 5


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """All errors (at most five) of validating a ``model``, in one line."""
    details = error.errors()
    lines = [_describe_one(detail, model) for detail in details[:SHOWN_ERRORS]]
    more = len(details) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _describe_one(detail: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(location, model)}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not location:
        return message
    if detail["type"] == "model_type":
        message = "should be a section of keys and values"
    if isinstance(detail["input"], BaseModel | dict) and detail["type"] == "value_error":
        return f"{key}: {message}"
    value = ascii(detail["input"])
    value = value if len(value) <= 80 else value[:77] + "..."
    return f"{key}: {value} is not allowed: {message}"


def _suggestion(location: list[str], model: type[BaseModel]) -> str:
    """The most similar key of the same section, else the same key elsewhere, else all keys."""
    *parents, name = location
    section = _section(parents, model)
    siblings = list(section.model_fields) if section is not None else []
    close = difflib.get_close_matches(name, siblings, n=1)
    if close:
        return f"; did you mean {'.'.join([*parents, close[0]])}?"
    elsewhere = [key for key in _dotted_keys(model) if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; the keys here are {', '.join(siblings)}"


def _section(location: list[str], model: type[BaseModel]) -> type[BaseModel] | None:
    """The model of the section at a location such as data, train, 0; None when there is none."""
    section: type[BaseModel] | None = model
    names = iter(location)
    for name in names:
        if section is None or name not in section.model_fields:
            return None
        annotation = section.model_fields[name].annotation
        section = _model_in(annotation)
        if section is not annotation and getattr(annotation, "__origin__", None) in (list, dict):
            next(names, None)  # the index in the list, the key in the dict
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in M, list[M], dict[str, M] or M | None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _dotted_keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
