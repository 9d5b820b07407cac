"""Gives the weights of a policy to an engine without writing a checkpoint.

``checkpoint_pieces`` yields them under the names of a saved checkpoint, adapters merged, one block
of the model at a time; the vLLM engine loads them in this form. For a rollout server each piece is
converted to bytes. ``frame`` puts these into a stream, and ``unframe`` reads it and notices when it
was cut off or damaged: before each piece stand its length (8 bytes) and its CRC-32 (4 bytes), both
little-endian; a piece of length 0 ends the stream.
"""

from __future__ import annotations

import copy
import re
import struct
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.core_model_loading import revert_weight_conversion

from syngrpo.policy.model import Policy
from syngrpo.sample import InputError

HEADER = struct.Struct("<QI")
"""Length and checksum of a piece."""
SLICE = 1 << 20
"""Bytes that are sent at once."""

Weights = dict[str, torch.Tensor]
"""Name → tensor, under the names of a saved checkpoint."""


def checkpoint_weights(policy: Policy) -> Weights:
    """Return all weights, adapters merged.

    Layers without adapters are not copied: the tensors are the policy's own. Sharded weights are
    gathered from all processes, so every process must call this.
    """
    return {name: tensor for piece in checkpoint_pieces(policy) for name, tensor in piece.items()}


@torch.no_grad()
def checkpoint_pieces(policy: Policy) -> Iterator[Weights]:
    """Yield what ``checkpoint_weights`` returns, one block of the model at a time, so that copies
    of no more than one block exist at once."""
    blocks: dict[str, list[str]] = {}
    for name, module in policy.base.named_modules():
        adapted = isinstance(module, BaseTunerLayer)
        if adapted or any(True for _ in module.parameters(recurse=False)):
            blocks.setdefault(_block(name), []).append(name)
    seen: set[nn.Parameter] = set()
    for names in blocks.values():
        piece = dict(_merged(policy.base, names, seen))
        if piece:
            yield revert_weight_conversion(policy.base, piece)


def _block(name: str) -> str:
    """Return the block of a module: ``model.layers.7.mlp.up_proj`` → ``model.layers.7``. A module
    outside of numbered layers is a block of its own, because embeddings are large."""
    numbered = re.match(r"(.*?\.\d+)(\.|$)", name)
    return numbered[1] if numbered else name


def _merged(
    model: Any, names: list[str], seen: set[nn.Parameter]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor of the parameters of these modules, under the names they have in a
    model without adapters. Shared parameters are yielded the first time only (``seen`` collects
    them)."""
    adapted = [n for n in names if isinstance(model.get_submodule(n), BaseTunerLayer)]
    inside = tuple(f"{name}." for name in adapted)
    for name in names:
        module = model.get_submodule(name)
        if name in adapted:
            # Merge a copy: merging and unmerging in place would round the base weights.
            layer = copy.deepcopy(module)
            layer.merge()
            own = dict(layer.get_base_layer().named_parameters())
        elif name.startswith(inside):
            continue
        else:
            own = {n: p for n, p in module.named_parameters(recurse=False) if p not in seen}
            seen.update(own.values())
        for last, parameter in own.items():
            yield f"{name}.{last}" if name else last, _whole(parameter.detach())


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class BrokenStream(InputError):  # noqa: N818
    """A stream arrived incomplete or damaged. Sending it again may succeed."""


def frame(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a stream of these pieces, none of which may be empty, in slices."""
    for piece in pieces:
        yield HEADER.pack(len(piece), zlib.crc32(piece))
        for first in range(0, len(piece), SLICE):
            yield piece[first : first + SLICE]
    yield HEADER.pack(0, 0)


async def unframe(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield the pieces of a stream, each as soon as it is complete.

    Raises InputError for a piece of more than ``limit`` bytes and for a stream that goes on after
    its last piece, BrokenStream for a wrong checksum and for a stream that ends early.
    """
    rest = memoryview(b"")

    async def take(size: int) -> bytes:
        nonlocal rest
        taken, filled = bytearray(size), 0
        while filled < size:
            if not rest:
                part = await anext(stream, None)
                if part is None:
                    raise BrokenStream("the stream of weights was cut off")
                rest = memoryview(part)
            count = min(len(rest), size - filled)
            taken[filled : filled + count] = rest[:count]
            rest, filled = rest[count:], filled + count
        return bytes(taken)

    while True:
        size, checksum = HEADER.unpack(await take(HEADER.size))
        if size > limit:
            raise InputError(
                f"a piece of {size} bytes, where all weights together have at most {limit}"
            )
        if not size:
            break
        piece = await take(size)
        if zlib.crc32(piece) != checksum:
            raise BrokenStream("a piece of the weights has a wrong checksum")
        yield piece
    while not rest:
        part = await anext(stream, None)
        if part is None:
            return
        rest = memoryview(part)
    raise InputError("the stream of weights goes on after its end")
