"""``syngrpo rollout-server`` in a process of its own, to be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from syngrpo.rollout import RolloutOptions

TOKEN = "correct-horse"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class ServerProcess:
    """A server of the starter model that asks for ``TOKEN``; it may still be starting."""

    process: subprocess.Popen[bytes]
    port: int
    token_file: Path
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> RolloutOptions:
        """The options of a run that uses this server."""
        return RolloutOptions(server=self.url, server_token_file=self.token_file)

    def version(self) -> str | None:
        """Return the version of the server's weights. Waits until the server answers."""
        deadline = time.monotonic() + 280
        headers = {"Authorization": f"Bearer {TOKEN}"}
        while True:
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            try:
                answer = httpx.get(self.url + "/v1/state", headers=headers, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.2)
            else:
                told: str | None = answer.json()["version"]
                return told

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.terminate()
        return self.process.wait(timeout=60)


def start(folder: Path, port: int | None = None) -> ServerProcess:
    """Start a server on ``port``, which an earlier one may have had; None: on a free one."""
    folder.mkdir(parents=True, exist_ok=True)
    token, errors = folder / "token", folder / "server.stderr"
    token.write_text(TOKEN)
    chosen = port or free_port()
    words = ["rollout-server", "--model", "starter", "--port", str(chosen)]
    more = ["--token-file", str(token), "--cache-gib", "0.25", "--max-length", "600"]
    with errors.open("ab") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "syngrpo", *words, *more],
            stderr=target,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    return ServerProcess(process, chosen, token, errors)
