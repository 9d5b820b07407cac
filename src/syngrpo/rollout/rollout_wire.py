"""What trainer and rollout server send each other: tensors in the safetensors format, as bytes.

A request holds the patches of each prompt's image once, one byte a colour; an answer is tokens,
log-probabilities and entropies. The few numbers beside are JSON in the header.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from syngrpo.boxes import CoordinateFrame
from syngrpo.policy.encode import Prompt
from syngrpo.rollout.sampled import Sampled
from syngrpo.rollout.sampling import Sampling
from syngrpo.sample import InputError

NO_FRAME = CoordinateFrame(1, 1, 1, 1)
"""Coordinates mean nothing to a server."""

Tensors = dict[str, torch.Tensor]

REQUEST = {
    "input_ids": (torch.int64, 1),
    "lengths": (torch.int64, 1),
    "patches": (torch.uint8, 4),
    "grids": (torch.int64, 2),
    "seeds": (torch.int64, 1),
    "banned": (torch.int64, 1),
    "stop_ids": (torch.int64, 1),
}
"""Tensors of a request: their type and number of dimensions."""
ANSWER = {
    "token_ids": (torch.int64, 1),
    "lengths": (torch.int64, 2),
    "logprobs": (torch.float32, 1),
    "entropy": (torch.float32, 1),
}
"""Tensors of an answer."""


@dataclass(frozen=True, eq=False)
class Request:
    """``count`` responses to every prompt, by the weights of ``version``.

    ``seeds`` one a prompt; ``banned`` int64 (n,) and ``stop_ids`` are the policy's. On the server a
    prompt has no sample id and no coordinate frame.
    """

    version: str
    prompts: Sequence[Prompt]
    count: int
    sampling: Sampling
    seeds: Sequence[int]
    banned: torch.Tensor
    stop_ids: tuple[int, ...]


def pack_request(request: Request) -> bytes:
    """At least one prompt."""
    prompts = request.prompts
    tensors = {
        "input_ids": torch.cat([prompt.input_ids for prompt in prompts]),
        "lengths": torch.tensor([len(prompt.input_ids) for prompt in prompts]),
        "patches": torch.cat([prompt.patches for prompt in prompts]).contiguous(),
        "grids": torch.cat([prompt.image_grid_thw for prompt in prompts]),
        "seeds": torch.tensor(list(request.seeds)),
        "banned": request.banned.cpu(),
        "stop_ids": torch.tensor(request.stop_ids, dtype=torch.long),
    }
    beside = {"version": request.version, "count": request.count, **asdict(request.sampling)}
    return save(tensors, {"request": json.dumps(beside)})


def unpack_request(data: bytes) -> Request:
    """Raises InputError, in one line, for bytes that are no request. Whether a model can do
    anything with it, ``Blueprint.check`` says."""
    tensors, beside = _unpack(data, REQUEST, "request")
    lengths, grids = tensors["lengths"], tensors["grids"]
    if not len(lengths) or not len(lengths) == len(grids) == len(tensors["seeds"]):
        raise InputError(
            f"a request of {len(lengths)} prompts has {len(grids)} images and "
            f"{len(tensors['seeds'])} seeds"
        )
    if grids.shape[1] != 3 or int(grids.min()) < 1 or int(grids.max()) >= 2**20:
        raise InputError("a request's grids are not patches in time, height and width")
    input_ids = _split(tensors["input_ids"], lengths, "input_ids")
    patches = _split(tensors["patches"], grids.prod(1), "patches")
    prompts = [
        Prompt("", ids, image, grid[None], NO_FRAME)
        for ids, image, grid in zip(input_ids, patches, grids, strict=True)
    ]
    try:
        sampling = Sampling(
            float(beside["temperature"]), float(beside["top_p"]), int(beside["max_new_tokens"])
        )
        version, count = str(beside["version"]), int(beside["count"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a request's numbers cannot be read ({error!r})") from None
    if not 0 <= sampling.temperature < float("inf") or not 1 <= count <= 2**16:
        raise InputError(f"no {count} responses at temperature {sampling.temperature}")
    return Request(
        version,
        prompts,
        count,
        sampling,
        tensors["seeds"].tolist(),
        tensors["banned"],
        tuple(tensors["stop_ids"].tolist()),
    )


def pack_answer(version: str, groups: Sequence[Sequence[Sampled]]) -> bytes:
    """Equally many responses to each prompt, sampled by the weights of ``version``."""
    flat = [one for group in groups for one in group]
    tensors = {
        "token_ids": torch.cat([one.token_ids for one in flat]),
        "lengths": torch.tensor([[len(one.token_ids) for one in group] for group in groups]),
        "logprobs": torch.cat([one.logprobs for one in flat]),
        "entropy": torch.cat([one.entropy for one in flat]),
    }
    return save(tensors, {"answer": json.dumps({"version": version})})


def unpack_answer(data: bytes) -> tuple[str, list[list[Sampled]]]:
    """The version of the weights, and a group for each prompt. Raises InputError for bytes that
    are no answer."""
    tensors, beside = _unpack(data, ANSWER, "answer")
    lengths = tensors["lengths"]
    parts = [
        _split(tensors[name], lengths.flatten(), name)
        for name in ("token_ids", "logprobs", "entropy")
    ]
    flat = [Sampled(*parts) for parts in zip(*parts, strict=True)]
    size = lengths.shape[1]
    groups = [flat[first : first + size] for first in range(0, len(flat), size)]
    return str(beside.get("version")), groups


def unpack(data: bytes) -> Tensors:
    """Any tensors in the safetensors format. Raises InputError for bytes that are none."""
    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{len(data)} bytes are not in the safetensors format ({error})") from None


def _unpack(
    data: bytes, expected: dict[str, tuple[torch.dtype, int]], name: str
) -> tuple[Tensors, dict[str, Any]]:
    """Tensors of the expected names, types and dimensions, and the JSON object beside them."""
    tensors = unpack(data)
    for key, (dtype, dimensions) in expected.items():
        tensor = tensors.get(key)
        if tensor is None or tensor.dtype != dtype or tensor.dim() != dimensions:
            raise InputError(f"{name} without {key}, {dtype} of {dimensions} dimensions")
    size = int.from_bytes(data[:8], "little")
    try:
        beside = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][name])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{name} without the JSON object {name!r} in its header") from None
    if not isinstance(beside, dict):
        raise InputError(f"{name} without the JSON object {name!r} in its header")
    return tensors, beside


def _split(tensor: torch.Tensor, lengths: torch.Tensor, name: str) -> list[torch.Tensor]:
    """The parts of a tensor that was joined along its first dimension; none of them is empty."""
    if not len(lengths) or int(lengths.min()) < 1 or int(lengths.max()) > len(tensor):
        raise InputError(f"{name}: {len(tensor)} rows in parts of {lengths.tolist()[:8]}")
    if int(lengths.sum()) != len(tensor):
        raise InputError(f"{name}: {len(tensor)} rows in parts of {int(lengths.sum())}")
    return [part.clone() for part in tensor.split(lengths.tolist())]
