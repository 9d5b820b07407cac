"""Recorded and replayed decoding steps sample what plain calls sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from recorded_steps import CpuRecorder
from tiny_families import TINY, save_tiny
from tiny_models import random_sample
from torch.utils._pytree import tree_leaves

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.families import FAMILIES
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import Response
from syngrpo.rollout.cuda_graphs import WARM_UP, RecordedStep, StepSchedule
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling

SIZES = ((64, 48), (130, 75), (96, 80))
QUESTIONS = ("the lamp", "the big grün chair left of the sofa", "椅子")
SEEDS = [11, 22, 33]
SHARING = [
    name for name in TINY if FAMILIES.get(name.split()[0]).shares_prefix and "sliding" not in name
]
GPU_LIKE = StepSchedule(check_every=5, compact_at=0.4, block=16)
"""Like the schedule of a GPU, with smaller numbers."""


@dataclass
class Case:
    policy: Policy
    prompts: list[Prompt]

    def stopping_at_every(self, step: int) -> Policy:
        return replace(self.policy, stop_ids=tuple(range(0, 380, step)))


def make_case(directory: Path, device: str = "cpu", dtype: str = "float32") -> Case:
    policy = load_policy(directory, device=device, dtype=dtype)
    prompts = [
        encode(policy, random_sample(*size, seed=i), text)
        for i, (size, text) in enumerate(zip(SIZES, QUESTIONS, strict=True))
    ]
    return Case(policy, prompts)


@pytest.fixture(scope="module", params=SHARING)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(save_tiny(tmp_path_factory.mktemp("tiny"), request.param))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(save_tiny(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl"))


def assert_same(got: list[list[Response]], wanted: list[list[Response]]) -> None:
    for a, b in zip(chain(*got), chain(*wanted), strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert (a.text, a.finished) == (b.text, b.finished)
        torch.testing.assert_close(a.logprobs, b.logprobs, atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(a.entropy, b.entropy, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0.9, max_new_tokens=40), Sampling(1.0, 0.8, 27), Sampling(0.0, max_new_tokens=34)],
)
def test_recorded_steps_sample_what_plain_calls_do(case: Case, sampling: Sampling) -> None:
    policy, recorder = case.stopping_at_every(9), CpuRecorder()
    wanted = rollout(policy, case.prompts, 4, sampling, SEEDS)
    got = rollout(policy, case.prompts, 4, sampling, SEEDS, replace(GPU_LIKE, recorder=recorder))
    assert_same(got, wanted)
    assert recorder.recordings and recorder.replays > recorder.recordings


def test_rows_are_removed_and_slots_grow_between_recordings(qwen: Case) -> None:
    policy, sampling, recorder = (
        qwen.stopping_at_every(19),
        Sampling(max_new_tokens=60),
        CpuRecorder(),
    )
    wanted = rollout(policy, qwen.prompts, 5, sampling, SEEDS)
    lengths = {len(r.token_ids) for group in wanted for r in group}
    assert min(lengths) < 8 and max(lengths) == 60
    got = rollout(policy, qwen.prompts, 5, sampling, SEEDS, replace(GPU_LIKE, recorder=recorder))
    assert_same(got, wanted)
    assert recorder.recordings >= 4
    assert recorder.warm_ups + recorder.replays == 59


def test_the_schedule_does_not_change_responses(qwen: Case) -> None:
    policy, sampling = qwen.stopping_at_every(7), Sampling(max_new_tokens=50)
    wanted = rollout(policy, qwen.prompts, 5, sampling, SEEDS)
    for schedule in (StepSchedule(1, 0.01, 1), StepSchedule(3, 0.9, 7), StepSchedule(64, 0.5, 256)):
        assert_same(rollout(policy, qwen.prompts, 5, sampling, SEEDS, schedule), wanted)


def test_a_gpu_removes_rows_only_when_that_saves_more_than_a_recording_costs() -> None:
    schedule = StepSchedule(8, compact_at=0.5, block=256, compact_tokens=2**15)
    assert not schedule.should_compact(32, 64, 160)
    assert schedule.should_compact(32, 64, 1000)
    assert schedule.should_compact(256, 512, 20)
    assert not schedule.should_compact(200, 512, 1000)
    host = StepSchedule.of(torch.device("cpu"))
    assert (
        host.recorder is None
        and host.should_compact(4, 32, 1)
        and not host.should_compact(3, 32, 1)
    )


def test_a_step_makes_no_copy_of_the_prompts_for_each_row(case: Case) -> None:
    policy, recorder, group = replace(case.policy, stop_ids=()), CpuRecorder(), 8
    prompts = [encode(policy, random_sample(400, 300, seed=i), "the lamp") for i in range(2)]
    schedule = replace(GPU_LIKE, recorder=recorder)
    rollout(policy, prompts, group, Sampling(max_new_tokens=6), SEEDS[:2], schedule)
    attention = policy.family.text_model(policy.base).layers[0].self_attn
    per_token = attention.k_proj.out_features
    copy = group * sum(len(prompt.input_ids) for prompt in prompts) * per_token
    made = [
        result.numel()
        for func, _, _, results in recorder.calls
        if not func.is_view and not func._schema.is_mutable
        for result in tree_leaves(results)
    ]
    assert 0 < max(made) < copy / 2


def test_operations_that_depend_on_values_cannot_be_recorded() -> None:
    values, recorder = torch.tensor([0.5, 2.0]), CpuRecorder()
    for step in (
        lambda: values.sum().item(),
        lambda: values.nonzero(),
        lambda: values[values > 1],
        lambda: values.add_(1.0) if values.max() > 1 else None,
        lambda: values.add_(torch.tensor([1.0, 2.0])),
        lambda: values.__setitem__(values > 1, torch.ones(1)),
    ):
        with pytest.raises(RuntimeError, match="depends on a value"):
            recorder.record(step)  # type: ignore[arg-type]


def test_recording_a_step_does_not_run_it_and_replays_continue_from_the_present_values() -> None:
    count, recorder = torch.zeros(1), CpuRecorder()

    def double() -> None:
        count.add_(count + 1)

    step = RecordedStep(double, recorder)
    for calls in range(1, 8):
        step()
        assert count.item() == 2**calls - 1
    assert (recorder.warm_ups, recorder.recordings, recorder.replays) == (WARM_UP, 1, 7 - WARM_UP)
    step.forget()
    step()
    assert count.item() == 2**8 - 1
    assert (recorder.warm_ups, recorder.recordings) == (WARM_UP + 1, 1)


def test_padded_rows_are_never_recorded(tmp_path: Path) -> None:
    case, recorder = make_case(save_tiny(tmp_path, "qwen3_5")), CpuRecorder()
    policy, sampling = case.stopping_at_every(9), Sampling(max_new_tokens=12)
    wanted = rollout(policy, case.prompts, 3, sampling, SEEDS)
    got = rollout(policy, case.prompts, 3, sampling, SEEDS, replace(GPU_LIKE, recorder=recorder))
    assert_same(got, wanted)
    assert not recorder.warm_ups and not recorder.recordings


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cuda_graphs_sample_what_plain_calls_do(tmp_path: Path, dtype: str) -> None:
    case = make_case(save_tiny(tmp_path, "qwen2_5_vl"), "cuda", dtype)
    policy, sampling = case.stopping_at_every(19), Sampling(max_new_tokens=60)
    graphs, plain = (
        replace(StepSchedule.of(policy.device, recorded), check_every=5, block=16)
        for recorded in (True, False)
    )
    assert graphs.recorder is not None and plain.recorder is None
    wanted = rollout(policy, case.prompts, 5, sampling, SEEDS, plain)
    for _ in range(2):
        assert_same(rollout(policy, case.prompts, 5, sampling, SEEDS, graphs), wanted)
