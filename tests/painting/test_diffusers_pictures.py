"""Every preset through the real classes of diffusers, with tiny random weights: what is painted."""

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason='needs pip install "syngrpo[diffusers]"')

from tiny_diffusers import HEIGHT, WIDTH, TinyModels, asked, difference, spied

from syngrpo.painting.generators.diffusers_generator import DiffusersGenerator
from syngrpo.painting.generators.diffusers_options import PRESETS

BLENDING = ("flux2-klein", "z-image-turbo", "qwen-image-inpaint")
"""Pipelines that put the kept latents back after every step."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("models"))


@pytest.fixture(params=PRESETS)
def generator(request: Any, models: TinyModels) -> DiffusersGenerator:
    return models.generator(request.param)


def test_a_picture_is_bytes_in_the_size_that_was_announced(generator: DiffusersGenerator) -> None:
    (picture,) = generator.generate([asked(size=(83, 61))])
    width, height = generator.size_for((83, 61))
    assert picture.dtype == np.uint8
    assert picture.shape == (height, width, 3)
    assert width % generator.loaded().cell == height % generator.loaded().cell == 0
    assert picture.std() > 1


def test_too_large_a_picture_is_painted_smaller(generator: DiffusersGenerator) -> None:
    (picture,) = generator.generate([asked(size=(300, 200))])
    assert picture.shape[0] * picture.shape[1] <= WIDTH * HEIGHT


@pytest.mark.parametrize("preset", BLENDING)
def test_what_is_kept_is_not_painted(preset: str, models: TinyModels) -> None:
    """With everything kept there is nothing to paint: the result is the given picture, through the
    autoencoder. A mask of the wrong polarity would give noise here."""
    generator = models.generator(preset)
    everything = asked(keep=np.ones((HEIGHT, WIDTH), dtype=bool))
    nothing = asked(keep=np.zeros((HEIGHT, WIDTH), dtype=bool))
    kept, painted = generator.generate([everything, nothing])
    through = generator.round_trip(everything.image)
    assert difference(kept, through).max() <= 1
    assert difference(painted, generator.round_trip(nothing.image)).mean() > 5


def test_the_mask_that_arrives_is_white_where_it_paints(
    generator: DiffusersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = generator.loaded()
    preprocess = spied(monkeypatch, loaded.pipeline.mask_processor, "preprocess")
    prepare = spied(monkeypatch, loaded.pipeline, "prepare_mask_latents")
    keep = np.zeros((HEIGHT, WIDTH), dtype=bool)
    keep[16:48, 32:72] = True  # of cells of 16 pixels the last column is kept by half
    generator.generate([asked(keep=keep)])
    mask = preprocess.returned[0][0, 0].numpy()
    expected = np.ones((HEIGHT, WIDTH))
    expected[16:48, 32 : 72 // loaded.cell * loaded.cell] = 0
    assert (mask == expected).all()
    latent = as_cells(prepare.returned[0], WIDTH // loaded.cell, HEIGHT // loaded.cell)
    assert (latent == expected[:: loaded.cell, :: loaded.cell]).all()


def as_cells(prepared: Any, columns: int, rows: int) -> np.ndarray:
    """The mask that multiplies the latents, one value per cell, whatever the pipeline packs."""
    mask = prepared[0] if isinstance(prepared, tuple) else prepared
    if mask.ndim == 3:  # (batch, cells, values of one cell)
        cells = mask[0].reshape(rows, columns, -1)
    else:  # (batch, 1, latent rows, latent columns)
        high, wide = mask.shape[-2] // rows, mask.shape[-1] // columns
        cells = mask[0, 0].reshape(rows, high, columns, wide).permute(0, 2, 1, 3).flatten(2)
    assert (cells == cells[..., :1]).all()
    return cells[..., 0].float().numpy()


def test_the_unet_of_sdxl_sees_the_mask_and_only_kept_pixels(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.generator("sdxl-inpaint")
    prepare = spied(monkeypatch, generator.loaded().pipeline, "prepare_mask_latents")
    unet = spied(monkeypatch, generator.loaded().pipeline.unet, "forward")
    request = asked(keep=np.pad(np.ones((32, 32), dtype=bool), ((16, 16), (32, 32))))
    generator.generate([request])
    mask, masked = prepare.given[0][0][:2]
    shown = torch.from_numpy(request.image).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(masked, torch.where(mask < 0.5, shown, 0.0), atol=1e-6)
    assert (unet.given[0][0][0][:, 4] == prepare.returned[0][0][:, 0]).all()


def test_klein_is_shown_the_erased_picture_as_reference(
    models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.generator("flux2-klein")
    pipeline = generator.loaded().pipeline
    encode = spied(monkeypatch, pipeline, "_encode_vae_image")
    request = asked()
    generator.generate([request])
    shown = torch.from_numpy(request.image).permute(2, 0, 1)[None] / 127.5 - 1
    assert len(encode.given) == 1
    assert torch.allclose(encode.given[0][1]["image"], shown, atol=1e-6)


def test_no_pipeline_crops_or_pastes(
    generator: DiffusersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = generator.loaded().pipeline
    overlay = spied(monkeypatch, pipeline.image_processor, "apply_overlay")
    crop = spied(monkeypatch, pipeline.mask_processor, "get_crop_region")
    (picture,) = generator.generate([asked()])
    assert picture.std() > 1
    assert not overlay.given
    assert not crop.given


def test_prompts_arrive_as_they_are(
    generator: DiffusersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = generator.loaded().pipeline
    prompts = ["  A red room, {wide}; Ünïcode 椅子 (old:1.4)", "second"]
    seen: list[list[str]] = []
    encode = pipeline.encode_prompt

    def noting(*args: Any, **kwargs: Any) -> Any:
        seen.append(list(kwargs["prompt"]))
        return encode(*args, **kwargs)

    monkeypatch.setattr(pipeline, "encode_prompt", noting)
    requests = [asked(prompt=prompt) for prompt in prompts]
    generator.generate(requests)
    assert [prompt for call in seen for prompt in call if prompt.strip()] == prompts
    assert [request.prompt for request in requests] == prompts


@pytest.mark.parametrize("preset", ["sdxl-inpaint", "qwen-image-inpaint"])
def test_negative_prompts_change_the_picture_where_they_can(
    preset: str,
    models: TinyModels,
) -> None:
    other = models.fresh(preset, negative_prompt="zebra stripes everywhere")
    (with_preset,) = models.generator(preset).generate([asked()])
    (with_zebra,) = other.generate([asked()])
    assert difference(with_preset, with_zebra).max() > 0


def test_the_seed_decides(generator: DiffusersGenerator) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (generator.generate([asked(seed)])[0] for seed in (7, 7, 8))
    assert (first == again).all()
    assert difference(first, other).mean() > 1
    assert (torch.random.get_rng_state() == before).all()


def test_other_requests_of_a_call_change_nothing(generator: DiffusersGenerator) -> None:
    requests = [
        asked(1, "a red room"),
        asked(2, "a garden with a long wall and much more besides", size=(48, 64)),
        asked(3, "sea"),
    ]
    together = generator.generate(requests)
    for request, picture in zip(requests, together, strict=True):
        assert (generator.generate([request])[0] == picture).all()


@pytest.mark.parametrize(
    ("preset", "steps"), [("flux2-klein", 4), ("z-image-turbo", 8), ("sdxl-inpaint", 19)]
)
def test_as_many_steps_as_the_model_was_made_for(
    preset: str, steps: int, models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = models.fresh(preset, steps=None)
    pipeline = generator.loaded().pipeline
    network = pipeline.unet if preset == "sdxl-inpaint" else pipeline.transformer
    forward = spied(monkeypatch, network, "forward")
    generator.generate([asked()])
    assert len(forward.given) == steps  # guidance of SDXL doubles the batch, not the calls
