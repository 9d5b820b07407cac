"""Splits an update into forward passes that fit into memory, and runs them on all processes.

``micro_batches`` puts the rows of one process into batches of at most ``trainer.token_budget``
tokens. ``Lockstep`` runs a forward and a backward pass for each. Processes may have different
numbers of micro-batches. If each holds the whole model, they run independently. If the model is
sharded, all of them must take part in every pass, also those that have no micro-batch left or have
run out of memory. ``learner`` drives both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.model import Policy
from syngrpo.sample import EncodedImage, Sample
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

T = TypeVar("T")

BLANK_SIDE = 56
"""Width and height of ``blank_prompt``'s image in pixels. The processor resizes it to the model's
smallest size."""


def count_tokens(row: UpdateRow, shares_prefix: bool = True) -> int:
    """Return the number of tokens of a row in the forward pass: its prompt and all responses.

    The prompt counts once, or once for each response if the model cannot share it; one that is kept
    does not count, because it is not computed again.
    """
    prompt = len(row.prompt.input_ids) if row.prompt.kept is None else 0
    copies = 1 if shares_prefix else len(row.segments)
    return copies * prompt + sum(len(segment.token_ids) for segment in row.segments)


def micro_batches(
    rows: Sequence[UpdateRow], budget: int, shares_prefix: bool = True
) -> list[list[UpdateRow]]:
    """Put rows of any lengths into micro-batches of at most ``budget`` tokens, by first fit, the
    longest rows first. The same rows always give the same micro-batches.

    A row longer than the budget is split and its prompt repeated; a single response that does not
    fit is a micro-batch of its own. The losses of the parts add up to the loss of the whole.
    """
    parts = [part for row in rows for part in _split(row, budget, shares_prefix)]
    parts.sort(key=lambda part: -count_tokens(part, shares_prefix))
    batches: list[list[UpdateRow]] = []
    room: list[int] = []
    for part in parts:
        size = count_tokens(part, shares_prefix)
        place = next((i for i, left in enumerate(room) if size <= left), None)
        if place is None:
            batches.append([part])
            room.append(budget - size)
        else:
            batches[place].append(part)
            room[place] -= size
    return batches


def _split(row: UpdateRow, budget: int, shares_prefix: bool) -> Iterator[UpdateRow]:
    """Split a row into parts that fit the budget, each with the prompt and some responses."""
    segments: list[CreditedSegment] = []
    for segment in row.segments:
        longer = replace(row, segments=[*segments, segment])
        if segments and count_tokens(longer, shares_prefix) > budget:
            yield replace(row, segments=segments)
            segments = []
        segments = [*segments, segment]
    if segments:
        yield replace(row, segments=segments)


class Lockstep:
    """Runs the forward and backward passes of this process.

    If the model is sharded, all processes run as many passes as the one that has the most.
    ``idle`` is called where this process has no micro-batch left: it must run a forward and a
    backward pass over a prompt and one response token, of the same kind as those over the
    micro-batches. Its gradients are not used.
    """

    def __init__(
        self, policy: Policy, processes: Processes, idle: Callable[[Prompt, torch.Tensor], None]
    ) -> None:
        self._sharding = policy.sharding
        self._device = policy.device
        self._processes = processes
        if self._sharding is not None:
            prompt, token = blank_prompt(policy), torch.tensor(policy.stop_ids[:1])
            self._idle = lambda: idle(prompt, token)

    def run(self, passes: Sequence[Callable[[], T]]) -> tuple[list[T], bool]:
        """Run the passes. Return their results, and whether the device ran out of memory.

        If it did, results are missing and the gradients are wrong: here, and on all processes if
        the model is sharded.
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
            # Not in the except block: there the traceback still refers to the tensors of the pass,
            # so that their memory could not be freed.
            if exhausted:
                self._sharding.recover(self._recover)
        return results, exhausted

    def _recover(self) -> None:
        """Free the memory of the failed pass, then run the idle pass in its place."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._idle()


def blank_prompt(policy: Policy) -> Prompt:
    """Return a prompt without text whose image is black."""
    image = EncodedImage.from_pixels(np.zeros((BLANK_SIDE, BLANK_SIDE, 3), np.uint8))
    return encode(policy, Sample("blank", "", image, "", None, ()), "")
