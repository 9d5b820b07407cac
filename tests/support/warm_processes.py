"""The real command line in processes of their own that have everything imported already.

They are forked from a server that did the imports, so that starting, killing and starting again
costs a second instead of ten; all else is as in a shell.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

PROCESSES = multiprocessing.get_context("forkserver")
IMPORTED = [
    *("torch", "pytest", "safetensors.torch", "syngrpo.workflow.checkpoint"),
    *(
        "syngrpo.cli.main",
        "syngrpo.workflow.run",
        "syngrpo_rooms.dataset",
        "syngrpo.data_server.worker_process",
    ),
    *("transformers.models.qwen2_5_vl", "torch.utils.tensorboard"),
    *("syngrpo.data_server.serve_data", "syngrpo.data_server.server_sink"),
    "syngrpo.data_server.remote_jobs",
]
"""The first line is for the tests of checkpoints: one fork server serves all tests, with the list
that was set last before its first process. Hence it is set here and again in ``start``."""

PROCESSES.set_forkserver_preload(IMPORTED)


@dataclass
class Command:
    """A running or finished ``syngrpo`` command."""

    process: ForkServerProcess
    output: Path
    errors: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and the end of the process."""
        self.process.kill()
        self.process.join()

    def kill_when(self, condition: Callable[[], bool]) -> None:
        """SIGKILL at the first moment that ``condition`` holds; the command must not end first."""
        while not condition():
            assert self.process.is_alive(), self.stderr
            time.sleep(0.002)
        self.kill()
        assert self.process.exitcode == -9

    def wait(self) -> int:
        """The exit status."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    @property
    def stderr(self) -> str:
        return self.errors.read_text()


def start(folder: Path, *arguments: str | Path, **environment: str) -> Command:
    """``syngrpo ARGUMENTS`` in ``folder``; its output goes to files there."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.stderr")))
    output, errors = folder / f"{number}.stdout", folder / f"{number}.stderr"
    words = [str(argument) for argument in arguments]
    PROCESSES.set_forkserver_preload(IMPORTED)
    process = PROCESSES.Process(target=_run, args=(words, folder, output, errors, environment))
    process.start()
    return Command(process, output, errors)


def _run(
    words: list[str], folder: Path, output: Path, errors: Path, environment: dict[str, str]
) -> None:
    for stream, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    os.chdir(folder)
    os.environ.update(environment)
    tempfile.tempdir = None  # may be known from the environment of before
    sys.argv = ["syngrpo", *words]
    from syngrpo.cli.main import main

    main()
