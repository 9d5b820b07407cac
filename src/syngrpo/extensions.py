"""Finds tasks, generators, formats and all other extensions by their names.

An extension is a class, a function or an object with a short name. Each kind has one ``Registry``,
in the ``__init__`` of the folder that uses it. A registry knows three sorts of names:

1. the built-in ones, a table in that folder: name → ``package.module:attribute``;
2. those of installed packages, from their entry points (group ``syngrpo.tasks`` and so on);
3. ``package.module:attribute`` itself, but only where the name comes from the user's own
   configuration or command line (``load``), never from data or over the network (``get``).

A short name that two packages offer, or a package and syngrpo itself, means neither of them: asking
for it is an error that names both. Nothing is imported before it is asked for by name. The command
line makes a registry before it knows which command runs, so this module imports ``syngrpo.sample``,
and with it NumPy, only when it has an error to report.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_registries: list[Registry[Any]] = []


@dataclass(frozen=True)
class Found:
    """An extension that a registry knows.

    ``target`` is ``package.module:attribute``, ``source`` the distribution that it comes from.
    ``error`` says why it cannot be loaded, None if it can.
    """

    group: str
    name: str
    target: str
    source: str
    error: str | None = None


class Registry(Generic[T]):
    """All extensions of one kind, such as the tasks.

    ``kind`` is the word for one of them in messages ("task"), ``group`` the entry point group,
    ``builtin`` the table of built-in ones: name → ``package.module:attribute``. With ``instances``
    the extensions are objects, so an imported class is called without arguments. ``problem`` is
    called with the name and the extension. It returns a few words that say why the extension is not
    of this kind ("is no subclass of …"), or None if it is.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        *,
        problem: Callable[[str, Any], str | None],
        instances: bool = False,
    ) -> None:
        self.kind = kind
        self.group = group
        self._problem = problem
        self._instances = instances
        self._builtin = builtin
        self._offered: Mapping[str, Mapping[str, str]] | None = None
        self._loaded: dict[str, T] = {}
        _registries.append(self)

    def names(self) -> list[str]:
        """Return all known short names, the built-in ones first."""
        return list(self._offers())

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._offers()

    def get(self, name: str) -> T:
        """Return the extension with this short name.

        Raises InputError when there is none, when several packages offer one, when it cannot be
        imported or made, or is of another kind.
        """
        if name not in self._loaded:
            self._loaded[name] = self._made(name, self._target(name))
        return self._loaded[name]

    def load(self, name: str) -> T:
        """Return the extension with this short name, or import ``package.module:attribute``.

        If several packages offer a short name, loading one of them decides what the name means in
        this process. Use this only for names that the user wrote in the configuration or on the
        command line, because it imports any module. Raises InputError as ``get`` does.
        """
        if ":" not in name:
            return self.get(name)
        if name not in self._loaded:
            self._loaded[name] = self._made(name, name)
            for short, targets in self._offers().items():
                if len(targets) > 1 and name in targets:
                    self._loaded.setdefault(short, self._loaded[name])
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
            except ValueError:  # an InputError, which ``syngrpo extensions`` reports
                continue

    def found(self) -> Iterator[Found]:
        """Import every extension and report it, for ``syngrpo extensions``. A name that several
        packages offer is reported once for each of them, with the same error."""
        from syngrpo.sample import InputError

        for name, targets in self._offers().items():
            error = None
            try:
                self.get(name)
            except InputError as problem:
                error = str(problem)
            for target, source in targets.items():
                yield Found(self.group, name, target, source, error)

    def _made(self, name: str, target: str) -> T:
        what = self._what(name)
        extension = _import(target, what)
        if self._instances and isinstance(extension, type):
            extension = made(what, extension)
        problem = self._problem(name, extension)
        if problem is not None:
            raise _refused(f"{what} {problem}")
        return extension

    def _what(self, name: str) -> str:
        return f"{self.kind} '{name}'"

    def _target(self, name: str) -> str:
        targets = self._offers().get(name, {})
        if len(targets) > 1:
            packages = " and ".join(f"{source} ({target})" for target, source in targets.items())
            raise _refused(
                f"{self._what(name)} is offered by {packages}; name the one that you mean as "
                "package.module:name in the configuration or on the command line, or uninstall the "
                "other package"
            )
        if targets:
            return next(iter(targets))
        if ":" in name:
            raise _refused(
                f"{self.kind} {name!r} is not loaded; only the configuration and the command line "
                "may name one as package.module:name"
            )
        known = ", ".join(self.names())
        raise _refused(
            f"{self.kind} {name!r} is unknown; use one of {known}, or name one of your own as "
            "package.module:name in the configuration or on the command line"
        )

    def _offers(self) -> Mapping[str, Mapping[str, str]]:
        """Return for every short name, the built-in ones first, what it may mean: target →
        distribution. There is more than one target only if packages disagree."""
        if self._offered is None:
            offered = {name: {target: "syngrpo"} for name, target in self._builtin.items()}
            for source, points in _entry_points().items():
                for point in points or ():
                    if point.group == self.group:
                        offered.setdefault(point.name, {}).setdefault(point.value, source)
            self._offered = offered
        return self._offered


def every_registry() -> list[Registry[Any]]:
    """Return the registries of all folders that were imported so far."""
    return list(_registries)


def unreadable_packages() -> list[str]:
    """Return the names of the installed packages whose entry points cannot be read."""
    return [name for name, points in _entry_points().items() if points is None]


def made(what: str, make: Callable[..., T], **options: Any) -> T:
    """Call a class or function of an extension, such as a generator, and return the result.

    ``what`` says in messages what is made, such as "generator 'mine'". Raises InputError with one
    line for any error of the call.
    """
    try:
        return make(**options)
    except Exception as error:
        from syngrpo.sample import InputError

        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} cannot be made ({reason_of(error)})") from error


def reason_of(error: BaseException) -> str:
    """Return in one line what was raised and, if it has a place in a file, where."""
    frames = traceback.extract_tb(error.__traceback__)
    in_file = bool(frames) and not frames[-1].filename.startswith("<")
    where = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if in_file else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def no_subclass(extension: Any, base: type) -> str | None:
    """Return the problem of an extension that has to be a subclass of ``base``, None if it is."""
    if isinstance(extension, type) and issubclass(extension, base):
        return None
    return f"is no subclass of {_full_name(base)}"


def no_instance(extension: Any, base: type) -> str | None:
    """Return the problem of an extension that has to be a ``base``, None if it is one."""
    return None if isinstance(extension, base) else f"is no {_full_name(base)}"


def no_callable(name: str, extension: Any) -> str | None:
    """Return the problem of an extension that has to be a class or a function."""
    return None if callable(extension) else f"is no class or function: it is {extension!r}"


@cache
def _entry_points() -> dict[str, list[EntryPoint] | None]:
    """Return the entry points of each installed package in the groups of syngrpo, None for a
    package whose ``entry_points.txt`` is malformed. Of two packages with one name, the one that
    Python finds first counts."""
    found: dict[str, list[EntryPoint] | None] = {}
    for package in distributions():
        points: list[EntryPoint] | None
        try:
            points = [one for one in package.entry_points if one.group.startswith("syngrpo.")]
        except Exception:  # importlib.metadata has no error of its own for this
            points = None
        if points != []:  # the name is in another file: not read for every package
            found.setdefault(_name_of(package), points)
    return found


def _name_of(package: Distribution) -> str:
    try:
        name = package.name
    except Exception:  # there is no METADATA
        name = ""
    return name or f"in {package.locate_file('')}"


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refused(message: str) -> ValueError:
    """Return an InputError."""
    from syngrpo.sample import InputError

    return InputError(message)


def _import(target: str, what: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if not all(name.isidentifier() for name in (*module_name.split("."), *attribute.split("."))):
        raise _refused(f"{what} cannot be imported from {target!r}; write package.module:name")
    try:
        value: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError) as error:
        raise _refused(f"{what} cannot be imported from {target} ({error})") from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        reason = reason_of(error)
        raise _refused(f"{what} cannot be imported from {target} ({reason})") from error
    return value
