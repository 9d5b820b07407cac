"""What runs on the cluster: one rank of a training run."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import get_context
from ray.util.queue import Queue
from rich.console import Console

from syngrpo.config import Config
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import is_disk_full
from syngrpo.workflow.on_ray.messages import Printed, Refused, Started
from syngrpo.workflow.run import train


@dataclass(frozen=True)
class Terminal:
    """How the command's output looks; ``colors`` as rich names them, None for none."""

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
    """One process of the run in ``run_dir``, a path of the node where rank 0 is.

    The directory exists already: with ``resume`` a run that has not begun starts from step 0, and
    one whose ranks Ray Train starts again goes on from its last checkpoint.
    """

    config: Config
    run_dir: Path
    outbox: Queue
    terminal: Terminal

    def train(self) -> None:
        """Joins the process group that Ray Train has set up, and trains to the end."""
        is_main = get_context().get_world_rank() == 0
        if is_main:
            self.outbox.put(Started(os.getpid()))
        try:
            train(self.config, self.run_dir, True, self._console() if is_main else None)
        except InputError as error:
            self.outbox.put(Refused(error))
        except OSError as error:
            if not is_disk_full(error, self.run_dir):
                raise
            self.outbox.put(Refused(error))

    def _console(self) -> Console:
        look = self.terminal
        return Console(
            file=_Outlet(self.outbox),
            force_terminal=look.is_terminal,
            width=look.width,
            height=look.height,
            color_system=look.colors,
        )


class _Outlet(io.StringIO):
    """A file whose content travels to the command at every flush."""

    def __init__(self, outbox: Queue) -> None:
        super().__init__()
        self._outbox = outbox

    def flush(self) -> None:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        if text:
            self._outbox.put(Printed(text))
