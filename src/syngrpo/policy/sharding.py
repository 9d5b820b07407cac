"""Spreads the weights, gradients and optimizer state of a model over processes (FSDP2).

Each of N processes keeps an N-th of every weight. A forward or backward pass gathers the weights of
one layer at a time and frees them after that layer; the backward pass also sums the gradients and
gives each process its part. So all processes must run the same layers in the same order. For
sampling and evaluation ``Sharding.whole`` gathers all weights once, and then no process waits for
another. Checkpoints use ``gather_state`` and ``spread_state``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from syngrpo.policy.compat_torch import (
    CollectiveCount,
    can_restart_a_pass,
    count_collectives,
    restart_pass,
)
from syngrpo.sample import InputError


class Sharding:
    """The shards of a model, and of its frozen reference if there is one.

    ``blocks`` are names of classes of modules: the weights of each such module are gathered and
    freed together. ``replicated`` are weights that every process keeps whole. With ``float32`` the
    trained weights become float32; passes compute in the model's ``dtype`` in either case. Raises
    InputError for a version of torch that cannot continue after a pass that ran out of memory.
    """

    def __init__(
        self,
        model: nn.Module,
        reference: nn.Module | None,
        blocks: Collection[str],
        replicated: Iterable[nn.Parameter],
        mesh: DeviceMesh,
        dtype: torch.dtype,
        float32: bool,
    ) -> None:
        if not can_restart_a_pass():
            raise InputError(
                f"trainer.sharding needs torch 2.13 or newer, this is {torch.__version__}; update "
                "torch, or set trainer.sharding to none"
            )
        kept = set(replicated)
        self._collectives = CollectiveCount()
        self._model, self._twin = model, _without_weights(model, kept)
        trained = {p.dtype for p in model.parameters() if p.requires_grad}
        precision = MixedPrecisionPolicy(
            param_dtype=dtype if float32 and dtype in trained else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )

        def spread(module: nn.Module) -> FSDPModule:
            if float32:
                _to_float32(module)
            fully_shard(module, mesh=mesh, mp_policy=precision, ignored_params=kept)
            assert isinstance(module, FSDPModule)
            module.set_gradient_divide_factor(1.0)  # a loss is already divided by global counts
            count_collectives(module, self._collectives)
            return module

        def spread_blocks(whole: nn.Module) -> nn.Module:
            for module in list(whole.modules()):
                if type(module).__name__ in blocks and not kept.issuperset(module.parameters()):
                    spread(module)
            root = _Root(whole)
            spread(root)
            return root

        self._root = spread_blocks(model)
        self._reference = spread_blocks(reference) if reference is not None else None
        if isinstance(self._reference, FSDPModule):
            # FSDP would keep the last layer's weights for a backward pass, and the reference has
            # none.
            self._reference.set_reshard_after_forward(True, recurse=False)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """Yield a model with all weights, in the dtype of the passes, that cannot be trained.

        It has no hooks, so no process waits for another inside the block. All processes must enter
        the block together. After the block the model has no weights.
        """
        spread = [m for m in self._root.modules() if isinstance(m, FSDPModule)]
        for module in spread:
            module.unshard()
        try:
            for plain, own in zip(self._twin.modules(), self._model.modules(), strict=True):
                for name, weight in own.named_parameters(recurse=False, remove_duplicate=False):
                    plain.register_parameter(name, weight)
            yield self._twin
        finally:
            for module in spread:
                module.reshard()

    def compute(self, call: Callable[[], Tensor], reference: bool = False) -> Tensor:
        """Return ``call()``, which computes with the sharded model (or with the reference, if that
        has shards of its own). All processes must call this together. Differentiable."""
        root = self._reference if reference and self._reference is not None else self._root
        result: Tensor = root(call)
        return result

    def begin(self) -> None:
        """Begin a forward and backward pass. All processes must do so together."""
        self._collectives.done = 0

    def idle(self, call: Callable[[], None]) -> None:
        """Run ``call``, any forward and backward pass of the same kind, with zero gradients.

        A process without data calls this, because every process must take part in the collectives.
        """
        self._collectives.silent = True
        try:
            call()
        finally:
            self._collectives.silent = False

    def recover(self, call: Callable[[], None]) -> None:
        """Finish a pass that failed half-way in this process by running ``call`` as ``idle`` does,
        without the collectives that were made already, so that the other processes can finish
        theirs. The gradients of this process so far are lost."""
        for root in (self._root, self._reference):
            if isinstance(root, FSDPModule):
                restart_pass(root)
        self._collectives.skip, self._collectives.done = self._collectives.done, 0
        self.idle(call)


class _Root(nn.Module):
    """The module that FSDP sees as the model. Its forward pass is the call given to ``compute``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[], Tensor]) -> Tensor:
        return call()


def _without_weights(model: nn.Module, kept: Collection[nn.Parameter]) -> nn.Module:
    """Return a copy that shares the ``kept`` weights and has no storage for the others."""
    stand_ins = {
        id(p): p if p in kept else nn.Parameter(p.detach().to("meta"), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, stand_ins)


def _to_float32(module: nn.Module) -> None:
    """Convert the trained weights of a layer just before it is sharded, so that memory never holds
    two copies of the whole model."""
    for weight in module.parameters():
        if weight.requires_grad and not isinstance(weight, DTensor):
            weight.data = weight.data.float()


def gather_state(
    weights: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return weights and optimizer state, whole and on the CPU, in process 0; None in the others.

    Weights are called "0", "1", … in the first dictionary, and in ``state`` and ``param_groups`` of
    the second. All processes must call this together.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole = nn.ParameterList(weights)
    own = get_model_state_dict(whole, options=options)
    # Not for an optimizer that has taken no step: torch would let it take one with zero gradients.
    numbers = [str(number) for number in range(len(weights))]
    moments: Any = {"state": {}, "param_groups": [{**optimizer.param_groups[0], "params": numbers}]}
    if optimizer.state:
        moments = get_optimizer_state_dict(whole, optimizer, options=options)
    return (own, moments) if dist.get_rank() == 0 else None


def spread_state(
    weights: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: tuple[dict[str, Any], dict[str, Any]] | None,
    stepped: Collection[int],
) -> None:
    """Load into every process its part of the ``state`` that ``gather_state`` returned; weights
    that are not sharded are loaded whole.

    Only the ``state`` of process 0 is used. ``stepped`` are the numbers of the weights for which it
    holds a state of the optimizer. All processes must call this together.
    """
    own, moments = state if state is not None else ({}, {})
    whole = nn.ParameterList(weights)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(whole, own, options=options)
    set_optimizer_state_dict(whole, optimizer, moments, options=options)
    for number, weight in enumerate(weights):
        if number not in stepped:
            optimizer.state.pop(weight, None)
