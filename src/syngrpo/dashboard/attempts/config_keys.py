"""Every setting of a run with its default and its meaning, from the configuration that the run
directory holds and from the options as their parts declare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from syngrpo.dashboard.reading.flat_config import flat_values, value_text
from syngrpo.method import METHODS
from syngrpo.method.base import MethodOptions
from syngrpo.options import alternatives, element_of
from syngrpo.sample import InputError
from syngrpo.workflow.run_options import RunOptions, plain


@dataclass(frozen=True)
class ConfigKey:
    """A setting, its key as in ``--set``. ``default`` is None for a setting that has none, or that
    is not known here, such as those of extensions."""

    key: str
    value: str
    default: str | None
    description: str

    @property
    def differs(self) -> bool:
        return self.value != self.default

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]


def config_keys(config: Mapping[str, Any]) -> list[ConfigKey]:
    """Return all settings of a configuration, in order."""
    method = _method_options(config)
    keys = []
    for key, value in flat_values(config):
        default, description = _declared(key.split("."), method)
        shown = None if default is MISSING else value_text(plain(default))
        keys.append(ConfigKey(key, value_text(value), shown, description))
    return keys


def fitting_keys(keys: Sequence[ConfigKey], text: str, only_changed: bool) -> list[ConfigKey]:
    """Return the settings whose key, value or meaning holds a text, in letters of either case, and
    if asked for only those that are not the default."""
    wanted = text.lower()
    return [
        key
        for key in keys
        if (key.differs or not only_changed)
        and any(wanted in part.lower() for part in (key.key, key.value, key.description))
    ]


def _declared(location: Sequence[str], method: MethodOptions) -> tuple[Any, str]:
    """Return default and description of the key at a place, (MISSING, "") for one that is not
    known. ``method`` has the defaults of the section of that name."""
    kind: Any = RunOptions
    default: Any = MISSING
    description = ""
    for name in location:
        owner = next((one for one in alternatives(kind) if is_dataclass(one)), None)
        if owner is MethodOptions:
            owner = type(method)
        found = next((f for f in fields(owner) if f.name == name), None) if owner else None
        if found is not None:
            assert owner is not None
            kind, description = get_type_hints(owner)[name], found.metadata.get("description", "")
            of_method = owner is type(method)
            default = getattr(method, name) if of_method else _default_of(found)
        elif owner is None and element_of(kind) is not None:  # a number or a name
            kind, default, description = element_of(kind), MISSING, ""
        else:
            return MISSING, ""
    return default, description


def _default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _method_options(config: Mapping[str, Any]) -> MethodOptions:
    """Return the options that the method of a run has by default; those of all methods if it is not
    installed here."""
    section = config.get("method")
    name = section.get("name") if isinstance(section, dict) else None
    try:
        method = METHODS.load(str(name))
        return method.Options(**method.defaults)
    except (InputError, TypeError, ValueError):
        return MethodOptions()
