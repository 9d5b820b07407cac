"""Collects the packages that a machine without network lacks, as wheels."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

MOST_BYTES = 64 * 2**20
PEER = "trl>=1.16,<2"
"""The trainer that ours is measured against; the project's own packages do not need it."""
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
)
"""Tags of wheels for a common Linux. pip takes each by its exact name."""
ROOT = Path(__file__).parents[2]


class PackingError(Exception):
    """The packages cannot be had, do not fit the machine, or are too large to be brought along."""


def pack(wheels: Path, present: Path, python: str) -> int:
    """Put the wheels of the project, of TRL and of what they need into a folder, without what the
    machine has. Return their size in bytes.

    ``present`` has a line for each package of the machine: ``name==version``, or a name alone if
    its version is not known. Raises PackingError if a package cannot be had, if a version of the
    machine does not do, and if the wheels are larger than 64 MiB. Then the wheels of an earlier
    call stay.
    """
    if not present.is_file():
        raise PackingError(f"there is no file {present}; give the list of packages with --present")
    there = read_present(present.read_text(encoding="utf-8"))
    wheels.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=wheels.parent, prefix="packing-") as name:
        new = Path(name)
        _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(new), str(ROOT))
        own = next(new.glob("syngrpo-*.whl"))
        collected = Collected(new, there, python)
        collected.add_all("syngrpo", [*requirements(own), Requirement(PEER)])
        size = _size(new, present)
        for old in wheels.glob("*.whl"):
            old.unlink()
        for wheel in new.glob("*.whl"):
            wheel.rename(wheels / wheel.name)
    return size


def _size(wheels: Path, present: Path) -> int:
    """Return the bytes of all wheels. Raises PackingError if they are too many."""
    size = sum(wheel.stat().st_size for wheel in wheels.glob("*.whl"))
    if size > MOST_BYTES:
        largest = max(wheels.glob("*.whl"), key=lambda wheel: wheel.stat().st_size)
        raise PackingError(
            f"the packages take {size / 2**20:.1f} MiB, more than {MOST_BYTES / 2**20:.0f}; "
            f"the largest is {largest.name}: if the machine has it, add it to {present}"
        )
    return size


def read_present(text: str) -> dict[str, str]:
    """Return the packages of the machine by their normalised names; "" for an unknown version."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    pairs = [line.partition("==") for line in lines if line]
    return {canonicalize_name(name): version.strip() for name, _, version in pairs}


def requirements(wheel: Path) -> list[Requirement]:
    """Return what a wheel says that it needs, extras included."""
    with ZipFile(wheel) as archive:
        name = next(
            one for one in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one)
        )
        fields = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
    return [Requirement(text) for text in fields.get_all("Requires-Dist", [])]


@dataclass
class Collected:
    """The wheels of a folder, and which versions of each were asked for.

    ``files``: package → wheel; ``followed``: packages and extras ("": none) whose needs were added.
    """

    wheels: Path
    present: dict[str, str]
    python: str
    files: dict[str, Path] = field(default_factory=dict)
    asked: dict[str, SpecifierSet] = field(default_factory=dict)
    followed: set[tuple[str, str]] = field(default_factory=set)

    def add_all(self, by: str, needed: list[Requirement], extra: str = "") -> None:
        """Add what ``by`` needs, for one of its extras or for none ("")."""
        for one in needed:
            if one.marker is None or one.marker.evaluate(self._environment(extra)):
                self._add(by, one)

    def _add(self, by: str, needed: Requirement) -> None:
        name = canonicalize_name(needed.name)
        if name in self.present:
            version = self.present[name]
            if version and not needed.specifier.contains(version, prereleases=True):
                raise PackingError(f"{by} needs {needed}, and the machine has {name} {version}")
            return
        self.asked[name] = self.asked.get(name, SpecifierSet()) & needed.specifier
        if name not in self.files or not self.asked[name].contains(self._version(name)):
            self.files[name] = self._download(name)
        for extra in ("", *sorted(needed.extras)):
            if (name, extra) not in self.followed:
                self.followed.add((name, extra))
                self.add_all(name, requirements(self.files[name]), extra)

    def _download(self, name: str) -> Path:
        if name in self.files:
            self.files[name].unlink()
            self.followed -= {one for one in self.followed if one[0] == name}
        before = set(self.wheels.glob("*.whl"))
        platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
        _pip(
            *("download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", self.python, *platforms, "--dest", str(self.wheels)),
            f"{name}{self.asked[name]}",
        )
        (new,) = set(self.wheels.glob("*.whl")) - before
        return new

    def _version(self, name: str) -> str:
        return str(parse_wheel_filename(self.files[name].name)[1])

    def _environment(self, extra: str) -> dict[str, str]:
        return dict(self._marker_values(), extra=extra)

    def _marker_values(self) -> Iterator[tuple[str, str]]:
        yield "python_version", self.python
        yield "python_full_version", f"{self.python}.3"
        yield from {
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }.items()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise PackingError(f"pip {arguments[0]} {arguments[-1]} failed; its last lines say why")
