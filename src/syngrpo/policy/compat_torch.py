"""Every use of undocumented interfaces of torch in this package.

Checked with torch 2.15.0; the allowed range begins at 2.11 (pyproject.toml), sharding needs 2.13.
When something breaks with a new version, look here first.
"""

from __future__ import annotations

import inspect
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
    build of PyTorch that lacks it.

    That of torch 2.11 has no argument ``enable_gqa``, and takes fewer key heads without it.
    """
    from torch.nn.attention.varlen import varlen_attn

    if "enable_gqa" in inspect.signature(varlen_attn).parameters:
        return varlen_attn

    def without_flag(*tensors: Any, enable_gqa: bool, **options: Any) -> Any:
        return varlen_attn(*tensors, **options)

    return without_flag


def can_restart_a_pass() -> bool:
    """Return whether a sharded model can go on after a pass that failed half-way."""
    return hasattr(FSDPModule, "reset_iter_state")


def restart_pass(root: FSDPModule) -> None:
    """Reset a sharded model after a forward or backward pass that failed half-way, so that another
    can begin."""
    root.reset_iter_state()


@dataclass
class CollectiveCount:
    """Counts the collective calls of one pass.

    ``done``: number of calls that were made; ``skip``: number of calls to leave out from now on,
    because an earlier attempt has made them; ``silent``: whether this process's gradients are
    replaced by zeros.
    """

    done: int = 0
    skip: int = 0
    silent: bool = False

    def is_due(self) -> bool:
        """Return whether the next call must be made, and count it if so."""
        if self.skip:
            self.skip -= 1
            return False
        self.done += 1
        return True


def count_collectives(module: FSDPModule, count: CollectiveCount) -> None:
    """Make the collective calls of this sharded module count themselves in ``count``, and follow
    its ``skip`` and ``silent``."""
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
        output_tensor.zero_()  # the results are not used, so any finite weights will do
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
