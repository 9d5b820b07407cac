"""Profiles the first steps of a run: ``syngrpo train --profile``.

``Profiler`` makes the processes of a run record what they do (``serving.timeline``), and writes
``timeline/steps-1-20.json`` in the run directory when the last of these steps is done. The ranks
send their events to the main process after each step. Local workers write theirs into files of the
folder ``Profiler.worker_files``, which is removed in the end.

With ``Profile.kernels`` PyTorch's own profiler also records all operations of some steps in the
main process, and on a GPU their CUDA kernels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.profiler import profile as torch_profile
from torch.profiler import schedule, supported_activities

from syngrpo.sample import InputError
from syngrpo.serving import timeline
from syngrpo.serving.atomic_files import atomic_file, atomic_write, make_directory
from syngrpo.serving.wording import count
from syngrpo.workflow.processes import Processes

FOLDER = "timeline"
_WORKERS, _TAKEN = "workers", "workers-done"
UNUSUAL_STEPS = 2
"""Steps before PyTorch's profiler records: the first is slower than the others, and during the
second the profiler starts."""


@dataclass(frozen=True)
class Profile:
    """What is profiled: so many ``steps``, counted from the first of this attempt, and in
    ``kernels`` of them PyTorch's operations, too. Raises InputError if these are too many."""

    steps: int = 20
    kernels: int = 0

    def __post_init__(self) -> None:
        if self.kernels and self.kernels + UNUSUAL_STEPS > self.steps:
            raise InputError(
                f"--profile-kernels {self.kernels} begins in step {UNUSUAL_STEPS + 1} and needs "
                f"--profile-steps {self.kernels + UNUSUAL_STEPS} or more, not {self.steps}"
            )


class Profiler:
    """Profiles a run in one of its processes, from when it is made until its steps are done.

    The main process calls ``require_steps`` and ``prepare``, all processes call ``begin`` and
    ``step``. With ``profile`` None nothing is done. ``tell`` is called in the main process with a
    line about each file that was written. ``worker_files``: the folder into which workers write
    their events; None if they are not to record.
    """

    def __init__(
        self,
        profile: Profile | None,
        run_dir: Path,
        processes: Processes,
        tell: Callable[[str], None],
    ) -> None:
        self.worker_files: Path | None = None
        self._profile = profile
        self._folder = run_dir / FOLDER
        self._processes = processes
        self._tell = tell
        self._events: list[timeline.Event] = []
        self._done: list[int] = []
        self._kernels: torch_profile | None = None
        if profile is None:
            return
        name = "trainer" if processes.count == 1 else f"trainer, rank {processes.rank}"
        timeline.start(name, rank=processes.rank, place=processes.rank)

    def prepare(self) -> None:
        """Make the folders for the files. Call this in the main process when the run directory has
        its configuration: without one, a directory that has anything else is no run."""
        if self._profile is None:
            return
        make_directory(self._folder)
        for name in (_WORKERS, _TAKEN):  # of a process that was killed
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self.worker_files = self._folder / _WORKERS
        self.worker_files.mkdir()

    @property
    def _kernel_steps(self) -> int:
        """The number of steps that PyTorch's own trace records, 0 for none."""
        return self._profile.kernels if self._profile is not None else 0

    def require_steps(self, steps: int) -> None:
        """Raise InputError when the ``steps`` that the run has left are too few for PyTorch's own
        trace. Call this in the main process before anything is written or evaluated."""
        wanted = self._kernel_steps
        if wanted and wanted + UNUSUAL_STEPS > steps:
            raise InputError(
                f"--profile-kernels {wanted} needs {wanted + UNUSUAL_STEPS} steps, and the run has "
                f"{steps} left; set trainer.steps higher, or leave it out"
            )

    def begin(self) -> None:
        """Begin PyTorch's own trace, if one is asked for. Call this before the first step."""
        wanted = self._kernel_steps
        if wanted and self._processes.is_main:
            self._kernels = torch_profile(
                activities=supported_activities(),
                schedule=schedule(wait=UNUSUAL_STEPS - 1, warmup=1, active=wanted, repeat=1),
                on_trace_ready=self._write_kernels,
            )
            self._kernels.start()

    def step(self, step: int) -> None:
        """Take what was recorded until the end of a step, counted from 1."""
        if self._profile is None:
            return
        self._done.append(step)
        self._events += self._processes.gather(timeline.take())
        if self._kernels is not None:
            self._kernels.step()
        if len(self._done) == self._profile.steps:
            self.close()

    def close(self) -> None:
        """Stop recording, and write what was recorded. The second call does nothing."""
        if self._profile is None:
            return
        self._profile = None
        self._events += timeline.take()
        timeline.stop()
        if self._kernels is not None:
            self._kernels.stop()
        if self.worker_files is None:
            return
        # Renamed first, so that no worker adds a file while the folder is removed.
        taken = self.worker_files.rename(self._folder / _TAKEN)
        self._events += timeline.events_in(taken)
        shutil.rmtree(taken)
        if self._done:
            target = self._folder / f"steps-{self._done[0]}-{self._done[-1]}.json"
            atomic_write(target, timeline.chrome_trace(self._events))
            self._tell(
                f"timeline of {count(len(self._done), 'step')}: {target}; open it with "
                "https://ui.perfetto.dev or chrome://tracing"
            )

    @timeline.traced("write operations")
    def _write_kernels(self, recorded: torch_profile) -> None:
        first, last = self._done[0] + UNUSUAL_STEPS, self._done[-1]
        target = self._folder / f"steps-{first}-{last}-kernels.json.gz"
        with atomic_file(target) as temporary:  # its name ends alike, so that it is compressed
            recorded.export_chrome_trace(str(temporary))
        self._tell(f"operations of PyTorch in {count(last - first + 1, 'step')}: {target}")
