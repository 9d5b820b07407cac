"""``syngrpo dashboard`` in a process of its own, and Debian's Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import warm_processes
from service_process import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
"""As root Chromium needs --no-sandbox; the others keep it from looking for hosts of its own."""

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)


@contextmanager
def dashboard(folder: Path, *arguments: str | Path) -> Iterator[str]:
    """A dashboard with these arguments; its address. Its output is in ``folder``."""
    with pages_of(folder, "dashboard", *arguments) as address:
        yield address


@contextmanager
def pages_of(folder: Path, *arguments: str | Path) -> Iterator[str]:
    """A command that serves pages; their address. Its output is in ``folder``."""
    command = warm_processes.start(folder, *arguments, "--port", "0")

    def has_address() -> bool:
        assert command.process.is_alive(), command.stderr
        return command.output.exists() and command.output.read_text().endswith("\n")

    try:
        until(has_address, "the address")
        yield command.output.read_text().split()[-1].rstrip("/")
    finally:
        os.kill(command.pid, signal.SIGTERM)
        command.wait()
    assert "Traceback" not in command.stderr, command.stderr


@contextmanager
def browser() -> Iterator[object]:
    """Chromium without a window; a playwright ``Browser``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()
