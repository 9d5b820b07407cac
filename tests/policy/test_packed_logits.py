"""Log-probabilities from hidden states in chunks: the same numbers, and never all logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import save_tiny
from tiny_models import random_sample
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from syngrpo.policy.distribution import score_tokens
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs

TOKENS, WIDTH, WORDS = 300, 8, 4096
BANNED = torch.tensor([3, 700])


class Shapes(TorchDispatchMode):
    """Notes the shape of every tensor that an operation makes, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {tuple(t.shape) for t in tree_iter(result) if isinstance(t, torch.Tensor)}
        return result

    @property
    def largest(self) -> int:
        return max(torch.Size(shape).numel() for shape in self.seen)


def inputs() -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, WORDS, bias=False)
    tokens = torch.randint(0, WORDS, (TOKENS,))
    tokens[torch.isin(tokens, BANNED)] = 0
    return head, torch.randn(TOKENS, WIDTH, requires_grad=True), tokens


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 7, TOKENS - 1, TOKENS])
def test_values_and_gradients_are_those_of_plain_logits(chunk: int, temperature: float) -> None:
    head, hidden, tokens = inputs()
    logits = (hidden @ head.weight.T / temperature).index_fill(-1, BANNED, float("-inf"))
    plain = torch.distributions.Categorical(logits=logits)
    wanted = plain.log_prob(tokens)
    got = score_tokens(head, hidden, tokens, BANNED, temperature, 4 * WORDS * chunk, True)
    alone, nothing = score_tokens(head, hidden, tokens, BANNED, temperature, 4 * WORDS * chunk)
    assert torch.equal(alone, got[0]) and nothing is None
    torch.testing.assert_close(got[0], wanted, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(got[1], plain.entropy(), atol=1e-5, rtol=1e-6)
    weights = torch.linspace(-1, 1, TOKENS)
    through = (hidden, head.weight)
    expected = torch.autograd.grad((wanted * weights).sum(), through)
    gradients = torch.autograd.grad((got[0] * weights).sum(), through)
    torch.testing.assert_close(gradients, expected, atol=1e-5, rtol=1e-5)


def test_the_largest_tensor_is_a_chunk() -> None:
    sizes = {}
    for chunk in (16, TOKENS):
        head, hidden, tokens = inputs()
        with Shapes() as shapes:
            scores = score_tokens(head, hidden, tokens, BANNED, 0.7, 4 * WORDS * chunk, True)
            (scores[0].mean() + scores[1].mean()).backward()
        sizes[chunk] = shapes.largest
    assert sizes == {16: 16 * WORDS, TOKENS: TOKENS * WORDS}


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_5"])
def test_no_forward_pass_makes_more_logits_than_a_chunk(tmp_path: Path, name: str) -> None:
    policy = load_policy(save_tiny(tmp_path, name))
    words, weight = policy.base.get_output_embeddings().weight.shape
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    row = PackedRow(prompt, [Segment(torch.randint(0, 300, (n,))) for n in (30, 11, 23)])
    for chunk, most in ((9, 9), (1000, 64)):
        with Shapes() as shapes:
            scored = segment_logprobs(policy, [row], logits_bytes=4 * words * chunk)[0]
            torch.cat([s.logprobs for s in scored]).sum().backward()
        rows = {
            shape[:-1].numel() for shape in map(torch.Size, shapes.seen) if shape[-1:] == (words,)
        }
        assert max(rows - {weight}) == most
