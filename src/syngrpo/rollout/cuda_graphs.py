"""Records a decoding step as a CUDA graph, and decides how often the host interrupts the steps.

A GPU finishes a small kernel faster than Python can launch the next one. A CUDA graph launches all
kernels of a step at once. It repeats them on the same addresses with the same shapes, so a step
can be recorded only if it changes its tensors in place, and if no shape or branch depends on the
value of a tensor.

``native.py`` wraps the step in a ``RecordedStep`` and asks its ``StepSchedule`` when to check which
rows have finished and when to remove them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

Step = Callable[[], None]

WARM_UP = 2
"""Number of plain calls before a recording, in which libraries choose kernels and allocate their
memory. They are ordinary steps whose results are used."""

ROW_TOKENS = 256
"""The cost of a row in a step has two parts: reading the keys and values of its own tokens, and
everything else. This is the second part, as the number of tokens that cost the same."""


class Recorder(Protocol):
    """Records steps so that they can be replayed."""

    def warm_up(self, step: Step) -> None:
        """Call the step as it must be called before a recording."""

    def record(self, step: Step) -> Step:
        """Record one call without running it. Calling the result runs what was recorded."""


@dataclass(frozen=True)
class StepSchedule:
    """How often the host checks for finished rows, and when it removes them.

    ``check_every``: steps between two checks. Finished rows are removed when they are at least the
    share ``compact_at`` of all rows and hold at least ``compact_tokens`` tokens, where each row
    counts ``ROW_TOKENS`` in addition to its own. ``block``: the number of slots that a row attends
    to grows in steps of this. ``recorder`` records the steps; None: they are called without a
    recording.
    """

    check_every: int
    compact_at: float
    block: int
    compact_tokens: int = 0
    recorder: Recorder | None = None

    @classmethod
    def of(cls, device: torch.device, cuda_graphs: bool = True) -> StepSchedule:
        """Return the schedule that suits a device.

        On a CPU the time of a step grows with the number of rows, so finished rows are removed
        early. A GPU reads all weights in every step, however few the rows, and waiting for the host
        and new recordings cost time, so a few steps too many are computed and shapes change rarely.
        """
        if device.type != "cuda":
            return cls(check_every=1, compact_at=0.125, block=16)
        recorder = CudaGraphs(device) if cuda_graphs else None
        return cls(8, compact_at=0.5, block=256, compact_tokens=2**15, recorder=recorder)

    def should_compact(self, finished: int, rows: int, length: int) -> bool:
        """Return whether to remove ``finished`` of ``rows`` rows, which hold ``length`` tokens
        each."""
        enough = finished * (length + ROW_TOKENS) >= self.compact_tokens
        return finished >= self.compact_at * rows and enough


class RecordedStep:
    """Calls ``step``: the first WARM_UP times plainly, then its recording. Call ``forget`` whenever
    a shape or an address of its tensors has changed. Without a recorder it calls ``step`` in
    inference mode: what the step leaves behind must be written in place."""

    def __init__(self, step: Step, recorder: Recorder | None) -> None:
        self._step = step
        self._recorder = recorder
        self._recorded: Step | None = None
        self._calls = 0

    def __call__(self) -> None:
        if self._recorder is None:
            with torch.inference_mode():  # many small operations: 0.92 of the time of no_grad
                self._step()
        elif self._calls < WARM_UP:
            self._recorder.warm_up(self._step)
        else:
            if self._recorded is None:
                self._recorded = self._recorder.record(self._step)
            self._recorded()
        self._calls += 1

    def forget(self) -> None:
        """Free the recording and start again with plain calls. The device must have finished all
        calls."""
        self._recorded, self._calls = None, 0


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all recordings. Libraries keep working memory for every stream, so a new
    one for each rollout would take more and more."""
    return torch.cuda.Stream(device)


class CudaGraphs:
    """Records CUDA graphs, on a stream of their own as PyTorch's documentation requires."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream(device)

    def warm_up(self, step: Step) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)

    def record(self, step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that prepares the next images may use the device meanwhile.
        capture = torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.device(self._device), capture:
            step()
        return graph.replay
