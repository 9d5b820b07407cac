"""The arithmetic of ``benchmarks.gpu_step`` agrees with transformers, PyTorch's own counter and
real tensors, and the benchmark runs without a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from benchmarks.against_trl import make_samples
from benchmarks.gpu_step.__main__ import main
from benchmarks.gpu_step.checkpoint import save_checkpoint, stand_in_tokenizer
from benchmarks.gpu_step.devices import device_called
from benchmarks.gpu_step.memory import Memory, saved_bytes
from benchmarks.gpu_step.shapes import SHAPES, VOCABULARY, small
from benchmarks.gpu_step.work import Setting, Work
from run_options import run_options
from torch.utils.flop_counter import FlopCounterMode

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.forward import forward_packed
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.workflow.optimizer import Optimizer

FAMILIES = ("qwen2.5-vl-3b", "qwen3-vl-4b")
SETTING = Setting(prompts=2, group=3, new_tokens=6, width=300, height=200)
MATRIX_OPS = {"aten.mm", "aten.addmm", "aten.bmm"}


Build = Callable[[bool], tuple[Work, Policy, list[Prompt]]]


@pytest.fixture(scope="module", params=FAMILIES)
def build(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Build:
    """Return a function: with adapters or not → a small model, its arithmetic, and the prompts that
    the arithmetic is about. Each is loaded once."""
    shape = small(SHAPES[request.param])
    directory = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(shape, directory, torch.device("cpu"))

    @cache
    def load(lora: bool) -> tuple[Work, Policy, list[Prompt]]:
        options = LoraOptions(rank=4) if lora else None
        policy = load_policy(directory, dtype="bfloat16", lora=options, freeze_vision=lora)
        samples = make_samples(SETTING.prompts, SETTING.width, SETTING.height)
        prompts = [encode(policy, sample, "the small red lamp") for sample in samples]
        return Work(shape, SETTING, options), policy, prompts

    return load


def responses(count: int, new_tokens: int) -> list[torch.Tensor]:
    return list(torch.randint(0, 1000, (count, new_tokens)))


def flops(run: Any) -> tuple[int, int]:
    """Return PyTorch's count: of matrix products, and of attention kernels."""
    with FlopCounterMode(display=False) as counter:
        run()
    counts = {str(op): number for op, number in counter.get_flop_counts()["Global"].items()}
    matrices = sum(number for op, number in counts.items() if op in MATRIX_OPS)
    return matrices, sum(counts.values()) - matrices


@pytest.mark.parametrize("name", SHAPES)
def test_the_published_architectures_have_the_published_number_of_weights(name: str) -> None:
    shape = SHAPES[name]
    work = Work(shape, Setting())
    assert work.parameters == shape.parameters
    model = shape.empty()
    assert model.get_output_embeddings().weight.shape == (VOCABULARY, shape.text["hidden_size"])
    layers = model.model.language_model.layers
    assert work.text_matrices == sum(p.numel() for p in layers.parameters() if p.ndim == 2)


def test_special_tokens_have_the_published_ids() -> None:
    tokenizer = stand_in_tokenizer()
    config = SHAPES["qwen2.5-vl-3b"].config
    assert tokenizer.convert_tokens_to_ids("<|image_pad|>") == config.image_token_id == 151_655
    assert tokenizer.eos_token_id == config.text_config.eos_token_id == 151_645
    assert len(tokenizer) == 151_665


def test_flops_of_an_update_are_what_pytorch_counts(build: Build) -> None:
    work, policy, prompts = build(False)
    assert [len(prompt.input_ids) for prompt in prompts] == [work.prompt] * SETTING.prompts
    rows = [
        PackedRow(p, [Segment(t) for t in responses(SETTING.group, SETTING.new_tokens)])
        for p in prompts
    ]

    def forward() -> torch.Tensor:
        return torch.stack(
            [s.logprobs.sum() for row in segment_logprobs(policy, rows) for s in row]
        )

    tokens, _, scored = work.packed
    images = SETTING.prompts
    matrices, attention = flops(forward)
    vision_attention = images * 4 * work.shape.vision["hidden_size"] * work.vision_pairs
    # The kernels count what they are given: the whole rectangle, the invisible half included.
    own, group = SETTING.new_tokens - 1, SETTING.group
    dense = SETTING.prompts * (work.prompt**2 + group * own * (work.prompt + own))
    assert attention == work.attention(dense) + vision_attention
    assert matrices == work.text_forward(tokens, 0, scored) + work.vision_forward(images) - (
        vision_attention
    )
    both, _ = flops(lambda: forward().sum().backward())
    # The pixels want no gradient; all else is three times the forward pass.
    pixels = work.patches * policy.base.model.visual.patch_embed.proj.weight.numel()
    expected = work.update_flops() - 3 * (work.attention(work.packed[1]) + vision_attention)
    assert both == expected - images * 2 * pixels


def test_flops_of_adapters_are_what_pytorch_counts(build: Build) -> None:
    work, policy, prompts = build(True)
    rows = [
        PackedRow(p, [Segment(t) for t in responses(SETTING.group, SETTING.new_tokens)])
        for p in prompts
    ]

    def run() -> None:
        sum(s.logprobs.sum() for row in segment_logprobs(policy, rows) for s in row).backward()

    run()  # the frozen tower has seen the images now, as after a rollout
    matrices, _ = flops(run)
    expected = work.update_flops() - 3 * work.attention(work.packed[1])
    # Nothing below the first layer wants a gradient; a tenth of this model of two layers.
    assert 0.85 * expected < matrices <= expected
    assert work.adapters == sum(p.numel() for p in policy.trainable_parameters())


def test_keys_and_values_are_what_transformers_caches(build: Build) -> None:
    work, policy, _ = build(False)
    with torch.no_grad():
        cache = policy.base(input_ids=torch.arange(7)[None], use_cache=True).past_key_values
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    assert held == 7 * work.kv_bytes
    more = work.decode_bytes(5) - work.decode_bytes(4)
    assert more == SETTING.rows * work.kv_bytes


@pytest.mark.parametrize("lora", [False, True])
def test_weights_and_optimizer_states_are_those_of_a_real_step(build: Build, lora: bool) -> None:
    work, policy, _ = build(lora)
    memory = Memory(work)
    optimizer = Optimizer(policy, run_options())
    for parameter in policy.trainable_parameters():
        parameter.grad = torch.ones_like(parameter)
    held = sum(p.nbytes for p in {id(p): p for p in policy.model.parameters()}.values())
    assert memory.weights == held
    assert memory.gradients == sum(p.grad.nbytes for p in policy.trainable_parameters())
    optimizer.step()
    state = optimizer.state_dict()
    moments = [
        tensor.nbytes
        for moment in state["optimizer"]["state"].values()
        for name, tensor in moment.items()
        if name.startswith("exp_avg")
    ]
    masters = [] if lora else [tensor.nbytes for tensor in state["weights"].values()]
    assert memory.optimizer == sum(moments) + sum(masters)


@pytest.mark.parametrize("lora", [False, True])
def test_activations_grow_as_calculated(build: Build, lora: bool) -> None:
    work, policy, prompts = build(lora)
    continuations = [
        [r[:-1] for r in responses(SETTING.group, SETTING.new_tokens)] for _ in prompts
    ]
    weights = list(policy.model.parameters())
    kept = saved_bytes(
        lambda: forward_packed(policy, policy.base, prompts, continuations).hidden, weights
    )
    calculated = Memory(work).activations(SETTING.prompts, checkpointing=False)
    assert calculated == pytest.approx(kept, rel=0.1)


def test_three_billion_weights_and_adapters_of_eight_fit_80_gb() -> None:
    full = Memory(Work(SHAPES["qwen2.5-vl-3b"], Setting()))
    adapters = Memory(Work(SHAPES["qwen3-vl-8b"], Setting(), LoraOptions()))
    assert full.peak(1, checkpointing=False) < 80e9
    assert full.peak(8, checkpointing=True, reference=True) < 80e9
    assert adapters.peak(1, checkpointing=False) < 80e9


def test_devices_are_known_by_the_names_cuda_gives_them() -> None:
    h200, pcie = device_called("NVIDIA H200"), device_called("NVIDIA H100 PCIe")
    assert h200 is not None and h200.bandwidth == 4.8e12
    assert pcie is not None and pcie.bandwidth == 2.0e12
    assert device_called("NVIDIA GeForce RTX 3090") is None


@pytest.mark.slow
def test_dry_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--dry-run", "--lora", "--checkpointing"]
    monkeypatch.setattr(sys, "argv", ["gpu_step", *arguments])
    main()
    printed = capsys.readouterr().out
    for found in ("| ours, alone |", "| TRL / ours |", "model FLOPs", "ms a token of all rows"):
        assert found in printed
