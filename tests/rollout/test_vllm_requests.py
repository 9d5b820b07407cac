"""The requests that vLLM gets for the responses to a prompt, and what it calls them.

``make test-vllm`` compares what vLLM makes of them.
"""

from __future__ import annotations

import pytest

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.loading import load_policy
from syngrpo.rollout.base import parts_by_stop
from syngrpo.rollout.compat_vllm import prompt_and_index, request_name
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR


@pytest.fixture(scope="module")
def prompt() -> Prompt:
    (sample,) = rooms_samples("test", 1)
    return encode(load_policy(STARTER_DIR), sample, get_task("rec").prompt(sample, "brief"))


@pytest.mark.parametrize("stop_at", [None, "</answer>"])
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("going_on", [0, 1, 2, 8, 9])
def test_each_response_is_in_the_part_that_ends_as_it_does(
    prompt: Prompt, stop_at: str | None, count: int, going_on: int
) -> None:
    prompt.going_on = going_on
    sampling = Sampling(stop_at=stop_at)
    parts = parts_by_stop(prompt, sampling, count)
    ends = {first + i: stop for first, size, stop in parts for i in range(size)}
    assert ends == {place: sampling.stops(prompt, place) for place in range(count)}
    assert len(parts) == len(set(ends.values()))


def test_the_index_of_a_response_counts_from_the_first_of_its_prompt() -> None:
    assert prompt_and_index(request_name(7, 4)) == (7, 4)
    assert prompt_and_index(f"2_{request_name(7, 4)}-1f0a") == (7, 6)
    assert prompt_and_index(f"{request_name(12, 0)}-1f0a") == (12, 0)
