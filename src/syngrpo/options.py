"""How an option is declared: once, by the frozen dataclass of the part that uses it.

    @dataclass(frozen=True)
    class SamplingPolicy:
        synthetic_ratio: float = option(0.5, "share of synthetic samples", ge=0, le=1)

The part itself uses the dataclass as it is. ``syngrpo.config`` nests these dataclasses into the
sections of a configuration file; there the bounds are checked, and the descriptions become the
text of ``syngrpo config explain`` and of the JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any, TypeVar

from syngrpo.sample import InputError

T = TypeVar("T")

REQUIRED: Any = MISSING
"""The default of an option that the user has to set."""


def option(default: Any, description: str, **bounds: Any) -> Any:
    """Declare one option as a dataclass field.

    ``default``: its value when the user sets none; ``REQUIRED`` when there is none; a callable
    (``dict``, ``list``, another options dataclass) is called for a new value each time.
    ``description``: what it means, in plain words and with its unit.
    ``bounds``: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``, ``pattern``, as pydantic names them.
    """
    metadata = {"description": description, **bounds}
    if default is REQUIRED:
        return field(metadata=metadata)
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


class OptionError(InputError):
    """An option with a wrong value. ``key`` is its name, "" when several do not go together, and
    ``problem`` says what the value should be."""

    def __init__(self, key: str, problem: str, whose: str) -> None:
        super().__init__(f"option {key} of {whose}: {problem}" if key else f"{whose}: {problem}")
        self.key, self.problem = key, problem


def read_options(kind: type[T], values: Mapping[str, Any], whose: str) -> T:
    """Return an options dataclass from plain values, as a configuration or a command line has them.

    For options of an extension, which ``syngrpo.config`` does not know. ``whose`` says in messages
    what the options belong to: "generator 'http'". Raises InputError for an unknown key, and
    OptionError for a missing one and a value of the wrong type or out of bounds.
    """
    from pydantic import TypeAdapter, ValidationError  # many workers have no options to check

    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [key for key in values if key not in known]:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise InputError(f"{whose} has no option {unknown[0]}; {has}")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise OptionError(key, problem, whose) from None
