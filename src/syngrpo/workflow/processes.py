"""Communication between the processes of a run (``accelerate launch``, or ranks on Ray).

Every process has one ``Processes`` object. It exchanges small objects: encoded images, token ids,
numbers. Gradients are summed, not averaged, because every loss is already divided by counts over
all processes.

An InputError in one process must stop all of them, so that none waits for one that has stopped.
Therefore every exchange begins with ``_meet``, in which each process says whether it has a problem.
If one has, all of them raise it. A process that stops outside of an exchange calls ``tell``, which
takes part in the next ``_meet`` of the others.
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

from syngrpo.policy.model import Policy
from syngrpo.rollout.base import first_problem
from syngrpo.sample import InputError

T = TypeVar("T")

PATIENCE = timedelta(hours=3)
"""How long a process waits for the others. It is long because the main process may be evaluating.
The launcher notices a process that died."""

BUCKET_BYTES = 2**28
"""Bytes of float32 gradients that are copied and summed at once."""


class Processes:
    """This process and its exchanges with the others. A single process has no process group."""

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        self.rank = state.process_index
        self.count = state.num_processes
        self.device = state.device
        self.is_main = self.rank == 0
        self._stopped = False

    def share(self, value: T | None) -> T:
        """Return the main process's value in every process. The others may pass anything."""
        if self.count == 1:
            return value  # type: ignore[return-value]
        self._meet(None)
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def part(self, values: Sequence[T]) -> list[tuple[int, T]]:
        """Return this process's contiguous part of a list that all processes have, with the indices
        in that list."""
        size, left = divmod(len(values), self.count)
        start = self.rank * size + min(self.rank, left)
        stop = start + size + (self.rank < left)
        return list(enumerate(values[start:stop], start))

    def gather(self, values: Sequence[T]) -> list[T]:
        """Return the values of all processes, joined in the order of their ranks."""
        if self.count == 1:
            return list(values)
        self._meet(None)
        return self._gather(values)

    def agree(self, problem: str | None = None) -> None:
        """Raise InputError in all processes when one of them has a problem or has stopped."""
        if self.count > 1:
            self._meet(problem)
        elif problem is not None:
            raise InputError(problem)

    def tell(self, problem: str) -> None:
        """Make all other processes raise InputError with this problem at their next exchange.

        Call this for an error that ends this process. It does nothing if an exchange has raised the
        error, because then the others have it already.
        """
        if self.count > 1 and not self._stopped:
            with suppress(InputError):  # this problem, or that of another process
                self._meet(problem)

    def mesh(self) -> DeviceMesh:
        """Return a device mesh of one dimension over all processes. All call this together."""
        self.agree()
        return init_device_mesh(self.device.type, (self.count,))

    @contextmanager
    def whole(self, policy: Policy) -> Iterator[Policy]:
        """Yield ``policy.whole()``, after making sure that no process has stopped."""
        if policy.sharding is not None:
            self.agree()
        with policy.whole() as whole:
            yield whole

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum gradients over all processes in place, in float32. Every parameter has one."""
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
        """Leave the process group."""
        if self.count > 1:
            dist.destroy_process_group()

    def _meet(self, problem: str | None) -> None:
        """Wait for all processes. Raise InputError in each when one has a problem."""
        told = first_problem(problem, self.device)
        if told is not None:
            self._stopped = True
            raise InputError(told)

    def _gather(self, values: Sequence[T]) -> list[T]:
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]


def _sum_bucket(parameters: Sequence[torch.nn.Parameter]) -> None:
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([grad.reshape(-1).float() for grad in grads])
    dist.all_reduce(flat)
    for grad, total in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(total.view_as(grad))
