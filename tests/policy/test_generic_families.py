"""Models that are called whole: rollouts, log-probabilities and gradients against transformers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_cases import (
    QUESTIONS,
    SEEDS,
    SIZES,
    assert_equal_gradients,
    make_prompts,
    make_rows,
    ours,
)
from PIL import Image
from plain_transformers import load_plain
from tiny_generic import GENERIC, save_generic
from tiny_models import random_sample
from transformers import AutoProcessor

from syngrpo.policy.encode import Prompt, change_pixels, encode, prompt_size, size_of
from syngrpo.policy.forward import split_family
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError


@dataclass
class Case:
    name: str
    directory: Path
    policy: Policy
    plain: Any
    prompts: list[Prompt]


@pytest.fixture(scope="module", params=GENERIC)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name = request.param
    directory = save_generic(tmp_path_factory.mktemp("tiny"), name)
    policy = load_policy(directory, coordinates=GENERIC[name].coordinates)
    return Case(name, directory, policy, load_plain(directory), make_prompts(policy))


def plain_inputs(case: Case, index: int) -> dict[str, torch.Tensor]:
    """What any user of the checkpoint gives the model for one prompt."""
    processor = AutoProcessor.from_pretrained(case.directory)
    pixels = random_sample(*SIZES[index], seed=index).image.decode()
    content = [{"type": "image"}, {"type": "text", "text": QUESTIONS[index]}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    ).removesuffix("<think>")
    return dict(processor(text=[chat], images=[Image.fromarray(pixels)], return_tensors="pt"))


def plain_logprobs(
    case: Case, index: int, response: torch.Tensor, temperature: float
) -> torch.Tensor:
    """log p (L,) of a response alone behind its prompt, differentiable."""
    inputs = plain_inputs(case, index)
    length = inputs["input_ids"].shape[1]
    for name, value in inputs.items():
        if value.shape == (1, length):
            more = {"input_ids": response, "attention_mask": torch.ones_like(response)}
            tail = more.get(name, torch.zeros_like(response))
            inputs[name] = torch.cat([value, tail[None].to(value.dtype)], dim=1)
    logits = case.plain(**inputs).logits[0, length - 1 : -1] / temperature
    logits[:, case.policy.banned] = float("-inf")
    return logits.log_softmax(-1).gather(-1, response[:, None])[:, 0]


def plain(case: Case, rows: list[PackedRow], temperature: float = 1.0) -> torch.Tensor:
    parts = [
        plain_logprobs(case, index, segment.token_ids, temperature)
        for index, row in enumerate(rows)
        for segment in row.segments
    ]
    return torch.cat(parts)


def test_prompts_are_those_of_the_processor(case: Case) -> None:
    for index, (prompt, size) in enumerate(zip(case.prompts, SIZES, strict=True)):
        wanted = plain_inputs(case, index)
        assert prompt.input_ids.tolist() == wanted.pop("input_ids")[0].tolist()
        wanted.pop("attention_mask")
        torch.testing.assert_close(prompt.image, wanted, rtol=0, atol=0)
        sample = random_sample(*size, seed=index)
        counted = prompt_size(case.policy, sample, QUESTIONS[index])
        assert counted == size_of(case.policy, prompt) and counted.image > 0
    counts = {size_of(case.policy, prompt).image for prompt in case.prompts}
    assert len(counts) == 1 if case.name in ("gemma3", "internvl") else 2


def test_logprobs_and_every_gradient_equal_plain_transformers(case: Case) -> None:
    rows = make_rows(case.prompts)
    got, want = ours(case.policy, rows, 0.7), plain(case, rows, 0.7)
    assert_equal_gradients(case.policy, case.plain, got, want)


def test_greedy_tokens_equal_generate(case: Case) -> None:
    policy = replace(case.policy, stop_ids=tuple(range(0, 380, 25)))
    sampling = Sampling(temperature=0, max_new_tokens=20)
    groups = rollout(policy, case.prompts, 2, sampling, SEEDS)
    for index, group in enumerate(groups):
        inputs = plain_inputs(case, index)
        tokens = case.plain.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=20,
            suppress_tokens=policy.banned.tolist(),
            eos_token_id=list(policy.stop_ids),
        )
        expected = tokens[0, inputs["input_ids"].shape[1] :].tolist()
        assert [response.token_ids.tolist() for response in group] == [expected, expected]


def test_sampled_logprobs_equal_plain_ones_and_those_of_the_update(case: Case) -> None:
    policy = replace(case.policy, stop_ids=tuple(range(0, 380, 8)))
    groups = rollout(policy, case.prompts, 4, Sampling(2.5, max_new_tokens=20), SEEDS)
    assert len({len(r.token_ids) for group in groups for r in group}) > 2
    rows = [
        PackedRow(prompt, [Segment(r.token_ids) for r in group])
        for prompt, group in zip(case.prompts, groups, strict=True)
    ]
    sampled = torch.cat([r.logprobs for group in groups for r in group])
    with torch.no_grad():
        torch.testing.assert_close(sampled, plain(case, rows, 2.5), atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(sampled, ours(policy, rows, 2.5), atol=2e-5, rtol=0)
    alone = rollout(policy, case.prompts[1:], 4, Sampling(2.5, max_new_tokens=20), SEEDS[1:])
    for a, b in zip(groups[1], alone[0], strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()


def test_tokens_around_and_in_place_of_images_are_never_sampled(case: Case) -> None:
    policy, tokenizer = case.policy, case.policy.tokenizer
    names = [t for name, t in GENERIC[case.name].tokens.items() if name != "end_of_utterance_token"]
    wanted = set(tokenizer.convert_tokens_to_ids(names)) | set(
        range(len(tokenizer), len(tokenizer) + 5)
    )
    assert wanted <= set(policy.banned.tolist())
    allowed = [*policy.stop_ids, *tokenizer.encode("<answer>\nlamp")]
    assert not set(allowed) & set(policy.banned.tolist())
    with pytest.raises(ValueError, match="holds the banned token"):
        segment_logprobs(policy, [PackedRow(case.prompts[0], [Segment(policy.banned[:1].cpu())])])


def test_lora_trains_the_language_model_and_its_base_is_the_reference(case: Case) -> None:
    policy = load_policy(
        case.directory,
        lora=LoraOptions(2, 4),
        gradient_checkpointing=True,
        coordinates=GENERIC[case.name].coordinates,
    )
    torch.manual_seed(0)
    trained = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    for layer in range(2):
        for part in ("q_proj", "o_proj", "down_proj"):
            assert any(f".layers.{layer}." in name and part in name for name in trained)
    inside = {id(p) for p in policy.family.text_model(policy.base).parameters()}
    assert all(id(parameter) in inside for parameter in trained.values())
    for name, parameter in trained.items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    rows = make_rows(case.prompts)
    scores = ours(policy, rows)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in trained.values())
    scored = segment_logprobs(policy, rows, reference=True)
    reference = torch.cat([s.logprobs for row in scored for s in row])
    torch.testing.assert_close(reference, plain(case, rows).detach(), atol=1e-5, rtol=1e-6)
    assert (reference - scores).abs().max() > 0.01


def test_a_frozen_vision_tower_is_all_but_the_language_model(case: Case, tmp_path: Path) -> None:
    policy = load_policy(
        case.directory, freeze_vision=True, coordinates=GENERIC[case.name].coordinates
    )
    frozen = {n for n, p in policy.model.named_parameters() if not p.requires_grad}
    assert frozen and not any("layers." in n and "vi" not in n for n in frozen)
    assert not any("lm_head" in name or "embed_tokens" in name for name in frozen)
    ours(policy, make_rows(case.prompts)).sum().backward()
    policy.save(tmp_path)
    assert set(load_plain(tmp_path).state_dict()) == set(case.plain.state_dict())


def test_frames_are_as_said_or_known(case: Case) -> None:
    said = GENERIC[case.name].coordinates
    assert case.policy.coordinates == (said or "0-1000")
    expected = {"0-1000": (1000.0, 1000.0), "0-1": (1.0, 1.0), "pixels": (130.0, 75.0)}
    frame = case.prompts[1].frame
    assert (frame.width, frame.height) == expected[case.policy.coordinates]
    assert (frame.original_width, frame.original_height) == (130, 75)
    if case.name.startswith("glm"):
        policy = load_policy(case.directory, coordinates="resized")
        prompt = encode(policy, random_sample(130, 75), "q")
        _, rows, columns = prompt.image["image_grid_thw"][0].tolist()
        assert (prompt.frame.width, prompt.frame.height) == (columns * 14, rows * 14)
    else:
        with pytest.raises(InputError, match="cuts, pads or crops images"):
            load_policy(case.directory, coordinates="resized")
    if said is not None:
        with pytest.raises(InputError, match=r"set model\.coordinates to pixels, resized"):
            load_policy(case.directory)


def test_changed_pixels_are_those_the_processor_makes_of_a_changed_image(case: Case) -> None:
    same = change_pixels(case.policy, case.prompts[1], lambda pixels: pixels)
    for name, value in case.prompts[1].image.items():
        # Resized images have colours between two bytes.
        torch.testing.assert_close(same.image[name], value, atol=0.02, rtol=0)
    darker = change_pixels(case.policy, case.prompts[1], lambda pixels: pixels * 0 - 0.5)
    processor = case.policy.processor.image_processor
    mean, std = processor.image_mean[0], processor.image_std[0]
    byte = round(0.5 * 127.5)
    values = darker.image["pixel_values"]
    values = values.unflatten(1, (3, -1))[:, 0] if values.ndim == 2 else values.select(-3, 0)
    assert torch.allclose(values, torch.tensor((byte / 255 - mean) / std), atol=1e-5)


@pytest.mark.parametrize("name", ["internvl", "glm4v", "glm46v"])
def test_max_pixels_bounds_what_the_model_sees(tmp_path: Path, name: str) -> None:
    save_generic(tmp_path, name)
    policy = load_policy(tmp_path, max_pixels=8192)
    prompt = encode(policy, random_sample(256, 256), "q")
    if name == "internvl":
        tiles = prompt.image["pixel_values"]
        assert len(tiles) * tiles[0, 0].numel() <= 8192 + 1024  # and the whole image
    else:
        area = int(prompt.image["image_grid_thw"].prod()) * 14**2
        assert 8192 / 2 < area <= 8192
    assert size_of(policy, prompt) == prompt_size(policy, random_sample(256, 256), "q")


def test_max_pixels_is_refused_where_the_processor_cannot(tmp_path: Path) -> None:
    save_generic(tmp_path, "gemma3")
    with pytest.raises(InputError, match=r"has no limit on the area .* model.max_pixels \(8192\)"):
        load_policy(tmp_path, coordinates="0-1000", max_pixels=8192)


def test_only_our_own_decoder_samples_from_a_model_that_is_called_whole(case: Case) -> None:
    with pytest.raises(InputError, match=r"set rollout\.engine to native") as caught:
        split_family(case.policy)
    assert "\n" not in str(caught.value)


def test_a_qwen_called_whole_computes_the_same(tmp_path: Path) -> None:
    from tiny_families import save_tiny

    save_tiny(tmp_path, "qwen3_vl")
    split, whole = load_policy(tmp_path), load_policy(tmp_path, family="generic", coordinates="0-1")
    assert split.shares_prefix and not whole.shares_prefix
    scores = []
    for policy in (split, whole):
        prompts = [encode(policy, random_sample(*size), "the lamp") for size in SIZES]
        scores.append(ours(policy, make_rows(prompts)))
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-6)
