"""Loading, encoding, and checkpoints that plain transformers can load."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import PeftModel
from plain_transformers import load_plain, model_inputs
from tiny_families import save_tiny
from tiny_models import random_image, random_sample, save_tiny_qwen
from transformers import AutoProcessor

from syngrpo.policy import loading
from syngrpo.policy.encode import encode
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving.atomic_files import DiskFull, atomic_directory
from syngrpo_rooms.starter import STARTER_DIR


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("lora", [None, LoraOptions(4, 8)], ids=["full", "lora"])
def test_saved_policy_loads_with_plain_transformers(
    checkpoint: Path, tmp_path: Path, lora: LoraOptions | None
) -> None:
    policy = load_policy(checkpoint, lora=lora)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    inputs = model_inputs(policy.base, prompt, [torch.tensor([5, 6, 7])])
    with torch.no_grad():
        expected = policy.base(**inputs).logits
        policy.save(tmp_path)
        saved = load_plain(tmp_path)
        torch.testing.assert_close(saved(**inputs).logits, expected, atol=5e-5, rtol=1e-5)
        # Saving leaves the policy as it was, and it had changed.
        torch.testing.assert_close(policy.base(**inputs).logits, expected)
        before = load_plain(checkpoint)(**inputs).logits
    assert (expected - before).abs().max() > 0.1
    assert "shared_prefix" not in (tmp_path / "config.json").read_text()
    names = set(saved.state_dict())
    assert names == set(load_plain(checkpoint).state_dict())
    assert (tmp_path / "adapter").exists() == (lora is not None)
    if lora is not None:
        beside = PeftModel.from_pretrained(load_plain(checkpoint), tmp_path / "adapter")
        with torch.no_grad():
            logits = beside(**inputs).logits
        torch.testing.assert_close(logits, expected, atol=5e-5, rtol=1e-5)


def test_the_umask_says_who_may_read_a_saved_model(checkpoint: Path, tmp_path: Path) -> None:
    policy = load_policy(checkpoint, lora=LoraOptions(4, 8))
    before = os.umask(0o027)
    try:
        policy.save(tmp_path / "final")
    finally:
        os.umask(before)
    files = [file for file in (tmp_path / "final").rglob("*") if file.is_file()]
    assert len(files) > 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}


def test_a_disk_without_room_for_the_weights_is_full(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(checkpoint)
    usage = SimpleNamespace(free=policy.saved_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    final = tmp_path / "final"
    writing = atomic_directory(final, policy.saved_bytes)
    with pytest.raises(DiskFull, match="the disk is full"), writing as target:
        policy.save(target)
    assert not any(tmp_path.iterdir())
    usage.free += 1
    policy.save(final)
    assert (final / "model.safetensors").stat().st_size >= policy.saved_bytes


def test_saved_processor_reads_images_the_same_way(checkpoint: Path, tmp_path: Path) -> None:
    policy = load_policy(checkpoint, max_pixels=32 * 32)
    policy.save(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    image = random_image(96, 80, seed=3)
    tensors = processor.image_processor(images=[image], return_tensors="pt")
    prompt = encode(policy, random_sample(96, 80, seed=3), "the lamp")
    torch.testing.assert_close(pixel_values(policy, [prompt]), tensors["pixel_values"])
    assert prompt.image["image_grid_thw"].prod() * 8 * 8 <= 32 * 32


def test_unmodified_forward_and_generate_still_work(checkpoint: Path) -> None:
    policy, plain = load_policy(checkpoint), load_plain(checkpoint)
    prompt = encode(policy, random_sample(64, 48), "the lamp")
    inputs = model_inputs(plain, prompt, [torch.tensor([5, 6]), torch.tensor([7])])
    with torch.no_grad():
        torch.testing.assert_close(
            policy.base(**inputs).logits, plain(**inputs).logits, atol=5e-5, rtol=1e-5
        )
    start = model_inputs(plain, prompt, [torch.tensor([5])])
    tokens = [m.generate(**start, do_sample=False, max_new_tokens=8) for m in (policy.base, plain)]
    assert tokens[0].tolist() == tokens[1].tolist()


def test_prompt_holds_template_placeholders_and_frame(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    prompt = encode(policy, random_sample(70, 45), "Find the grüne 椅子.")
    text = policy.tokenizer.decode(prompt.input_ids)
    assert text.endswith("Find the grüne 椅子.<|im_end|>\n<|im_start|>assistant\n")
    _, rows, columns = prompt.image["image_grid_thw"][0].tolist()
    assert text.count("<|image_pad|>") == rows * columns // 4
    assert (prompt.frame.width, prompt.frame.height) == (columns * 8, rows * 8) == (64, 48)
    assert prompt.frame.to_original((0, 0, 64, 48)) == (0, 0, 70, 45)
    assert prompt.image["patches"].shape == (rows * columns, 3, 8, 8)


def test_vision_tokens_and_nameless_rows_are_banned(tmp_path: Path) -> None:
    save_tiny_qwen(tmp_path)
    plain = load_plain(tmp_path)
    plain.resize_token_embeddings(448)  # Qwen's embedding matrices have spare rows
    plain.save_pretrained(tmp_path)
    policy = load_policy(tmp_path)
    names = policy.tokenizer.convert_ids_to_tokens(policy.banned.tolist())
    assert {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"} <= set(names)
    assert set(range(len(policy.tokenizer), 448)) <= set(policy.banned.tolist())
    ends = policy.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert policy.stop_ids == tuple(sorted(ends))
    assert not set(ends) & set(policy.banned.tolist())


def test_dtype_and_trainable_parameters(checkpoint: Path) -> None:
    policy = load_policy(checkpoint, dtype="bfloat16", freeze_vision=True)
    assert {p.dtype for p in policy.model.parameters()} == {torch.bfloat16}
    trained = sum(p.numel() for p in policy.trainable_parameters())
    vision = sum(p.numel() for p in policy.base.model.visual.parameters())
    assert trained == sum(p.numel() for p in policy.model.parameters()) - vision


def test_bad_input_is_one_line_that_says_what_to_do(checkpoint: Path, tmp_path: Path) -> None:
    incomplete = tmp_path / "incomplete"
    incomplete.mkdir()
    shutil.copy(checkpoint / "config.json", incomplete)
    cases = {
        "does not exist": lambda: load_policy(tmp_path / "nowhere"),
        "holds no model": lambda: load_policy(tmp_path),
        "cannot be loaded": lambda: load_policy(incomplete),
        "dtype 'int3' is unknown": lambda: load_policy(checkpoint, dtype="int3"),
        "device 'abacus' is unknown": lambda: load_policy(checkpoint, device="abacus"),
    }
    for words, action in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            action()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", None, "the weights of model"),
        ("model.safetensors", b"", "the weights of model"),
        ("model.safetensors", b"{}" * 500, "the weights of model"),
        ("config.json", b"[1, 2]", "cannot be read"),
        ("config.json", b"[" * 100_000, "cannot be read"),
        ("config.json", b"{", "check model.path"),
    ],
)
def test_damaged_files_are_one_line(
    checkpoint: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    if content is None:  # as when a download was cut off
        os.truncate(model / name, (model / name).stat().st_size // 2)
    else:
        (model / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as told:
        load_policy(model)
    assert str(model) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("model_type", ["qwen3_5_text", "never_heard_of", None])
def test_a_model_that_reads_no_images_is_refused(tmp_path: Path, model_type: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(InputError, match=f"{model_type}', which is no image-text") as caught:
        load_policy(tmp_path)
    message = str(caught.value)
    assert "\n" not in message and "docs/families.md" in message
    assert (Path(__file__).parents[2] / "docs" / "families.md").is_file()


def test_a_model_that_cannot_share_its_prompt_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_tiny(tmp_path, "qwen3_5")
    policy = load_policy(tmp_path)
    encode(policy, random_sample(64, 48), "the lamp")
    (record,) = [r for r in caplog.records if r.name == "syngrpo.policy.loading"]
    assert "cannot share" in record.message and "linear_attention" in record.message
    assert not policy.shares_prefix
    assert "shared_prefix" not in policy.base.config.text_config._attn_implementation


def test_elongated_and_truncated_images_are_refused(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    line = EncodedImage.from_pixels(np.zeros((2, 500, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="sample s is 500x2"):
        encode(policy, Sample("s", "rec", line, "q", None, ()), "q")
    whole = EncodedImage.from_pixels(random_image(64, 64)).read()
    cut = EncodedImage(64, 64, data=whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be decoded"):
        encode(policy, Sample("s", "rec", cut, "q", None, ()), "q")


def test_large_models_compute_their_activations_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def checkpoints(**options: bool) -> bool:
        return any(
            getattr(module, "gradient_checkpointing", False)
            for module in load_policy(STARTER_DIR, **options).model.modules()
        )

    assert not checkpoints()
    assert checkpoints(gradient_checkpointing=True)
    monkeypatch.setattr(loading, "LARGE", 3_000_000)
    assert checkpoints()
    assert not checkpoints(gradient_checkpointing=False)
