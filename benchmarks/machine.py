"""Says on which machine and with which versions something was measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine() -> str:
    """Return processor, cores, memory and operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB memory, "
        f"{platform.system()} {platform.release()}"
    )


def versions(packages: Iterable[str]) -> str:
    """Return the version of Python and those of the packages that are installed."""
    return ", ".join([f"Python {platform.python_version()}", *_installed(packages)])


def _installed(packages: Iterable[str]) -> Iterable[str]:
    for name in packages:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = re.findall(r"(?m)^model name\s*:\s*(.+)$", information.read_text())
        if names:
            return names[0]
    return platform.machine()
