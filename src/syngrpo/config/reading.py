"""YAML file + overrides → Config, and every error in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from syngrpo.config.errors import describe
from syngrpo.config.sections import STARTER, Config
from syngrpo.config.source import split_paths
from syngrpo.sample import InputError


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies overrides such as ``trainer.steps=16``.

    Override values are YAML; lists are indexed by number (``data.train.0.count=10``). Relative
    paths in the file are relative to the file, those in overrides to the working directory; the
    result holds absolute ones. Raises InputError, one line naming key, value and what is allowed.
    """
    values = _with_default_sources(_absolute(_read_mapping(path), path.parent.resolve()))
    for override in overrides:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Config)}") from None


def dump_config(config: Config) -> str:
    """The resolved config as YAML, every key written out; ``load_config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, where plain YAML readers take the last one, and
    aliases, which can make a value that contains itself."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                reason = "is not a text" if not isinstance(key, str) else "is written twice"
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} {reason}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise InputError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise InputError(f"{where}: not valid YAML: {message}") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"config file {path} does not exist; check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"config file {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"config file {path} is not UTF-8 text; it should be YAML") from None
    values = _parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {type(values).__name__}, not sections; see configs/")
    return {name: {} if section is None else section for name, section in values.items()}


def _with_default_sources(values: dict[str, Any]) -> dict[str, Any]:
    """Writes out the default sources, so that an override can change one key of them."""
    defaults = Config().model_dump(mode="json")
    for name, key in (("data", "train"), ("evaluation", "sets")):
        section = values.setdefault(name, {})
        if isinstance(section, dict):
            section.setdefault(key, defaults[name][key])
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    """Sets ``a.b=value`` in nested dicts and lists; missing and null sections are created."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise InputError(f"--set {override}: write it as section.key=value")
    value = _parse_yaml(text, f"--set {override}")
    *parents, last = key.split(".")
    section = parents[-1] if parents else ""
    here: Any = values
    for name in parents:
        if isinstance(here, dict) and here.get(name) is None:
            here[name] = {}
        here = here[_position(here, name, override)]
    place = _position(here, last, override)
    siblings = here if isinstance(here, dict) else {}
    here[place] = _absolute({**siblings, last: value}, Path.cwd(), section)[last]


def _position(container: Any, name: str, override: str) -> str | int:
    if isinstance(container, dict):
        return name
    if not isinstance(container, list):
        raise InputError(f"--set {override}: {name!r} is inside a value, not inside a section")
    if not name.isdecimal() or int(name) >= len(container):
        raise InputError(f"--set {override}: {name!r} is not one of 0 to {len(container) - 1}")
    return int(name)


_PATH_KEYS = ("path", "images")


def _absolute(value: Any, base: Path, section: str = "") -> Any:
    """Makes the values of keys named path and images absolute, wherever they are nested."""
    if isinstance(value, list):
        return [_absolute(item, base, section) for item in value]
    if not isinstance(value, dict):
        return value
    hub = "path" if value.get("format") == "hf" else None
    return {
        key: _place(item, base, section, may_be_name=key == hub or section == "model")
        if key in _PATH_KEYS
        else _absolute(item, base, key)
        for key, item in value.items()
    }


def _place(value: Any, base: Path, section: str, may_be_name: bool) -> Any:
    """One path, or several in a list or joined by colons; what is not a path stays as it is."""
    if isinstance(value, str) and section != "model":
        value = split_paths(value, base)
    if isinstance(value, list):
        return [_place(item, base, "", may_be_name) for item in value]
    if not isinstance(value, str):
        return _absolute(value, base, section)
    place = base / Path(value).expanduser()
    if may_be_name and (value == STARTER or not place.exists()):
        return value  # the bundled model, or a name on the hub
    return str(place)
