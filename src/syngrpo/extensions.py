"""How tasks, generators, formats and all other extensions are found.

An extension is a class, a function or an object with a short name. Each kind has one ``Registry``,
in the ``__init__`` of the folder that uses it. A registry knows three sorts of names:

1. the built-in ones, a table in that folder: name → ``package.module:attribute``;
2. those of installed packages, from their entry points (group ``syngrpo.tasks`` and so on);
3. ``package.module:attribute`` itself, but only where the name comes from the user's own
   configuration or command line (``load``), never from data or over the network (``get``).

Nothing is imported before it is asked for by name. The command line makes a registry before it
knows which command runs, so this module imports ``syngrpo.sample``, and with it NumPy, only when
it has an error to report.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_registries: list[Registry[Any]] = []


@dataclass(frozen=True)
class Found:
    """One extension that a registry knows. ``target`` is ``package.module:attribute``; ``source``
    is the distribution it comes from; ``error`` says why it cannot be loaded, None if it can."""

    group: str
    name: str
    target: str
    source: str
    error: str | None = None


class Registry(Generic[T]):
    """All extensions of one kind, such as the tasks.

    ``kind`` is what messages call one ("task"), ``group`` the entry point group, ``builtin`` the
    table of built-in ones: name → ``package.module:attribute``. ``make`` turns what was imported
    into the extension, for example by calling a class; by default it is taken as it is.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        make: Callable[[str, Any], T] = lambda name, imported: imported,
    ) -> None:
        self.kind = kind
        self.group = group
        self._make = make
        self._targets: dict[str, tuple[str, str]] = {n: (t, "syngrpo") for n, t in builtin.items()}
        self._entry_points: Mapping[str, EntryPoint] | None = None
        self._loaded: dict[str, T] = {}
        _registries.append(self)

    def names(self) -> list[str]:
        """All known short names, the built-in ones first."""
        return [*self._targets, *(n for n in self._installed() if n not in self._targets)]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._targets or name in self._installed()

    def get(self, name: str) -> T:
        """Return the extension with this short name.

        Raises InputError when there is none, or when it cannot be imported.
        """
        if name not in self._loaded:
            self._loaded[name] = self._make(name, _import(self._target(name), self._what(name)))
        return self._loaded[name]

    def load(self, name: str) -> T:
        """Return the extension with this short name, or import ``package.module:attribute``.

        Only for names that the user wrote in the configuration or on the command line.
        Raises InputError as ``get`` does.
        """
        if ":" not in name:
            return self.get(name)
        if name not in self._loaded:
            self._loaded[name] = self._make(name, _import(name, self._what(name)))
        return self._loaded[name]

    def add(self, name: str, extension: T) -> None:
        """Make an extension known by a short name in this process, for example a user's task by
        the name that its samples carry."""
        self._loaded[name] = extension

    def working(self) -> Iterator[tuple[str, T]]:
        """Yield the name of every extension that can be imported, and the extension."""
        for name in self.names():
            try:
                yield name, self.get(name)
            except ValueError:  # an InputError; ``syngrpo extensions`` tells it
                continue

    def found(self) -> Iterator[Found]:
        """Import every extension and report it, for ``syngrpo extensions``."""
        from syngrpo.sample import InputError

        for name in self.names():
            target = self._target(name)
            source = self._targets[name][1] if name in self._targets else self._distribution(name)
            error = None
            try:
                self.get(name)
            except InputError as problem:
                error = str(problem)
            yield Found(self.group, name, target, source, error)

    def _what(self, name: str) -> str:
        return f"{self.kind} '{name}'"

    def _target(self, name: str) -> str:
        if name in self._targets:
            return self._targets[name][0]
        if name in self._installed():
            return self._installed()[name].value
        from syngrpo.sample import InputError

        known = ", ".join(self.names())
        raise InputError(
            f"{self.kind} {name!r} is unknown; use one of {known}, or package.module:name "
            "in the configuration"
        )

    def _installed(self) -> Mapping[str, EntryPoint]:
        if self._entry_points is None:
            self._entry_points = {point.name: point for point in entry_points(group=self.group)}
        return self._entry_points

    def _distribution(self, name: str) -> str:
        distribution = self._installed()[name].dist
        return distribution.name if distribution is not None else "unknown"


def every_registry() -> list[Registry[Any]]:
    """The registries of all folders that were imported so far."""
    return list(_registries)


def _import(target: str, what: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        from syngrpo.sample import InputError

        raise InputError(f"{what} cannot be imported from {target} ({error})") from error
    return value
