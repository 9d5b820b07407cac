"""What the processes of ``accelerate launch`` tell each other.

Only small things travel as objects: encoded images, token ids, numbers. Gradients are summed, not
averaged: every loss is already divided by counts over all processes.

What the user can fix in one process is told in all: nobody waits for one that has stopped. Whenever
processes meet, in any of the methods here, they first ask whether somebody is there only to say why
it stops (``tell``); and they never wait for each other without having met just before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from syngrpo.policy.loading import Policy
from syngrpo.sample import InputError

T = TypeVar("T")

PATIENCE = timedelta(hours=3)
"""How long processes wait for another, which may be evaluating; the launcher sees one that died."""

BUCKET_BYTES = 2**28
"""Float32 gradients that are summed, and copied, at once."""


class Processes:
    """This process among all of the run. One process alone needs no process group."""

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        self.rank = state.process_index
        self.count = state.num_processes
        self.device = state.device
        self.is_main = self.rank == 0
        self._stopped = False

    def share(self, value: T | None) -> T:
        """The main process's value, on every process; the others pass anything."""
        if self.count == 1:
            return value  # type: ignore[return-value]
        self._meet(None)
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
        self._meet(None)
        return self._gather(values)

    def agree(self, problem: str | None = None) -> None:
        """Raises InputError in all processes when one of them has a problem, or has stopped."""
        if self.count > 1:
            self._meet(problem)
        elif problem is not None:
            raise InputError(problem)

    def tell(self, problem: str) -> None:
        """Meets the others a last time, wherever they are, to raise there as an InputError what has
        been raised here. Does nothing about an error that came from a meeting."""
        if self.count > 1 and not self._stopped:
            with suppress(InputError):  # what we tell, or what another one tells
                self._meet(problem)

    def receive(self, tensor: torch.Tensor) -> torch.Tensor:
        """The main process's tensor on every process's device; the others pass any tensor of its
        shape and dtype, which may have no storage (``meta``)."""
        if self.count == 1:
            return tensor
        if self.is_main:
            whole = tensor.to(self.device).contiguous()
        else:
            whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=self.device)
        dist.broadcast(whole, src=0)
        return whole

    def mesh(self) -> DeviceMesh:
        """All processes in one row, for sharding; all make it together."""
        self.agree()
        return init_device_mesh(self.device.type, (self.count,))

    @contextmanager
    def whole(self, policy: Policy) -> Iterator[Policy]:
        """``policy.whole()``, once it is certain that everybody comes."""
        if policy.sharding is not None:
            self.agree()
        with policy.whole() as whole:
            yield whole

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds up gradients in place, in float32. A parameter without one counts as zero."""
        if self.count == 1:
            return
        bucket: list[torch.nn.Parameter] = []
        size = 0
        for parameter in parameters:
            bucket.append(parameter)
            size += 4 * parameter.numel()
            if size >= BUCKET_BYTES:
                _sum_bucket(bucket)
                bucket, size = [], 0
        if bucket:
            _sum_bucket(bucket)

    def close(self) -> None:
        """Leaves the process group."""
        if self.count > 1:
            dist.destroy_process_group()

    def _meet(self, problem: str | None) -> None:
        """All come here, or nobody goes on. Raises InputError when somebody has a problem."""
        anybody = torch.tensor(int(problem is not None), device=self.device)
        dist.all_reduce(anybody, dist.ReduceOp.MAX)
        if anybody:
            problems = self._gather([] if problem is None else [problem])
            self._stopped = True
            raise InputError(problems[0])

    def _gather(self, values: Sequence[T]) -> list[T]:
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]


def _sum_bucket(parameters: Sequence[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([grad.reshape(-1).float() for grad in grads])
    dist.all_reduce(flat)
    for grad, total in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(total.view_as(grad))
