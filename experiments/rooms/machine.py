"""What a result was measured with: commit, machine, versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("syngrpo", "torch", "transformers", "numpy")


def circumstances() -> dict[str, str]:
    """Machine and versions, plain texts."""
    versions = [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in PACKAGES)]
    return {"machine": machine(), "versions": ", ".join(versions)}


def commit(repository: Path) -> str:
    """The one that is checked out, with ``+`` where source or configurations differ from it;
    "unknown" without git or a repository."""

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


def machine() -> str:
    """Processor, cores, memory, system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB memory, "
        f"{platform.system()} {platform.release()}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"(?m)^model name\s*:\s*(.+)$", information.read_text())
        if names:
            return names[0]
    return platform.machine()
