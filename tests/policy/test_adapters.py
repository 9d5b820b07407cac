"""Adapters saved by peft, loaded for evaluation or further training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from plain_transformers import load_plain, model_inputs
from safetensors.torch import load_file, save_file
from tiny_families import TINY, save_tiny
from tiny_models import random_sample

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout.weight_stream import checkpoint_weights
from syngrpo.sample import InputError

TOKENS = torch.tensor([5, 6, 7, 8])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "base", "qwen2_5_vl")


def save_adapter(base: Path, directory: Path, name: str | None = None) -> Any:
    """A random adapter as any user of peft would save it; returns the wrapped model."""
    torch.manual_seed(1)
    options = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.1)
    model = get_peft_model(load_plain(base), options).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    edit(directory, base_model_name_or_path=str(base) if name is None else name)
    return model


def edit(directory: Path, **changes: Any) -> None:
    file = directory / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def logprobs(policy: Policy) -> torch.Tensor:
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    policy.model.eval()
    with torch.no_grad():
        row = PackedRow(prompt, [Segment(TOKENS)])
        return segment_logprobs(policy, [row])[0][0].logprobs


def expected(policy: Policy, model: Any) -> torch.Tensor:
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    with torch.no_grad():
        logits = model(**model_inputs(policy.base, prompt, [TOKENS])).logits[0]
    logits[:, policy.banned] = float("-inf")
    scores = logits[len(prompt.input_ids) - 1 : -1].log_softmax(-1)
    return scores.gather(-1, TOKENS[:, None])[:, 0]


@pytest.mark.parametrize("family", [name for name in TINY if " " not in name])
def test_a_peft_adapter_computes_what_peft_computes(tmp_path: Path, family: str) -> None:
    base = save_tiny(tmp_path / "base", family)
    model = save_adapter(base, tmp_path / "adapter")
    policy = load_policy(base, adapter=tmp_path / "adapter")
    torch.testing.assert_close(logprobs(policy), expected(policy, model), atol=1e-5, rtol=1e-6)
    without = logprobs(load_policy(base))
    assert (logprobs(policy) - without).abs().max() > 0.01


def test_the_reference_is_the_loaded_adapter_and_only_the_trained_one_is_saved(
    checkpoint: Path, tmp_path: Path
) -> None:
    save_adapter(checkpoint, tmp_path / "adapter")
    policy = load_policy(tmp_path / "adapter")
    names = [name for name, _ in policy.model.named_parameters()]
    start = logprobs(policy)
    policy.keep_reference()
    trained = policy.trainable_parameters()
    assert len(trained) == sum("lora_" in name for name in names)
    with torch.no_grad():
        for weight in trained:
            weight.mul_(1.5)
    now = logprobs(policy)
    assert (now - start).abs().max() > 0.01
    with policy.as_reference() as reference:
        assert reference is policy.base
        torch.testing.assert_close(logprobs(policy), start, atol=1e-6, rtol=1e-6)
    assert torch.equal(logprobs(policy), now)
    assert list(map(id, policy.trainable_parameters())) == list(map(id, trained))
    assert checkpoint_weights(policy).keys() == checkpoint_weights(load_policy(checkpoint)).keys()
    policy.save(tmp_path / "saved")
    assert [file.name for file in (tmp_path / "saved" / "adapter").iterdir() if file.is_dir()] == []
    for again in (
        load_policy(tmp_path / "saved"),
        load_policy(checkpoint, adapter=tmp_path / "saved" / "adapter"),
    ):
        torch.testing.assert_close(logprobs(again), now, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_a_frozen_tower_is_still_frozen_after_a_pass_of_the_reference(
    checkpoint: Path, tmp_path: Path, kept: bool
) -> None:
    save_adapter(checkpoint, tmp_path)  # "down_proj" is in the vision tower, too
    policy = load_policy(tmp_path, freeze_vision=True)
    if kept:
        policy.keep_reference()
    before = {name: weight.requires_grad for name, weight in policy.model.named_parameters()}
    assert not any(trains for name, trains in before.items() if "visual" in name)
    with pytest.raises(InterruptedError), policy.as_reference():
        raise InterruptedError
    after = {name: weight.requires_grad for name, weight in policy.model.named_parameters()}
    assert after == before and any(after.values())


def test_an_adapter_that_cannot_be_copied_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    options = LoraConfig(r=2, target_modules=["q_proj"], bias="lora_only")
    get_peft_model(load_plain(checkpoint), options).save_pretrained(tmp_path)
    policy = load_policy(checkpoint, adapter=tmp_path)
    with pytest.raises(
        InputError, match=r"supports only 1 adapter with bias.*method.beta"
    ) as caught:
        policy.keep_reference()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["absolute", "beside", "working directory"])
def test_an_adapter_directory_finds_its_model(
    checkpoint: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "run" / "adapter"
    name = {"absolute": str(checkpoint), "beside": "../base", "working directory": "models/base"}
    model = save_adapter(checkpoint, adapter, name[place])
    if place == "beside":
        shutil.copytree(checkpoint, tmp_path / "run" / "base")
    elif place == "working directory":
        shutil.copytree(checkpoint, tmp_path / "models" / "base")
        monkeypatch.chdir(tmp_path)
    policy = load_policy(adapter)
    torch.testing.assert_close(logprobs(policy), expected(policy, model), atol=1e-5, rtol=1e-6)
    assert all("lora_" in n for n, p in policy.model.named_parameters() if p.requires_grad)
    assert policy.trainable_parameters()


def test_new_adapters_begin_with_the_weights_of_their_seed(checkpoint: Path) -> None:
    """In every process of a run, and whatever was drawn before."""

    def weights(seed: int) -> list[torch.Tensor]:
        policy = load_policy(checkpoint, lora=LoraOptions(2, 4), seed=seed)
        return [w for name, w in policy.model.named_parameters() if "lora_A" in name]

    before = torch.get_rng_state()
    first = weights(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert all(map(torch.equal, first, weights(0)))
    assert not any(map(torch.equal, first, weights(1)))


def test_frozen_vision_freezes_an_adapters_part_in_it(checkpoint: Path, tmp_path: Path) -> None:
    save_adapter(checkpoint, tmp_path)  # "down_proj" is in the vision tower, too
    names = [
        {n for n, p in policy.model.named_parameters() if p.requires_grad}
        for policy in (load_policy(tmp_path), load_policy(tmp_path, freeze_vision=True))
    ]
    assert names[1] == {name for name in names[0] if "visual" not in name}
    assert len(names[1]) < len(names[0])


def test_a_loaded_adapter_trains_without_dropout(checkpoint: Path, tmp_path: Path) -> None:
    save_adapter(checkpoint, tmp_path)
    policy = load_policy(tmp_path)
    assert policy.model.training
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    rows = [PackedRow(prompt, [Segment(TOKENS)])]
    first, second = (segment_logprobs(policy, rows)[0][0].logprobs for _ in range(2))
    assert first.tolist() == second.tolist() and first.requires_grad


def test_an_adapter_with_the_module_names_of_older_transformers(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = save_adapter(checkpoint, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    renamed = {
        key.replace("model.model.language_model.layers", "model.model.layers").replace(
            "model.model.visual", "model.visual"
        ): weight
        for key, weight in load_file(file).items()
    }
    assert not set(renamed) & set(load_file(file))
    save_file(renamed, file)
    policy = load_policy(tmp_path)
    torch.testing.assert_close(logprobs(policy), expected(policy, model), atol=1e-5, rtol=1e-6)


def test_a_merged_adapter_loads_with_plain_transformers(checkpoint: Path, tmp_path: Path) -> None:
    model = save_adapter(checkpoint, tmp_path / "adapter")
    policy = load_policy(tmp_path / "adapter")
    policy.save(tmp_path / "merged")
    merged = load_plain(tmp_path / "merged")
    torch.testing.assert_close(
        expected(policy, merged), expected(policy, model), atol=5e-5, rtol=1e-5
    )


def test_what_is_wrong_with_an_adapter_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    save_adapter(checkpoint, adapter)
    other = save_tiny(tmp_path / "other", "qwen3_vl")
    weights = load_file(adapter / "adapter_model.safetensors")
    copies = {name: tmp_path / name for name in ("gone", "nameless", "broken", "foreign", "short")}
    for directory in copies.values():
        shutil.copytree(adapter, directory)
    edit(copies["gone"], base_model_name_or_path="somewhere/deep/else")
    edit(copies["nameless"], base_model_name_or_path=None)
    (copies["broken"] / "adapter_config.json").write_text("{")
    edit(copies["foreign"], target_modules=["no_such_layer"])
    save_file(dict(list(weights.items())[3:]), copies["short"] / "adapter_model.safetensors")
    PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM").save_pretrained(tmp_path / "p")
    cases = {
        "which does not exist": lambda: load_policy(copies["gone"]),
        "names no base model": lambda: load_policy(copies["nameless"]),
        "not a JSON object": lambda: load_policy(copies["broken"]),
        "does not fit .*no_such_layer": lambda: load_policy(copies["foreign"]),
        "does not fit .*3 weights": lambda: load_policy(copies["short"]),
        "does not fit the model": lambda: load_policy(other, adapter=adapter),
        "holds no adapter": lambda: load_policy(checkpoint, adapter=tmp_path / "nowhere"),
        "is itself an adapter": lambda: load_policy(adapter, adapter=adapter),
        "has a rank of its own": lambda: load_policy(adapter, lora=LoraOptions()),
        "of type PROMPT_TUNING": lambda: load_policy(checkpoint, adapter=tmp_path / "p"),
    }
    for words, action in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            action()
        assert "\n" not in str(caught.value)
