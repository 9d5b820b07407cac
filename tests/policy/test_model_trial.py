"""Models that are called whole: what cannot work is refused when the model is loaded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_generic import save_generic
from tiny_models import random_sample
from transformers import SmolVLMVideoProcessor

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.sample import InputError

TEMPLATE = "chat_template.jinja"


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    return save_generic(tmp_path / "gemma", "gemma3")


def refusal(directory: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_policy(directory, coordinates="0-1000")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_chat_template(gemma: Path) -> None:
    (gemma / TEMPLATE).unlink()
    assert "has no chat template; use its instruction-tuned version" in refusal(gemma)


def test_a_template_without_a_place_for_images(gemma: Path) -> None:
    text = (gemma / TEMPLATE).read_text(encoding="utf-8")
    (gemma / TEMPLATE).write_text(text.replace("<start_of_image>", ""), encoding="utf-8")
    said = refusal(gemma)
    assert "the model's processor refuses the image" in said
    # transformers 5.17 says it in other words than later versions.
    assert "the same as the number of images" in said or "0 image tokens" in said


def test_a_template_that_takes_text_alone(gemma: Path) -> None:
    (gemma / TEMPLATE).write_text(
        "{% for m in messages %}{{ '<s>' + m['content'] }}{% endfor %}", encoding="utf-8"
    )
    assert "takes no image and text" in refusal(gemma)


def test_dropout(gemma: Path) -> None:
    config = json.loads((gemma / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["attention_dropout"] = 0.5
    (gemma / "config.json").write_text(json.dumps(config), encoding="utf-8")
    message = refusal(gemma)
    assert "(gemma3) cannot be trained (in a padded batch its logits" in message
    assert "write a family for it (docs/families.md)" in message


def test_an_error_of_the_model_itself(gemma: Path) -> None:
    config = json.loads((gemma / "config.json").read_text(encoding="utf-8"))
    config["mm_tokens_per_image"] = 16  # where the processor makes 4
    (gemma / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "Image features and image tokens do not match" in refusal(gemma)


def test_a_package_that_the_processor_needs(tmp_path: Path) -> None:
    if find_spec("num2words") is not None:
        pytest.skip("num2words is installed")
    save_generic(tmp_path, "smolvlm")
    SmolVLMVideoProcessor().save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["processor_class"] = "SmolVLMProcessor"
    file.write_text(json.dumps(config), encoding="utf-8")
    assert "num2words" in refusal(tmp_path)


def test_a_family_of_ones_own(gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_families.py").write_text(
        "from syngrpo.policy.families.generic import GenericFamily\n\n"
        "class MyGemma(GenericFamily):\n"
        "    name = 'my gemma'\n"
        "    coordinates = '0-1'\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    policy = load_policy(gemma, family="my_families:MyGemma")
    frame = encode(policy, random_sample(64, 48), "the lamp").frame
    assert policy.family.name == "my gemma" and (frame.width, frame.height) == (1.0, 1.0)
    with pytest.raises(InputError, match="family 'gemma' is unknown; use one of qwen2_vl"):
        load_policy(gemma, family="gemma")
