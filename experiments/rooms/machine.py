"""Returns what a result was measured with: the commit, the machine, and versions of packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.machine import machine, versions

PACKAGES = ("syngrpo", "torch", "transformers", "numpy")


def circumstances() -> dict[str, str]:
    """Return the machine and the versions of the most important packages, as texts."""
    return {"machine": machine(), "versions": versions(PACKAGES)}


def commit(repository: Path) -> str:
    """Return the hash of the commit that is checked out, 12 digits long.

    A ``+`` follows if files in ``src`` or ``configs`` differ from the commit. Returns "unknown"
    without git or without a repository.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=repository, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        sha = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", "src", "configs")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return sha + "+" * bool(changed)
