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

from syngrpo.serving.http_client import ServerAddress

TOKEN = "correct-horse"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class ServerProcess:
    """A server of the starter that asks for ``TOKEN``; it may still be starting."""

    process: subprocess.Popen[bytes]
    port: int
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> ServerAddress:
        return ServerAddress(self.url, TOKEN)

    def version(self) -> str | None:
        """Of its weights; waits until it answers."""
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
        """Its exit status after SIGTERM."""
        self.process.terminate()
        return self.process.wait(timeout=60)


def start(folder: Path, port: int | None = None) -> ServerProcess:
    """On a free port, or on that of one that is no more."""
    folder.mkdir(parents=True, exist_ok=True)
    token, errors = folder / "token", folder / "server.stderr"
    token.write_text(TOKEN)
    chosen = port or free_port()
    words = ["rollout-server", "--model", "starter", "--port", str(chosen)]
    more = ["--token-file", str(token), "--cache-gib", "0.25", "--max-length", "600"]
    with errors.open("ab") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "syngrpo.cli", *words, *more],
            stderr=target,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    return ServerProcess(process, chosen, errors)
