"""A policy's weights as engines get them: those of a checkpoint, in pieces, as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rollout_server import outline
from safetensors.torch import load_file
from tiny_families import TINY, save_tiny

from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout.server.model_outline import ExpectedWeights
from syngrpo.rollout.weight_stream import (
    HEADER,
    BrokenStream,
    checkpoint_pieces,
    checkpoint_weights,
    frame,
    unframe,
)
from syngrpo.sample import InputError
from syngrpo_rooms.starter import STARTER_DIR


@pytest.fixture(scope="module", params=sorted(TINY))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


def saved(policy: Policy, directory: Path) -> dict[str, torch.Tensor]:
    policy.save(directory)
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("lora", [None, LoraOptions(2, 4)])
def test_weights_are_those_of_a_saved_checkpoint(
    checkpoint: Path, lora: LoraOptions | None, tmp_path: Path
) -> None:
    policy = load_policy(checkpoint, lora=lora)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.01)
    kept = {name: p.clone() for name, p in policy.model.named_parameters()}
    weights, expected = checkpoint_weights(policy), saved(policy, tmp_path)
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, msg=name)
        assert not weights[name].requires_grad
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, kept[name])


def test_tied_weights_come_once() -> None:
    weights = checkpoint_weights(load_policy(STARTER_DIR))
    assert weights.keys() == load_file(STARTER_DIR / "model.safetensors").keys()


def test_pieces_do_not_change_the_policy() -> None:
    policy = load_policy(STARTER_DIR)
    kept = {name: p.clone() for name, p in policy.model.named_parameters()}
    assert sum(len(piece) for piece in checkpoint_pieces(policy)) == len(kept)
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(parameter, kept[name])


def received(stream: Iterable[bytes], limit: int = 1000) -> list[bytes]:
    async def sent() -> AsyncIterator[bytes]:
        for part in stream:
            yield part

    async def collected() -> list[bytes]:
        return [piece async for piece in unframe(sent(), limit)]

    return asyncio.run(collected())


@given(st.lists(st.binary(min_size=1, max_size=1000)), st.integers(1, 300))
def test_pieces_arrive_for_any_division_of_the_stream(pieces: list[bytes], size: int) -> None:
    whole = b"".join(frame(pieces))
    parts = [whole[first : first + size] for first in range(0, len(whole), size)]
    assert received(parts) == pieces
    for end in {0, 5, len(whole) - 1}:
        with pytest.raises(BrokenStream, match="cut off"):
            received([whole[:end]])
    with pytest.raises(InputError, match="after its end"):
        received([whole, b"x"])


def test_damaged_and_huge_pieces_are_errors() -> None:
    whole = bytearray(b"".join(frame([b"some weights"])))
    whole[HEADER.size + 3] ^= 1
    with pytest.raises(BrokenStream, match="checksum"):
        received([bytes(whole)])
    with pytest.raises(InputError, match=r"a piece of 1001 bytes, .* have at most 1000"):
        received(frame([b"x" * 1001]))


def test_exactly_the_weights_of_the_model_are_accepted() -> None:
    expected, policy = ExpectedWeights(outline()), load_policy(STARTER_DIR)
    weights = checkpoint_weights(policy)
    assert dict(expected.checked(checkpoint_pieces(policy))).keys() == weights.keys()
    first = next(iter(weights))
    for pieces, message in (
        ([weights, {first: weights[first]}], f"weight {first} .* sent before"),
        ([{**weights, "more": torch.zeros(1)}], r"weight more of shape \(1,\) is not the model's"),
        ([{**weights, first: weights[first][:-1]}], f"weight {first} of shape"),
        ([{**weights, first: weights[first].long()}], "send floating point numbers"),
        ([{n: t for n, t in weights.items() if n != first}], "1 missing weight"),
        ([], "missing weight"),
    ):
        with pytest.raises(InputError, match=message):
            list(expected.checked(pieces))


def test_a_piece_is_at_most_one_block() -> None:
    """So merging adapters copies no more than one block at a time."""
    pieces = [list(piece) for piece in checkpoint_pieces(load_policy(STARTER_DIR))]
    blocks = {
        ".".join(name.split(".")[:3]) for piece in pieces for name in piece if "layers" in name
    }
    assert len(pieces) >= len(blocks) > 1
    for piece in pieces:
        assert len({tuple(name.split(".")[:3]) for name in piece if "layers" in name}) <= 1
