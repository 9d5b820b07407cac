"""What the processes of ``accelerate launch`` tell each other.

Only small things travel as objects: encoded images, token ids, numbers. Gradients are summed, not
averaged: every loss is already divided by counts over all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

T = TypeVar("T")


class Processes:
    """This process among all of the run. One process alone needs no process group."""

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank = state.process_index
        self.count = state.num_processes
        self.device = state.device
        self.is_main = self.rank == 0

    def share(self, value: T | None) -> T:
        """The main process's value, on every process; the others pass anything."""
        if self.count == 1:
            return value  # type: ignore[return-value]
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def part(self, values: Sequence[T]) -> list[tuple[int, T]]:
        """This process's contiguous part of a global list, with global indices."""
        size, left = divmod(len(values), self.count)
        start = self.rank * size + min(self.rank, left)
        stop = start + size + (self.rank < left)
        return list(enumerate(values[start:stop], start))

    def gather(self, values: Sequence[T]) -> list[T]:
        """Everybody's parts joined in rank order, on every process."""
        if self.count == 1:
            return list(values)
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds up gradients in place. A parameter without one counts as zero."""
        if self.count == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        for parameter, grad in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def close(self) -> None:
        """Leaves the process group."""
        if self.count > 1:
            dist.destroy_process_group()
