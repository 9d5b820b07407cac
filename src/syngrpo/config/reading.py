"""Reads a configuration file with ``--set`` overrides, and writes options as YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from syngrpo.config.validation import options_from
from syngrpo.formats import loadable_formats
from syngrpo.formats.data_folders import data_sets_in
from syngrpo.formats.source import may_be_hub_name, split_paths
from syngrpo.policy import MODELS
from syngrpo.sample import InputError
from syngrpo.serving.wording import one_line
from syngrpo.workflow.run_options import RunOptions, config_text

_PATH_KEYS = ("path", "images")
"""Keys of models and data, which can also be names, or several paths."""
FILE_KEYS = ("token_file", "server_token_file", "weights_folder")
"""Keys of one file or folder."""
NULL_TAG = "tag:yaml.org,2002:null"

SECTIONS = {entry.name for entry in fields(RunOptions)}


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunOptions:
    """Read a configuration file and apply overrides such as ``trainer.steps=16``.

    The values of overrides are YAML; lists are indexed by number (``data.train.0.limit=10``).
    Relative paths in the file are relative to the file, those in overrides to the working
    directory; the result holds absolute ones. Raises InputError with one line that names the key,
    its value and what is allowed; for a data set, with one that says how to train on it.
    """
    try:
        content = _read_mapping(path)
    except InputError:
        _refuse_data_set(path)
        if path.is_dir():
            raise InputError(
                f"{path} is a folder, no configuration of a run; name a YAML file (see configs/)"
            ) from None
        raise
    if not content.keys() & SECTIONS:
        _refuse_data_set(path, content)
    values = _absolute(content, path.parent.resolve())
    # Whether a path may be a name on the hub is known only when the format of the data is set.
    for override in sorted(overrides, key=_sets_path):
        _apply(values, override)
    return options_from(values, str(path))


def _refuse_data_set(path: Path, content: Mapping[str, Any] | None = None) -> None:
    """Raise InputError if a path that should be a configuration is a data set. The line holds a
    configuration that trains on it. ``content`` is that of a YAML file."""
    inside = [path, *(data_sets_in(path).values() if path.is_dir() else ())]
    known = next(
        (
            one
            for place in inside
            for one in loadable_formats()
            if place.exists() and one.recognises(place)
        ),
        None,
    )
    if known is None:
        return
    source = {"path": str(path.resolve())}
    if content is not None and "train" in content:
        source["split"] = "train"
    run = {"model": {"path": "starter"}, "method": {"name": "grpo"}, "data": {"train": [source]}}
    text = yaml.safe_dump(
        run, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    raise InputError(
        f"{path} is a data set (format {known.name}), no configuration of a run; to train on it, "
        f"write a configuration such as {text.strip()}, with your model, and give that (see "
        "configs/); syngrpo data check reads the data set itself"
    )


def dump_config(options: RunOptions) -> str:
    """Return the options as YAML with every key written out. ``load_config`` can read it."""
    return config_text(options.as_values())


class _StrictLoader(yaml.SafeLoader):
    """Reads YAML, but refuses a key that is written twice and an alias.

    Plain YAML readers silently take the last of two equal keys. An alias can make a value that
    contains itself.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:bool":  # YAML 1.1 reads the key `on` as true
                key_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                reason = "is not a text" if not isinstance(key, str) else "is written twice"
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} {reason}", key_node.start_mark
                )
            if key == "lora" and (value_node.tag, value_node.value) == (NULL_TAG, ""):
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    "lora has no value; write lora: {} for adapters with the defaults (of model), "
                    "or lora: null for none",
                    key_node.start_mark,
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
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError) as error:
        message = one_line(error)
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


def _sets_path(override: str) -> bool:
    return override.partition("=")[0].rpartition(".")[2] in _PATH_KEYS


def _apply(values: dict[str, Any], override: str) -> None:
    """Set ``a.b=value`` in nested dicts and lists; create missing and null sections."""
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


def _absolute(value: Any, base: Path, section: str = "") -> Any:
    """Make the paths in all keys of ``_PATH_KEYS`` and ``FILE_KEYS`` absolute, at any depth. Under
    ``columns`` these are names of columns."""
    if section == "columns":
        return value
    if isinstance(value, list):
        return [_absolute(item, base, section) for item in value]
    if not isinstance(value, dict):
        return value
    hub_key = "path" if may_be_hub_name(value.get("format")) else None
    made = dict(value)
    for key, item in value.items():
        if key in _PATH_KEYS:
            named = key == hub_key or section == "model"
            made[key] = _place(item, base, section, may_be_name=named)
        elif key in FILE_KEYS and isinstance(item, str):
            made[key] = str(base / Path(item).expanduser())
        else:
            made[key] = _absolute(item, base, key)
    return made


def _place(value: Any, base: Path, section: str, may_be_name: bool) -> Any:
    """Make one path absolute, or each of several in a list or joined by colons.

    A name of a model or of a data set on the hub stays as it is.
    """
    if isinstance(value, str) and section != "model":
        value = split_paths(value, base)
    if isinstance(value, list):
        return [_place(item, base, "", may_be_name) for item in value]
    if not isinstance(value, str):
        return _absolute(value, base, section)
    place = base / Path(value).expanduser()
    if may_be_name and ((section == "model" and value in MODELS) or not place.exists()):
        return value  # a model with a short name, or a name on the hub
    return str(place)
