"""What is used of torch beyond its documented interface.

Checked with torch 2.15.0; the allowed range begins at 2.11 (pyproject.toml), sharding needs 2.13.
A new version may move any of this: look here first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp._fully_shard._fsdp_api import AllGather, ReduceScatter


def varlen_kernel() -> Callable[..., Any]:
    """Return PyTorch's attention over sequences of different lengths. Raises ImportError for a
    build of PyTorch that lacks it."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


def can_restart_a_pass() -> bool:
    """Return whether a sharded model can go on after a pass that failed half-way."""
    return hasattr(FSDPModule, "reset_iter_state")


def restart_pass(root: FSDPModule) -> None:
    """Forget a forward or backward pass of a sharded model that failed half-way."""
    root.reset_iter_state()


@dataclass
class CollectiveCount:
    """Counts the collective calls of one pass.

    ``done``: how many were made; ``skip``: how many to leave out, because an earlier attempt has
    made them; ``silent``: whether this process's gradients are replaced by zeros.
    """

    done: int = 0
    skip: int = 0
    silent: bool = False

    def is_due(self) -> bool:
        """Return whether the next call is to be made, and count it."""
        if self.skip:
            self.skip -= 1
            return False
        self.done += 1
        return True


def count_collectives(module: FSDPModule, count: CollectiveCount) -> None:
    """Let this sharded module's collective calls follow ``count``."""
    module.set_force_sum_reduction_for_comms(True)
    module.set_custom_all_gather(_CountedAllGather(count))
    module.set_custom_reduce_scatter(_CountedReduceScatter(count))


class _Allocating:
    def __init__(self, count: CollectiveCount) -> None:
        self._count = count

    def allocate(
        self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _CountedAllGather(_Allocating, AllGather):
    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        async_op: bool = False,
    ) -> dist.Work | None:
        if self._count.is_due():
            return dist.all_gather_single(output_tensor, input_tensor, group, async_op)
        output_tensor.zero_()  # any finite weights do
        return None


class _CountedReduceScatter(_Allocating, ReduceScatter):
    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> dist.Work | None:
        if self._count.silent:
            input_tensor.zero_()
        if self._count.is_due():
            return dist.reduce_scatter_single(output_tensor, input_tensor, op, group, async_op)
        output_tensor.zero_()
        return None
