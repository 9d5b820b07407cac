"""Writes the numbers of each benchmark into a section of its own in RESULTS.md."""

from __future__ import annotations

import datetime
import re
import sqlite3
import sys
from pathlib import Path

from benchmarks.machine import machine, versions
from syngrpo.serving.atomic_files import atomic_write

RESULTS = Path(__file__).parent / "RESULTS.md"
_PACKAGES = ("syngrpo", "torch", "transformers", "trl", "numpy")


def write_section(title: str, body: str, path: Path = RESULTS) -> None:
    """Replace the section with this title, or append it: machine, date, versions, command, body.

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
    atomic_write(path, "\n".join(others))


def _circumstances() -> str:
    return "\n".join(
        [
            f"- command: `{_command()}`",
            f"- date: {datetime.date.today().isoformat()}",
            f"- machine: {machine()}",
            f"- versions: {versions(_PACKAGES)}, SQLite {sqlite3.sqlite_version}",
        ]
    )


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {spec.name}" if spec is not None else f"python {Path(sys.argv[0]).name}"
    return " ".join([program, *sys.argv[1:]])
