"""Declares options: each one once, as a field of the frozen dataclass of the part that uses it.

    @dataclass(frozen=True)
    class SamplingPolicy:
        synthetic_ratio: float = option(0.5, "share of synthetic samples", ge=0, le=1)

The part uses the dataclass itself. ``syngrpo.config`` nests these dataclasses as the sections of a
configuration file and checks the bounds; ``syngrpo config explain`` and the JSON schema show the
descriptions. ``read_options`` and ``require_arguments`` check the options of an extension, such as
a generator, which the configuration does not know.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from syngrpo.sample import InputError

T = TypeVar("T")

REQUIRED: Any = MISSING
"""The default of an option that the user has to set."""


def option(default: Any, description: str, **bounds: Any) -> Any:
    """Declare one option as a dataclass field.

    ``default``: the value if the user sets none, or ``REQUIRED``. A callable (``dict``, ``list``,
    another options dataclass) is called for a new default each time.
    ``description``: what the option means, in plain words and with its unit.
    ``bounds``: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``, ``pattern``, as pydantic names them.
    """
    metadata = {"description": description, **bounds}
    if default is REQUIRED:
        return field(metadata=metadata)
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def require_arguments(make: Callable[..., Any], options: Mapping[str, Any], whose: str) -> None:
    """Raise InputError unless these options can be the keyword arguments of a class or function.

    ``whose`` says in messages what the options belong to: "judge 'mine'".
    """
    try:
        inspect.signature(make).bind(**options)
    except (TypeError, ValueError) as error:  # ValueError: written in C, without a signature
        raise InputError(f"{whose} does not take these options ({error})") from None


class OptionError(InputError):
    """An option has a wrong value. ``key`` is its name, "" if several options contradict each
    other; ``problem`` says what the value should be."""

    def __init__(self, key: str, problem: str, whose: str) -> None:
        super().__init__(f"option {key} of {whose}: {problem}" if key else f"{whose}: {problem}")
        self.key, self.problem = key, problem


def read_options(kind: type[T], values: Mapping[str, Any], whose: str) -> T:
    """Check plain values and return them as the options dataclass ``kind``.

    ``whose`` says in messages what the options belong to, such as "generator 'http'". Raises
    InputError for an unknown key, and OptionError for a missing key and for a value of the wrong
    type or out of bounds.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # not needed by every worker

    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [key for key in values if key not in known]:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise InputError(f"{whose} has no option {unknown[0]}; {has}")
    for place, _ in misplaced_booleans(values, kind):
        raise OptionError(".".join(place), NO_NUMBER, whose)
    adapter = TypeAdapter(dict[str, kind], config=ConfigDict(allow_inf_nan=False))  # type: ignore[valid-type]
    try:
        return adapter.validate_python({"": dict(values)})[""]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"][1:]))
        raise OptionError(key, problem_of(first), whose) from None


NO_NUMBER = "should be a number"

_PROBLEMS = {
    "missing": "is missing",
    "dataclass_type": "should be a section of keys and values, or {} for its defaults",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping of keys to values",
    "mapping_type": "should be a mapping of keys to values",
    "string_type": "should be a text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": NO_NUMBER,
    "float_parsing": NO_NUMBER,
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
}


def problem_of(error: Mapping[str, Any]) -> str:
    """Return what an error of pydantic says about a value, in the words of a configuration file.

    ``error`` is one element of ``ValidationError.errors()``.
    """
    if error["type"] == "too_short":
        return f"should have {error['ctx']['min_length']} or more items"
    if error["type"] == "too_long":
        return f"should have at most {error['ctx']['max_length']} items"
    message = str(error["msg"]).removeprefix("Value error, ")
    return _PROBLEMS.get(error["type"], message.removeprefix("Input ").removeprefix("String "))


def misplaced_booleans(
    values: Any, kind: Any, place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the place and the value of each ``true`` or ``false`` where a number belongs.

    ``kind`` is the type that ``values`` should have, a dataclass for a section. pydantic takes true
    for 1.
    """
    kinds = alternatives(kind)
    if isinstance(values, bool):
        if set(kinds) & {int, float} and bool not in kinds:
            yield place, values
    elif isinstance(values, Mapping):
        for one in kinds:
            types = get_type_hints(one) if is_dataclass(one) else {}
            inside = element_of(one)
            for key, value in values.items():
                if (inner := types.get(key, inside)) is not None:
                    yield from misplaced_booleans(value, inner, (*place, str(key)))
    elif isinstance(values, list | tuple):
        for one in kinds:
            for number, value in enumerate(values):
                yield from misplaced_booleans(value, element_of(one), (*place, str(number)))


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union without None: (A, B) for ``A | B | None``. For any other type
    return that type alone."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(one for one in get_args(kind) if one is not NoneType)
    return (kind,)


def element_of(kind: Any) -> Any | None:
    """Return the type of the elements of a tuple or mapping: A for ``tuple[A, ...]`` and for
    ``dict[str, A]``, None for any other type."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is tuple and inside:
        return inside[0]
    is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return inside[1] if is_mapping and len(inside) == 2 else None
