"""Describes the keys of a configuration: their types, bounds, defaults and meanings.

``syngrpo config show`` prints ``defaults``, ``config explain`` prints ``explain``, and
``config schema`` prints ``schema``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from syngrpo.config.validation import CHECKS, default_of, dotted_keys, section_at, type_at
from syngrpo.formats import FORMATS
from syngrpo.formats.source import Source
from syngrpo.method import METHODS
from syngrpo.method.base import MethodOptions
from syngrpo.options import alternatives, element_of
from syngrpo.painting.generators import GENERATORS
from syngrpo.painting.generators.base import Generator
from syngrpo.sample import InputError
from syngrpo.workflow.run_options import RunOptions

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True)
class Key:
    """The description of one key, as texts to print."""

    name: str
    kind: str
    default: str
    description: str


def explain(key: str) -> list[Key]:
    """Return the description of a key, or of all keys of a section.

    ``key`` is written as in ``--set``: ``trainer.steps``, ``pool``, ``data.train``; the number of
    an element may be left out, as in ``data.train.path``. Below ``data.train`` are the keys of a
    source and those of every format; below ``synthesis.options`` the options of every generator.
    Raises InputError for a key that does not exist.
    """
    place, _, name = key.rpartition(".")
    described = _described(key) or (_described(f"{place}.N.{name}") if place else [])
    if not described:
        raise InputError(f"there is no key {key}; {_hint(key)}")
    return described


def defaults() -> list[Key]:
    """Return the descriptions of all keys, in the order of the configuration."""
    return [key for name in (f.name for f in fields(RunOptions)) for key in _below(name)]


def schema() -> dict[str, Any]:
    """Return a JSON schema of configuration files, from which editors complete keys.

    A source may have the keys of every format, ``method`` those of every method.
    """
    whole: dict[str, Any] = TypeAdapter(dict[str, RunOptions], config=CHECKS).json_schema()
    definitions = whole["$defs"]
    root = definitions.pop("RunOptions")
    source = definitions["Source"]["properties"]
    source.pop("options", None)
    for key in ("path", "images"):  # one path may be written without a list
        several = {"type": source[key].pop("type"), "items": source[key].pop("items")}
        source[key]["anyOf"] = [{"type": "string"}, several]
    for _, options in _options_of_formats():
        source |= _properties(options)
    for _, options in _options_of_methods():
        definitions["MethodOptions"]["properties"] |= _properties(options)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a syngrpo run",
        **root,
        "$defs": definitions,
    }


def _hint(key: str) -> str:
    """Return the end of the message about an unknown key: the key of that name in a section, else
    the most similar keys, else those whose descriptions have the word, else the sections."""
    close = [one for one in dotted_keys() if one.endswith(f".{key}")]
    close = close or difflib.get_close_matches(key, dotted_keys(), n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    word = re.compile(rf"\b{re.escape(key)}\b", re.IGNORECASE) if key.isidentifier() else None
    named = [one.name for one in defaults() if word and word.search(one.description)]
    if named:
        return f"{', '.join(named[:5])} {'name' if len(named) > 1 else 'names'} it"
    return f"the sections are {', '.join(field.name for field in fields(RunOptions))}"


def _below(prefix: str) -> Iterator[Key]:
    section = section_at(prefix.split("."))
    assert section is not None
    types = get_type_hints(section)
    for field in fields(section):
        inner = next((t for t in alternatives(types[field.name]) if is_dataclass(t)), None)
        name = f"{prefix}.{field.name}"
        if inner is None or NoneType in get_args(types[field.name]):
            yield _key(field, types[field.name], name)
        if inner is not None:
            yield from _below(name)


def _described(key: str) -> list[Key]:
    """Return the keys of a section, or one key and what an element of its value has; [] for a key
    that does not exist."""
    location = key.split(".")
    section = section_at(location)
    if section is not None:
        return _keys_of(section, key)
    *parents, _ = location
    owner, place = section_at(parents), ".".join(parents)
    if owner is not None:
        own = [one for one in _keys_of(owner, place) if one.name == key]
        inside = element_of(type_at(location))
        return [*own, *(_keys_of(inside, f"{key}.N") if is_dataclass(inside) else _extra(key))]
    if type_at(location) is None or key in [one.name for one in _extra(place)]:
        return [one for one in _extra(place) if one.name == key]
    return _described(place)  # an element that is no section, such as logging.trackers.0


def _keys_of(section: Any, prefix: str) -> list[Key]:
    """Return the keys of a section at ``prefix``, with those that extensions add to it."""
    types = get_type_hints(section)
    own = [_key(f, types[f.name], f"{prefix}.{f.name}") for f in fields(section)]
    if section is Source:  # its options are written beside its own keys
        own = [key for key in own if key.name != f"{prefix}.options"]
        return [*own, *_added(_options_of_formats(), prefix)]
    if section is MethodOptions:
        known = {key.name for key in own}
        added = _added(_options_of_methods(), prefix)
        return [*own, *(key for key in added if key.name not in known)]
    return own


def _extra(key: str) -> list[Key]:
    """Return the options of all generators for ``synthesis.options``, [] for other keys."""
    return _added(_options_of_generators(), key) if key == "synthesis.options" else []


def _added(found: list[tuple[str, Any]], prefix: str) -> list[Key]:
    """Return the keys that extensions have at ``prefix``. Their kind names the extension; a key
    that several have alike comes once, with all of their names."""
    owners: dict[Key, list[str]] = {}
    for name, options in found:
        for one in _keys_of(options, prefix):
            owners.setdefault(one, []).append(name)
    return [replace(one, kind=f"{one.kind} ({', '.join(of)})") for one, of in owners.items()]


def _options_of_formats() -> list[tuple[str, Any]]:
    return [(name, known.options) for name, known in FORMATS.working()]


def _options_of_methods() -> list[tuple[str, Any]]:
    """Return the options of each method that has some of its own."""
    found = [(name, method.Options) for name, method in METHODS.working()]
    return [(name, options) for name, options in found if options is not MethodOptions]


def _options_of_generators() -> list[tuple[str, Any]]:
    return [
        (name, made.Options)
        for name, made in GENERATORS.working()
        if isinstance(made, type) and issubclass(made, Generator) and made.Options is not None
    ]


def _properties(options: Any) -> dict[str, Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(options)
    properties: dict[str, Any] = adapter.json_schema().get("properties", {})
    return properties


def _key(field: Any, kind: Any, name: str) -> Key:
    default = default_of(field)
    return Key(
        name=name,
        kind=_kind(kind, field.metadata),
        default="must be set" if default is MISSING else _shown(default),
        description=str(field.metadata.get("description", "")),
    )


def _kind(kind: Any, bounds: Mapping[str, Any]) -> str:
    limits = [f"{words} {bounds[name]:g}" for name, words in _BOUNDS.items() if name in bounds]
    return ", ".join([_type_name(kind), *limits])


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(str(value) for value in get_args(kind))
    plain = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    if kind in plain:
        return plain[kind]
    if kind is NoneType:
        return "null"
    origin, inside = get_origin(kind), [_type_name(one) for one in get_args(kind) if one is not ...]
    if origin in (list, tuple):
        return f"list of {inside[0]}" if inside else "list"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "mapping"
    if inside:
        return " or ".join(inside)
    if is_dataclass(kind):
        return "section"
    return getattr(kind, "__name__", str(kind)).lower()


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if is_dataclass(value):
        return "see its keys"
    return str(list(value)) if isinstance(value, tuple) else str(value)
