"""A CUDA graph for the CPU: what a step did is written down and done again, at the same addresses.

As on a GPU, nothing but tensor operations is repeated: what Python did with values of the first
call (a position, a branch, a length) would be wrong in all others. And as on a GPU an operation
whose shape or branch depends on a value, or that brings a value from the host, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Tape(TorchDispatchMode):
    """Notes every operation with the very tensors it read and made; keeps all of them alive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        refuse_what_depends_on_values(func, args)
        for described, value in zip(func._schema.arguments, args, strict=False):
            if described.alias_info is not None and described.alias_info.is_write:
                storage = value.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


def refuse_what_depends_on_values(func: Any, args: tuple[Any, ...]) -> None:
    """Raises RuntimeError for an operation that a CUDA graph cannot hold."""
    dynamic = (
        torch.Tag.data_dependent_output in func.tags or func is torch.ops.aten.lift_fresh.default
    )
    if func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default):
        dynamic |= any(i is not None and not i.dtype.is_signed for i in args[1])
    else:
        dynamic |= torch.Tag.dynamic_output_shape in func.tags
    if dynamic:
        raise RuntimeError(f"{func} depends on a value")


class Tapes:
    """A recorder for ``policy.graphs``; counts, and keeps the newest recording's ``calls``."""

    def __init__(self) -> None:
        self.warm_ups = self.recordings = self.replays = 0
        self.calls: list[Call] = []

    def warm_up(self, step: Callable[[], None]) -> None:
        self.warm_ups += 1
        step()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        with _Tape() as tape:
            step()
        tape.undo()
        calls = self.calls = tape.calls

        def replay() -> None:
            self.replays += 1
            for func, args, kwargs, results in calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if old.data_ptr() != new.data_ptr():  # neither a view nor in place
                        old.copy_(new)

        return replay
