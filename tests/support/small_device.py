"""A device that has memory for so many tokens at once, and says so as CUDA does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from syngrpo.policy.model import Policy


@contextmanager
def room_for(policy: Policy, tokens: int, where: str = "forward") -> Iterator[list[int]]:
    """Every pass of the text model over more tokens fails, on its way forward or backward. Yields
    the number of tokens of each pass that was tried."""
    tried: list[int] = []

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def look(module: Any, arguments: Any, named: dict[str, Any], output: Any) -> None:
        hidden = output.last_hidden_state
        tried.append(hidden.shape[0] * hidden.shape[1])
        if tried[-1] > tokens:
            hidden.register_hook(fail) if where == "backward" else fail()

    text_model = policy.family.text_model(policy.base)
    handle = text_model.register_forward_hook(look, with_kwargs=True)
    try:
        yield tried
    finally:
        handle.remove()
