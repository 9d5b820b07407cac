"""A decoding step, called over and over: as it is, or recorded once and replayed.

A GPU runs a small kernel faster than Python can ask for the next. A CUDA graph asks for all kernels
of a step at once; it repeats them on the same addresses with the same shapes, so a step that is to
be recorded changes its tensors in place, and no shape or branch of it depends on a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

Step = Callable[[], None]

WARM_UP = 2
"""Plain calls before a recording: libraries choose kernels and take their memory. They count."""

ROW_TOKENS = 256
"""What a row costs a step besides the keys and values of its own tokens, as a number of those."""


class Recorder(Protocol):
    """How a step is recorded."""

    def warm_up(self, step: Step) -> None:
        """Calls the step in a way that a recording can follow."""

    def record(self, step: Step) -> Step:
        """Records a call, without running it; what is returned runs the recorded one."""


@dataclass(frozen=True)
class Pace:
    """How often the host looks at what the device does, and what it does then.

    ``look_every``: steps between two looks at which rows have finished. ``shrink_at``: share of
    the rows that has to have finished for them to leave, and ``shrink_tokens`` what they have to
    hold: their tokens, and ROW_TOKENS each. ``block``: slots for own keys and values that a step
    attends to grow by this. ``recorder``: None calls the step as it is.
    """

    look_every: int
    shrink_at: float
    block: int
    shrink_tokens: int = 0
    recorder: Recorder | None = None

    @classmethod
    def of(cls, device: torch.device, cuda_graphs: bool = True) -> Pace:
        """A CPU computes what it is asked for, so nothing is computed in vain. A GPU reads the
        weights, whatever the number of rows, and must not wait: it goes on for a few steps too
        many, and changes shapes rarely."""
        if device.type != "cuda":
            return cls(look_every=1, shrink_at=0.125, block=16)
        recorder = CudaGraphs(device) if cuda_graphs else None
        return cls(8, shrink_at=0.5, block=256, shrink_tokens=2**15, recorder=recorder)

    def lets_go(self, finished: int, rows: int, length: int) -> bool:
        """Whether ``finished`` of ``rows`` rows leave after ``length`` tokens each."""
        worth = finished * (length + ROW_TOKENS) >= self.shrink_tokens
        return finished >= self.shrink_at * rows and worth


class Repeated:
    """``step``, to be called as long as all its shapes and addresses stay; ``forget`` when not."""

    def __init__(self, step: Step, recorder: Recorder | None) -> None:
        self._step = step
        self._recorder = recorder
        self._recorded: Step | None = None
        self._calls = 0

    def __call__(self) -> None:
        if self._recorder is None:
            self._step()
        elif self._calls < WARM_UP:
            self._recorder.warm_up(self._step)
        else:
            if self._recorded is None:
                self._recorded = self._recorder.record(self._step)
            self._recorded()
        self._calls += 1

    def forget(self) -> None:
        """Says that shapes or addresses have changed. The device has to have done all calls."""
        self._recorded, self._calls = None, 0


class CudaGraphs:
    """Recording as CUDA graphs, on a stream aside as PyTorch's documentation prescribes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, step: Step) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)

    def record(self, step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: the one that gets the next images ready.
        capture = torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.device(self._device), capture:
            step()
        return graph.replay
