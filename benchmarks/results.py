"""Where every benchmark writes its numbers: one section each in RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import sqlite3
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
_PACKAGES = ("syngrpo", "torch", "transformers", "trl", "numpy")


def write_section(title: str, body: str, path: Path = RESULTS) -> None:
    """Replaces the section of this title, or appends it: machine, date, versions, command, body.

    ``body`` is Markdown without headings of level 1 or 2.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else "# Benchmark results\n"
    sections = re.split(r"(?m)^(?=## )", text)
    section = f"## {title}\n\n{_circumstances()}\n\n{body.strip()}\n"
    others = [one.rstrip() + "\n" for one in sections]
    places = [place for place, one in enumerate(others) if one.startswith(f"## {title}\n")]
    if places:
        others[places[0]] = section
    else:
        others.append(section)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("\n".join(others), encoding="utf-8")
    unfinished.replace(path)


def _circumstances() -> str:
    return "\n".join(
        [
            f"- command: `{_command()}`",
            f"- date: {datetime.date.today().isoformat()}",
            f"- machine: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB memory, "
            f"{platform.system()} {platform.release()}",
            f"- versions: {_versions()}",
        ]
    )


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {spec.name}" if spec is not None else f"python {Path(sys.argv[0]).name}"
    return " ".join([program, *sys.argv[1:]])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"(?m)^model name\s*:\s*(.+)$", information.read_text())
        if names:
            return names[0]
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> str:
    installed = {dist.name.lower() for dist in importlib.metadata.distributions()}
    found = [
        f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES if name in installed
    ]
    python = f"Python {platform.python_version()}"
    return ", ".join([python, *found, f"SQLite {sqlite3.sqlite_version}"])
