"""The code that runs on the cluster: ranks of a training run, and a callback for Ray Train.

Both report to the command that started them: they put messages into a Ray queue, the ``outbox``,
which the command reads (``ray_launch``).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError
from ray.train import UserCallback, get_context
from ray.util.queue import Queue
from rich.console import Console

from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import is_disk_full
from syngrpo.workflow.run_options import RunOptions

TrainFunction = Callable[[RunOptions, Path, bool, Console | None], None]
"""Called in every rank with the run's options, its directory, whether to resume (always true), and
a console for rank 0 (None for the others). A function of a module, so that ranks can import it."""


@dataclass(frozen=True)
class Started:
    """Rank 0 has started, as process ``pid`` on the command's host."""

    pid: int


@dataclass(frozen=True)
class Printed:
    """Rank 0 printed a text for the terminal, control sequences included."""

    text: str


@dataclass(frozen=True)
class RankRefused:
    """A rank raised an error that the user has to correct. Restarting would not help."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """Ranks have failed. ``reasons``: rank → one line that says why."""

    reasons: dict[int, str]


Message = Started | Printed | RankRefused | Died


@dataclass(frozen=True)
class Terminal:
    """Properties of the command's terminal. ``colors``: a color system of rich, None for none."""

    is_terminal: bool
    width: int
    height: int
    colors: Any

    @classmethod
    def of(cls, console: Console) -> Terminal:
        colors = None if console.no_color else console.color_system
        return cls(console.is_terminal, console.width, console.height, colors)


@dataclass(frozen=True)
class Rank:
    """One process of the run in ``run_dir``, a path on the host of rank 0.

    Ranks always resume: a run that has no checkpoint starts at step 0, and a run whose ranks Ray
    Train has restarted goes on from its last checkpoint.
    """

    train: TrainFunction
    options: RunOptions
    run_dir: Path
    outbox: Queue
    terminal: Terminal

    def run(self) -> None:
        """Train to the end, in the process group that Ray Train has set up."""
        is_main = get_context().get_world_rank() == 0
        if is_main:
            self.outbox.put(Started(os.getpid()))
        try:
            self.train(self.options, self.run_dir, True, self._console() if is_main else None)
        except InputError as error:
            self.outbox.put(RankRefused(error))
        except OSError as error:
            if not is_disk_full(error, self.run_dir):
                raise
            self.outbox.put(RankRefused(error))

    def _console(self) -> Console:
        """Return a console that sends everything to the command's terminal."""
        return Console(
            file=_OutboxFile(self.outbox),
            force_terminal=self.terminal.is_terminal,
            width=self.terminal.width,
            height=self.terminal.height,
            color_system=self.terminal.colors,
        )


class _OutboxFile(io.StringIO):
    """A text file that sends its content to the outbox at every flush."""

    def __init__(self, outbox: Queue) -> None:
        super().__init__()
        self._outbox = outbox

    def flush(self) -> None:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        if text:
            self._outbox.put(Printed(text))


@dataclass(frozen=True)
class RankFailures(UserCallback):
    """Reports failed ranks. Ray Train's controller calls it before it restarts all ranks."""

    outbox: Queue

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        self.outbox.put(Died({rank: _reason(e) for rank, e in worker_exceptions.items()}))


def _reason(error: Exception) -> str:
    """Return one line that says why a rank failed: the last line of its traceback, or that its
    process is gone.

    Ray Train wraps the error of a process that is gone; the wrapper's class is private.
    """
    if isinstance(getattr(error, "health_check_failure", error), RayActorError):
        return "its process or its node is gone"
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1]
