"""A stand-in for CUDA graphs on the CPU: records the tensor operations of a step and repeats them
on the same addresses.

As with a CUDA graph, only tensor operations are repeated: a position, branch or length that Python
computed in the first call stays as it was. And as with a CUDA graph, an operation whose shape
depends on a value, or that copies a value from or to the host, raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Recording(TorchDispatchMode):
    """Lists every operation with the tensors it read and made, and keeps these alive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        require_recordable(func, args)
        for described, value in zip(func._schema.arguments, args, strict=False):
            if described.alias_info is not None and described.alias_info.is_write:
                storage = value.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def undo(self) -> None:
        """Restore what the operations have overwritten: recording a step must not run it."""
        for storage, before in self._before.values():
            storage.copy_(before)


def require_recordable(func: Any, args: tuple[Any, ...]) -> None:
    """Raise RuntimeError for an operation that a CUDA graph cannot record."""
    dynamic = (
        torch.Tag.data_dependent_output in func.tags or func is torch.ops.aten.lift_fresh.default
    )
    if func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default):
        dynamic |= any(i is not None and not i.dtype.is_signed for i in args[1])
    else:
        dynamic |= torch.Tag.dynamic_output_shape in func.tags
    if dynamic:
        raise RuntimeError(f"{func} depends on a value")


class CpuRecorder:
    """A ``cuda_graphs.Recorder``; counts what it does. ``calls`` are those of the last
    recording."""

    def __init__(self) -> None:
        self.warm_ups = self.recordings = self.replays = 0
        self.calls: list[Call] = []

    def warm_up(self, step: Callable[[], None]) -> None:
        self.warm_ups += 1
        step()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        with _Recording() as recording:
            step()
        recording.undo()
        calls = self.calls = recording.calls

        def replay() -> None:
            self.replays += 1
            for func, args, kwargs, results in calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if old.data_ptr() != new.data_ptr():  # no view, and not in place
                        old.copy_(new)

        return replay
