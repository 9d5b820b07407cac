"""The hooks for slime, called as slime 0.3.1 (commit 624b824) calls them.

slime needs GPUs, so it is not installed. ``Sample`` has the fields of ``slime.utils.types.Sample``
that matter here; the loop below does what ``slime.rollout.sglang_rollout.generate_rollout_async``
and ``RolloutManager._convert_samples_to_train_data`` do with them.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoProcessor

from syngrpo.adapters import slime_source
from syngrpo.adapters.slime_source import MARK, EvolvingSource
from syngrpo.data_server.client import DataClient
from syngrpo.data_server.synthesis_options import SynthesisOptions
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GROUP = 4


@dataclass
class Sample:
    group_index: int | None = None
    index: int | None = None
    prompt: str | list[dict[str, str]] = ""
    tokens: list[int] = field(default_factory=list)
    multimodal_inputs: dict[str, Any] | None = None
    multimodal_train_inputs: dict[str, Any] | None = None
    response: str = ""
    response_length: int = 0
    label: str | None = None
    reward: float | None = None
    loss_mask: list[int] | None = None
    rollout_log_probs: list[float] | None = None
    remove_sample: bool = False

    class Status(Enum):
        PENDING = "pending"
        COMPLETED = "completed"

    status: Status = Status.PENDING
    metadata: dict[str, Any] = field(default_factory=dict)


class Source(EvolvingSource):
    prompt_style = "brief"

    def open_client(self, args: Any) -> DataClient:
        return DataClient.open(
            args.folder,
            rooms_samples("train", 12),
            groups_per_step=args.rollout_batch_size,
            synthesis=SynthesisOptions(generator="rooms", mode="inline"),
        )


@pytest.fixture(autouse=True)
def slime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one module of slime that the adapter imports."""
    types = ModuleType("slime.utils.types")
    types.Sample = Sample  # type: ignore[attr-defined]
    for name in ("slime", "slime.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "slime.utils.types", types)
    yield
    slime_source._current = None


def arguments(folder: Path) -> SimpleNamespace:
    """slime's arguments that the adapter reads."""
    return SimpleNamespace(
        folder=str(folder / "run"),
        hf_checkpoint=str(STARTER_DIR),
        n_samples_per_prompt=GROUP,
        rollout_batch_size=4,
        save=str(folder / "save"),
        load=str(folder / "save"),
    )


def loaded(path: str) -> Callable[..., Any]:
    """``slime.utils.misc.load_function``."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


PROCESSOR = AutoProcessor.from_pretrained(STARTER_DIR)
END = PROCESSOR.tokenizer.eos_token
"""SGLang ends a response's text with it, as slime calls SGLang."""
rng = np.random.default_rng(0)


def generate(sample: Sample, number: int) -> None:
    """Write a response as SGLang would: sometimes right, always with a description."""
    inputs = PROCESSOR(
        text=sample.prompt, images=sample.multimodal_inputs["images"], return_tensors="pt"
    )
    sample.multimodal_train_inputs = {"pixel_values": inputs["pixel_values"]}
    box = rng.integers(0, 128, 4).tolist()
    walls = ("red", "blue", "green", "yellow")[number % 4]
    text = f"<think>it is here</think><answer>{box}</answer><scene>a {walls} wall</scene>"
    ids = PROCESSOR.tokenizer.encode(text + END, add_special_tokens=False)
    sample.tokens = inputs["input_ids"][0].tolist() + ids
    sample.response, sample.response_length = PROCESSOR.tokenizer.decode(ids), len(ids)
    sample.rollout_log_probs = [-1.0] * len(ids)
    sample.status = Sample.Status.COMPLETED


def roll_out(args: SimpleNamespace, source: Source) -> list[list[Sample]]:
    """One rollout of slime."""
    reward = loaded("syngrpo.adapters.slime_source.reward")
    groups = source.get_samples(args.rollout_batch_size)
    for group in groups:
        assert len(group) == args.n_samples_per_prompt
        for number, sample in enumerate(group):
            if sample.status == Sample.Status.COMPLETED:  # passed through untouched
                assert sample.reward is not None
                continue
            generate(sample, number)
            sample.reward = asyncio.run(reward(args, sample))
    process = loaded("syngrpo.adapters.slime_source.end_rollout")
    process(args, groups, source.get_samples)
    return groups


def test_settled_descriptions_come_back_as_completed_responses(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    source = Source(args)
    assert len(source) == 12
    indices: set[int] = set()
    settled: list[Sample] = []
    for number in range(8):
        groups = roll_out(args, source)
        samples = [sample for group in groups for sample in group]
        for sample in samples:
            assert len(sample.loss_mask) == sample.response_length == len(sample.rollout_log_probs)
            text = PROCESSOR.tokenizer.decode(sample.tokens[-sample.response_length :])
            assert text.removesuffix(END) == sample.response.removesuffix(END)
            assert sample.multimodal_train_inputs["pixel_values"] is not None
            assert sample.index not in indices
            indices.add(sample.index)
        raw, advantages = loaded("syngrpo.adapters.slime_source.post_process_rewards")(
            args, samples
        )
        assert raw == [sample.reward for sample in samples]
        for sample, advantage in zip(samples, advantages, strict=True):
            masked = [
                token
                for token, kept in zip(
                    sample.tokens[-sample.response_length :], sample.loss_mask, strict=True
                )
                if kept
            ]
            shown = PROCESSOR.tokenizer.decode(masked)
            if "settled" in sample.metadata[MARK]:
                settled.append(sample)
                assert advantage == sample.reward
                assert shown.startswith("<scene>") and shown.endswith("</scene>" + END)
            else:
                assert sample.metadata[MARK]["format"] == 1.0
                assert "<scene>" not in shown and shown.endswith("</answer>")
        if number == 3:  # killed and started again
            source.save(number)
            source.client.close()
            source = Source(args)
            source.load(number)
            assert source.client.steps == 4
    assert len(settled) >= GROUP and len({sample.reward for sample in settled}) > 1
    assert source.client.stats().pool.synthetic > 0
    source.client.close()


def test_groups_given_back_come_first_and_count_once(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    source = Source(args)
    first = source.get_samples(4)
    source.add_samples(first[:2])
    again = source.get_samples(4)
    assert again[:2] == first[:2]
    source.client.close()


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data source is open; give slime --data-source-path"):
        asyncio.run(slime_source.reward(None, Sample()))
    args = arguments(tmp_path)
    source = Source(args)
    (group,) = source.get_samples(1)
    for number, sample in enumerate(group):
        generate(sample, number)
        sample.reward = asyncio.run(slime_source.reward(args, sample))
    group[0].rollout_log_probs = None
    with pytest.raises(InputError, match="slime gave no rollout_log_probs"):
        source.end_rollout([group])
    source.client.close()


def test_tokens_that_slime_leaves_out_stay_left_out(tmp_path: Path) -> None:
    """As with --partial-rollout and --mask-offpolicy-in-partial-rollout; and a sample that was
    drawn twice, because its first group was given back."""
    args = arguments(tmp_path)
    source = Source(args)
    (group,) = source.get_samples(1)
    twice = [replace(sample, metadata=dict(sample.metadata)) for sample in group]
    for one in (group, twice):
        for number, sample in enumerate(one):
            generate(sample, number)
            sample.reward = asyncio.run(slime_source.reward(args, sample))
            sample.loss_mask = [0] * 5 + [1] * (sample.response_length - 5)
    source.end_rollout([group, twice])
    for sample in group + twice:
        kept = [i for i, on in enumerate(sample.loss_mask) if on]
        written = sample.tokens[-sample.response_length :]
        assert kept == list(range(5, kept[-1] + 1))
        assert PROCESSOR.tokenizer.decode(written[: kept[-1] + 1]).endswith("</answer>")
    source.client.close()


@pytest.mark.parametrize(
    ("option", "value"), [("rollout_top_p", 0.95), ("use_rollout_routing_replay", True)]
)
def test_options_that_replay_the_sampling_are_refused(
    tmp_path: Path, option: str, value: object
) -> None:
    args = arguments(tmp_path)
    setattr(args, option, value)
    with pytest.raises(InputError, match=option.replace("_", "-")):
        Source(args)
    assert not Path(args.folder).exists()
