"""Real classes of diffusers with tiny random weights: LoRA, what cannot be loaded or painted, and
the round trip through the autoencoder."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason='needs pip install "syngrpo[diffusers]"')

from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_diffusers import (
    FAST,
    HEIGHT,
    WIDTH,
    TinyModels,
    asked,
    difference,
    spied,
    stable_diffusion_3,
)

from syngrpo.painting.compositing import composite
from syngrpo.painting.generators.base import OutOfMemory
from syngrpo.painting.generators.diffusers_generator import DiffusersGenerator
from syngrpo.painting.generators.diffusers_options import PRESETS
from syngrpo.sample import InputError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("models"))


@pytest.fixture(params=PRESETS)
def generator(request: Any, models: TinyModels) -> DiffusersGenerator:
    return models.generator(request.param)


def test_a_lightning_lora_paints_in_eight_steps_without_guidance(
    models: TinyModels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lora = save_lora(models.generator("qwen-image-inpaint"), tmp_path / "with")
    generator = models.fresh("qwen-image-inpaint", steps=None, lora=str(lora))
    pipeline = generator.loaded().pipeline
    forward = spied(monkeypatch, pipeline.transformer, "forward")
    (picture,) = generator.generate([asked()])
    assert len(forward.given) == 8
    assert pipeline.scheduler.config.shift_terminal is None
    assert pipeline.scheduler.config.base_shift == pytest.approx(np.log(3))
    pipeline.disable_lora()
    assert difference(generator.generate([asked()])[0], picture).max() > 0


def test_a_lora_for_another_model_is_refused(
    models: TinyModels,
    tmp_path: Path,
) -> None:
    lora = save_lora(models.generator("qwen-image-inpaint"), tmp_path, prefix="text_model")
    with pytest.raises(InputError, match="has no weights for QwenImageInpaintPipeline"):
        models.fresh("qwen-image-inpaint", lora=str(lora)).load()


def save_lora(generator: DiffusersGenerator, folder: Path, prefix: str = "transformer") -> Path:
    transformer = copy.deepcopy(generator.loaded().pipeline.transformer)
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    transformer.add_adapter(config)
    state = get_peft_model_state_dict(transformer)
    folder.mkdir(exist_ok=True)
    path = folder / "pytorch_lora_weights.safetensors"
    save_file({f"{prefix}.{name}": value.contiguous() for name, value in state.items()}, path)
    return path


def test_any_inpainting_class_can_be_named(models: TinyModels) -> None:
    generator = DiffusersGenerator(
        pipeline="StableDiffusionXLInpaintPipeline",
        model=str(models.folder("sdxl-inpaint")),
        steps=2,
        **FAST,
    )
    (picture,) = generator.generate([asked()])
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert generator.fingerprint.startswith("diffusers/StableDiffusionXLInpaintPipeline/")


@pytest.mark.parametrize(
    ("pipeline", "settings", "words"),
    [
        ("NoSuchPipeline", {}, "has no pipeline 'NoSuchPipeline'"),
        ("StableDiffusionXLPipeline", {}, "takes no image"),
        ("ZImageInpaintPipeline", {}, "cannot be loaded as ZImageInpaintPipeline"),
        ("Flux2KleinInpaintPipeline", {"negative_prompt": "x"}, "takes no negative_prompt"),
        ("StableDiffusionXLInpaintPipeline", {"device": "tpu9"}, "device 'tpu9' is unknown"),
        ("StableDiffusionXLInpaintPipeline", {"cpu_offload": True}, "needs an accelerator"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    pipeline: str, settings: dict[str, Any], words: str, models: TinyModels
) -> None:
    options = {**FAST, "model": str(models.folder("sdxl-inpaint")), **settings}
    with pytest.raises(InputError) as raised:
        DiffusersGenerator(pipeline=pipeline, **options).load()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_klein_that_was_not_distilled_needs_its_own_steps(
    models: TinyModels, tmp_path: Path
) -> None:
    base = shutil.copytree(models.folder("flux2-klein"), tmp_path / "base")
    index = base / "model_index.json"
    index.write_text(index.read_text().replace('"is_distilled": true', '"is_distilled": false'))
    with pytest.raises(InputError, match="not distilled; set steps"):
        models.fresh("flux2-klein", model=str(base)).load()
    models.fresh("flux2-klein", model=str(base), steps=50, guidance=4.0).load()


@pytest.fixture
def broken(models: TinyModels) -> Iterator[DiffusersGenerator]:
    """Its autoencoder paints no numbers."""
    generator = models.generator("z-image-turbo")
    bias = generator.loaded().pipeline.vae.decoder.conv_out.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(float("nan"))
    yield generator
    with torch.no_grad():
        bias.copy_(kept)


def test_pixels_that_are_not_numbers_are_an_error(broken: DiffusersGenerator) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        broken.generate([asked()])
    with pytest.raises(ValueError, match="NaN or infinite"):
        broken.round_trip(asked().image)


def test_a_picture_that_a_safety_checker_blackened_is_an_error(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.generator("sdxl-inpaint")
    black = SimpleNamespace(images=np.zeros((1, 64, 96, 3)), nsfw_content_detected=[True])
    monkeypatch.setattr(generator.loaded(), "pipeline", lambda **arguments: black)
    with pytest.raises(ValueError, match="safety checker"):
        generator.generate([asked()])


def test_a_pipeline_that_chooses_its_size_is_told_and_cannot_be_limited(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generator = models.generator("sdxl-inpaint")
    assert generator.limit_side(4096)
    painted = SimpleNamespace(images=np.zeros((1, 320, 480, 3)))
    monkeypatch.setattr(generator.loaded(), "pipeline", lambda **arguments: painted)
    for _ in range(2):
        assert generator.generate([asked()])[0].shape == (320, 480, 3)
    (line,) = [one for one in caplog.messages if "chooses the size" in one]
    assert "paints 480 x 320 pixels where" in line
    assert not generator.limit_side(512)


@pytest.mark.parametrize("wanted", [(640, 427), (500, 375)])
def test_stable_diffusion_3_gets_sides_that_it_can_paint(
    tmp_path: Path, wanted: tuple[int, int]
) -> None:
    generator = stable_diffusion_3(tmp_path / "model")
    width, height = generator.size_for(wanted)
    with pytest.raises(ValueError, match="strength") as raised:  # checked after the size
        generator.loaded().pipeline.check_inputs("", None, None, height, width, 2.0)
    assert "divisible" not in str(raised.value)


def short_of_memory(
    monkeypatch: pytest.MonkeyPatch, generator: DiffusersGenerator, pixels: int
) -> None:
    """Decoding more than that many pixels fails as on a full device."""
    vae = generator.loaded().pipeline.vae
    decode = vae.decode

    def small(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if latents.shape[-2] * latents.shape[-1] * 64 > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents, *args, **kwargs)

    monkeypatch.setattr(vae, "decode", small)


def test_too_little_memory_is_told_and_a_limit_helps(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.fresh("z-image-turbo")
    short_of_memory(monkeypatch, generator, 64 * 48)
    with pytest.raises(OutOfMemory) as raised:
        generator.generate([asked()])
    assert raised.value.size == (WIDTH, HEIGHT)
    assert raised.value.__context__ is None  # whose frames would hold on to the memory
    generator.limit_side(64)
    (picture,) = generator.generate([asked()])
    assert picture.shape == (48, 64, 3)


def test_too_little_memory_for_a_round_trip_is_told_and_a_limit_helps(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.fresh("z-image-turbo")
    short_of_memory(monkeypatch, generator, 64 * 48)
    image = asked(size=(1200, 900)).image  # round trips do not have the size of a painted picture
    with pytest.raises(OutOfMemory) as raised:
        generator.round_trip(image)
    assert raised.value.size == (1200, 900)
    generator.limit_side(64)
    assert generator.round_trip(image).shape == (48, 64, 3)


def test_a_round_trip_is_what_the_autoencoder_makes_of_it(generator: DiffusersGenerator) -> None:
    vae = generator.loaded().pipeline.vae
    image = asked(size=(96, 64)).image
    through = generator.round_trip(image)
    tensor = torch.from_numpy(image).float().permute(2, 0, 1)[None] / 255
    film = tensor[:, :, None] if vae.__class__.__name__ == "AutoencoderKLQwenImage" else tensor
    with torch.no_grad():
        expected = vae(film * 2 - 1, sample_posterior=False).sample
    expected = (expected.reshape(tensor.shape) / 2 + 0.5).clamp(0, 1) * 255
    assert difference(through, expected[0].permute(1, 2, 0).numpy().round()).max() <= 1


def test_a_round_trip_keeps_any_size(generator: DiffusersGenerator) -> None:
    request = asked(size=(83, 61))
    through = generator.round_trip(request.image)
    assert through.shape == request.image.shape
    assert through.dtype == np.uint8
    (painted,) = generator.generate([request])
    assert composite(through, painted, request.keep, feather=2).shape == request.image.shape
