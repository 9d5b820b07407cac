"""Messages of trainer and rollout server arrive as they were sent; anything else is refused."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_server import outline
from safetensors.torch import load, save

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.rollout.base import SampledTokens
from syngrpo.rollout.server_messages import (
    Request,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

POLICY = load_policy(STARTER_DIR)
SAMPLES = [*rooms_samples("test", 2), *rooms_samples("ood", 1, task="isr", size=160)]
PROMPTS = [encode(POLICY, s, get_task(s.task).prompt(s, "brief")) for s in SAMPLES]
for _prompt, _first in zip(PROMPTS, (0, 2, 1), strict=True):
    _prompt.going_on = _first
SAMPLING = Sampling(0.7, 0.9, 33, stop_at="</answer>")
REQUEST = Request("abc-1", PROMPTS, 4, SAMPLING, [3, 2**62, 0], POLICY.banned, POLICY.stop_ids)
PACKED = pack_request(REQUEST)


def test_a_request_arrives_as_it_was_sent() -> None:
    arrived = unpack_request(PACKED)
    assert (arrived.version, arrived.count, arrived.sampling) == ("abc-1", 4, REQUEST.sampling)
    assert [prompt.going_on for prompt in arrived.prompts] == [0, 2, 1]
    assert arrived.seeds == REQUEST.seeds and arrived.stop_ids == POLICY.stop_ids
    assert torch.equal(arrived.banned, POLICY.banned)
    for sent, got in zip(PROMPTS, arrived.prompts, strict=True):
        torch.testing.assert_close(sent.input_ids, got.input_ids, rtol=0, atol=0)
        torch.testing.assert_close(sent.image, got.image, rtol=0, atol=0)
    ready = outline().with_rules_of(arrived)
    assert ready.stop_ids == POLICY.stop_ids and ready.device.type == "cpu"


def test_a_request_holds_each_image_once_at_one_byte_a_colour_value() -> None:
    pixels = sum(prompt.image["patches"].numel() for prompt in PROMPTS)
    ids = 8 * sum(len(prompt.input_ids) for prompt in PROMPTS)
    assert pixels < len(PACKED) < pixels + ids + 8 * len(POLICY.banned) + 1500


def test_an_answer_arrives_as_it_was_sent() -> None:
    lengths = [[3, 1], [7, 2], [1, 1]]
    groups = [
        [SampledTokens(torch.arange(n) + n, torch.rand(n) - 2, torch.rand(n)) for n in group]
        for group in lengths
    ]
    version, arrived = unpack_answer(pack_answer("abc-7", groups))
    assert version == "abc-7"
    for a, b in zip(chain(*groups), chain(*arrived), strict=True):
        assert torch.equal(a.token_ids, b.token_ids) and a.token_ids.dtype == b.token_ids.dtype
        assert torch.equal(a.logprobs, b.logprobs) and torch.equal(a.entropy, b.entropy)
    assert [len(group) for group in arrived] == [2, 2, 2]


def refused(data: bytes) -> str:
    """Return the message with which a server refuses a request, "" when it accepts it."""
    try:
        outline().with_rules_of(unpack_request(data))
    except InputError as error:
        assert len(str(error)) < 1000
        return str(error)
    return ""


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 2500), st.integers(0, 2500))
def test_damaged_requests_raise_nothing_but_input_errors(
    noise: bytes, place: int, size: int
) -> None:
    refused(PACKED[:place] + noise + PACKED[place + len(noise) :])
    assert refused(PACKED[: min(place, len(PACKED) - 1)])
    assert refused(noise)
    body = load(PACKED)
    ids = body["input_ids"].clone()
    ids[place % len(ids)] = size - 1200
    refused(save({**body, "input_ids": ids}, {"request": beside()}))


def beside(**changes: object) -> str:
    numbers = {"version": "a", "count": 2, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 9}
    return json.dumps({**numbers, **changes})


def changed(name: str, tensor: torch.Tensor) -> bytes:
    return save({**load(PACKED), name: tensor.contiguous()}, {"request": beside()})


LENGTHS = load(PACKED)["lengths"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not in the safetensors format"),
        (save({"x": torch.zeros(1)}), "request without input_ids"),
        (save(load(PACKED)), "without the JSON object 'request'"),
        (save(load(PACKED), {"request": "[]"}), "without the JSON object 'request'"),
        (save(load(PACKED), {"request": beside(count=0)}), "0 responses at temperature"),
        (save(load(PACKED), {"request": beside(temperature=float("nan"))}), "at temperature nan"),
        (save(load(PACKED), {"request": beside(temperature=-1)}), "impossible sampling"),
        (save(load(PACKED), {"request": beside(top_p=2)}), "impossible sampling"),
        (save(load(PACKED), {"request": beside(max_new_tokens="many")}), "cannot be read"),
        (changed("seeds", torch.tensor([1, 2])), "3 prompts has 3 images, 2 seeds and 3 num"),
        (changed("going_on", torch.tensor([1])), "3 seeds and 1 number of responses that go on"),
        (changed("going_on", torch.tensor([1, 2, -1])), "a negative number of responses"),
        (save(load(PACKED), {"request": beside(stop_at="")}), "impossible sampling"),
        (save(load(PACKED), {"request": beside(stop_at=7)}), "end at '7', which is no text"),
        (save(load(PACKED), {"request": beside(stop_at="x" * 257)}), "of at most 256 characters"),
        (changed("seeds", torch.tensor([1, 2, -3])), "a seed below 0"),
        (changed("lengths", torch.tensor([1, 2, 3])), "input_ids: .* rows in parts of 6"),
        (changed("lengths", LENGTHS - 10**12), "input_ids: .* rows in parts"),
        (changed("lengths", torch.zeros(0, dtype=torch.long)), "a request of 0 prompts"),
        (changed("patches", load(PACKED)["patches"].float()), "request without patches"),
        (changed("patches", load(PACKED)["patches"][:, :, :2]), "with the same model"),
        (changed("grids", load(PACKED)["grids"][:, [0, 2, 0]]), "patches: .* rows in parts"),
        (
            changed("grids", load(PACKED)["grids"].flip(1)),
            "the model merges|in a row are needed",
        ),
        (changed("stop_ids", torch.tensor([10**6])), "a token id outside of the model's"),
        (changed("banned", torch.tensor([-1])), "a token id outside of the model's"),
        (changed("input_ids", load(PACKED)["input_ids"].flip(0).roll(40)), "in a row are needed"),
    ],
)
def test_the_error_names_what_is_wrong_with_a_request(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        outline().with_rules_of(unpack_request(data))
