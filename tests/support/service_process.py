"""``syngrpo serve`` in a process of its own, to be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import warm_processes


def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for something that other processes do; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@dataclass
class ServerProcess:
    command: warm_processes.Command
    url: str

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, trust_env=False).json()

    def jobs(self, run: str) -> dict[str, int]:
        """Jobs of a run by state, but for states without any; none before the run is open."""
        counts = self.get("/v1/runs")["runs"].get(run, {"jobs": {}})["jobs"]
        return {state: count for state, count in counts.items() if count}

    def stop(self) -> int:
        os.kill(self.command.pid, signal.SIGTERM)
        return self.command.wait()


def serve(folder: Path, *options: str, port: str = "0", **environment: str) -> ServerProcess:
    """A server over ``folder``/runs that listens."""
    arguments = ["serve", "--pool", str(folder / "runs"), "--port", port, *options]
    command = warm_processes.start(folder, *arguments, **environment)
    try:
        until(lambda: _has_address(command), "the address")
    except BaseException:
        command.kill()
        raise
    return ServerProcess(command, command.output.read_text().split()[-1])


def _has_address(command: warm_processes.Command) -> bool:
    assert command.process.is_alive(), command.stderr
    return command.output.exists() and command.output.read_text().endswith("\n")
