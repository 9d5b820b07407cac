"""Converts the messages between trainer and rollout server to bytes and back.

There are two: a request for responses, and its answer. Both are tensors in the safetensors format,
with a JSON object of a few numbers in the header. A request holds the token ids of each prompt and
the patches of its image, one byte for each colour value; an answer holds token ids,
log-probabilities and entropies. Everything that arrives is checked: bytes that are no such message
raise InputError and no other error.
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
from syngrpo.rollout.base import SampledTokens
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.serving import wording

NO_FRAME = CoordinateFrame(1, 1, 1, 1)
"""The coordinate frame of a prompt on the server, which never converts coordinates."""

Tensors = dict[str, torch.Tensor]

REQUEST = {
    "input_ids": (torch.int64, 1),
    "lengths": (torch.int64, 1),
    "patches": (torch.uint8, 4),
    "grids": (torch.int64, 2),
    "seeds": (torch.int64, 1),
    "going_on": (torch.int64, 1),
    "banned": (torch.int64, 1),
    "stop_ids": (torch.int64, 1),
}
"""The tensors of a request: type and number of dimensions."""
ANSWER = {
    "token_ids": (torch.int64, 1),
    "lengths": (torch.int64, 2),
    "logprobs": (torch.float32, 1),
    "entropy": (torch.float32, 1),
}
"""The tensors of an answer: type and number of dimensions."""
LONGEST_STOP = 256
"""Largest number of characters of the text at which responses end."""


@dataclass(frozen=True, eq=False)
class Request:
    """Asks for ``count`` responses to every prompt, sampled with the weights called ``version``.

    ``seeds``: one a prompt. ``banned`` int64 (n,) and ``stop_ids`` are the policy's. On the server
    the prompts have no sample id and no coordinate frame.
    """

    version: str
    prompts: Sequence[Prompt]
    count: int
    sampling: Sampling
    seeds: Sequence[int]
    banned: torch.Tensor
    stop_ids: tuple[int, ...]


def pack_request(request: Request) -> bytes:
    """Return the bytes of a request, which must have at least one prompt."""
    prompts = request.prompts
    tensors = {
        "input_ids": torch.cat([prompt.input_ids for prompt in prompts]),
        "lengths": torch.tensor([len(prompt.input_ids) for prompt in prompts]),
        "patches": torch.cat([prompt.image["patches"] for prompt in prompts]).contiguous(),
        "grids": torch.cat([prompt.image["image_grid_thw"] for prompt in prompts]),
        "seeds": torch.tensor(list(request.seeds)),
        "going_on": torch.tensor([prompt.going_on for prompt in prompts]),
        "banned": request.banned.cpu(),
        "stop_ids": torch.tensor(request.stop_ids, dtype=torch.long),
    }
    header = {"version": request.version, "count": request.count, **asdict(request.sampling)}
    return save(tensors, {"request": json.dumps(header)})


def unpack_request(data: bytes) -> Request:
    """Return the request in these bytes.

    Raises InputError when they are no request. Whether the server's model can read the prompts is
    checked later, by ``ModelOutline.with_rules_of``.
    """
    tensors, header = _unpack(data, REQUEST, "request")
    lengths, grids = tensors["lengths"], tensors["grids"]
    seeds, going_on = tensors["seeds"], tensors["going_on"]
    if not len(lengths) or not len(lengths) == len(grids) == len(seeds) == len(going_on):
        raise InputError(
            f"a request of {wording.count(len(lengths), 'prompt')} has "
            f"{wording.count(len(grids), 'image')}, {wording.count(len(seeds), 'seed')} and "
            f"{wording.count(len(going_on), 'number')} of responses that go on"
        )
    if int(going_on.min()) < 0:
        raise InputError("a request has a negative number of responses that go on")
    if grids.shape[1] != 3 or int(grids.min()) < 1 or int(grids.max()) >= 2**20:
        raise InputError(
            "image_grid_thw of a request is not a number of patches in time, height, width"
        )
    input_ids = _split(tensors["input_ids"], lengths, "input_ids")
    patches = _split(tensors["patches"], grids.prod(1), "patches")
    prompts = [
        Prompt("", ids, {"patches": image, "image_grid_thw": grid[None]}, NO_FRAME, going_on=first)
        for ids, image, grid, first in zip(
            input_ids, patches, grids, going_on.tolist(), strict=True
        )
    ]
    stop_at = header.get("stop_at")
    if not (stop_at is None or (isinstance(stop_at, str) and len(stop_at) <= LONGEST_STOP)):
        raise InputError(
            f"responses of a request end at {str(stop_at)[:50]!r}, which is no text of at most "
            f"{LONGEST_STOP} characters"
        )
    try:
        sampling = Sampling(
            float(header["temperature"]),
            float(header["top_p"]),
            int(header["max_new_tokens"]),
            stop_at,
        )
        version, count = str(header["version"]), int(header["count"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the numbers of a request cannot be read ({error!r})") from None
    if not 0 <= sampling.temperature < float("inf") or not 1 <= count <= 2**16:
        raise InputError(
            f"{count} responses at temperature {sampling.temperature} cannot be sampled"
        )
    return Request(
        version,
        prompts,
        count,
        sampling,
        tensors["seeds"].tolist(),
        tensors["banned"],
        tuple(tensors["stop_ids"].tolist()),
    )


def pack_answer(version: str, groups: Sequence[Sequence[SampledTokens]]) -> bytes:
    """Return the bytes of an answer: the same number of responses to each prompt, sampled with the
    weights called ``version``."""
    flat = [one for group in groups for one in group]
    tensors = {
        "token_ids": torch.cat([one.token_ids for one in flat]),
        "lengths": torch.tensor([[len(one.token_ids) for one in group] for group in groups]),
        "logprobs": torch.cat([one.logprobs for one in flat]),
        "entropy": torch.cat([one.entropy for one in flat]),
    }
    return save(tensors, {"answer": json.dumps({"version": version})})


def unpack_answer(data: bytes) -> tuple[str, list[list[SampledTokens]]]:
    """Return the version of the weights, and one group of responses for each prompt.

    Raises InputError when the bytes are no answer.
    """
    tensors, header = _unpack(data, ANSWER, "answer")
    lengths = tensors["lengths"]
    parts = [
        _split(tensors[name], lengths.flatten(), name)
        for name in ("token_ids", "logprobs", "entropy")
    ]
    flat = [SampledTokens(*parts) for parts in zip(*parts, strict=True)]
    size = lengths.shape[1]
    groups = [flat[first : first + size] for first in range(0, len(flat), size)]
    return str(header.get("version")), groups


def unpack(data: bytes) -> Tensors:
    """Return the tensors in bytes of the safetensors format. Raises InputError for other bytes."""
    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{len(data)} bytes are not in the safetensors format ({error})") from None


def _unpack(
    data: bytes, expected: dict[str, tuple[torch.dtype, int]], name: str
) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors, which have the expected names, types and dimensions, and the JSON object
    called ``name`` in the header. Raises InputError when something is missing."""
    tensors = unpack(data)
    for key, (dtype, dimensions) in expected.items():
        tensor = tensors.get(key)
        if tensor is None or tensor.dtype != dtype or tensor.dim() != dimensions:
            raise InputError(f"{name} without {key}: {dtype} of {dimensions} dimensions is needed")
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][name])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{name} without the JSON object {name!r} in its header") from None
    if not isinstance(header, dict):
        raise InputError(f"{name} without the JSON object {name!r} in its header")
    return tensors, header


def _split(tensor: torch.Tensor, lengths: torch.Tensor, name: str) -> list[torch.Tensor]:
    """Split a tensor along its first dimension into parts of these lengths, which are at least 1.

    Raises InputError when the lengths do not add up to the tensor's.
    """
    if not len(lengths) or int(lengths.min()) < 1 or int(lengths.max()) > len(tensor):
        raise InputError(f"{name}: {len(tensor)} rows in parts of {lengths.tolist()[:8]}")
    if int(lengths.sum()) != len(tensor):
        raise InputError(f"{name}: {len(tensor)} rows in parts of {int(lengths.sum())}")
    return [part.clone() for part in tensor.split(lengths.tolist())]
