"""Micro-batches of processes that have different ones.

A model that is whole on every process needs no order. One that is sharded does: in every forward
and backward pass all processes take part, also those that have nothing left to learn from, or no
memory left to do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import Policy
from syngrpo.sample import EncodedImage, Sample
from syngrpo.workflow.processes import Processes

T = TypeVar("T")

SIDE = 56
"""Pixels; the processor makes of it the smallest image that the model knows."""


class Lockstep:
    """``idle`` is a forward and a backward pass over a prompt (``nothing``) and one response token,
    of the same kind as those of the micro-batches."""

    def __init__(
        self, policy: Policy, processes: Processes, idle: Callable[[Prompt, torch.Tensor], None]
    ) -> None:
        self._sharding = policy.sharding
        self._device = policy.device
        self._processes = processes
        if self._sharding is not None:
            prompt, token = nothing(policy), torch.tensor(policy.stop_ids[:1])
            self._idle = lambda: idle(prompt, token)

    def run(self, passes: Sequence[Callable[[], T]]) -> tuple[list[T], bool]:
        """Does this process's passes, forward and backward each; and whether it ran out of memory.

        Then what is returned is not all, and the gradients mean nothing; on the other processes
        they do not either.
        """
        if self._sharding is None:
            try:
                return [one() for one in passes], False
            except torch.OutOfMemoryError:
                return [], True
        count = max(self._processes.gather([len(passes)]))
        results: list[T] = []
        exhausted = False
        for place in range(count):
            self._sharding.begin()
            if exhausted or place >= len(passes):
                self._sharding.idle(self._idle)
                continue
            try:
                results.append(passes[place]())
            except torch.OutOfMemoryError:
                exhausted = True
            # Out here the failed pass is forgotten, and with it what it held.
            if exhausted:
                self._sharding.recover(self._recover)
        return results, exhausted

    def _recover(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._idle()


def nothing(policy: Policy) -> Prompt:
    """The prompt of an image with nothing on it."""
    image = EncodedImage.from_pixels(np.zeros((SIDE, SIDE, 3), np.uint8))
    return encode(policy, Sample("nothing", "rec", image, "", None, ()), "")
