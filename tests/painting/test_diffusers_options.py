"""What is settled before a model is loaded: options, sizes, masks, fingerprints."""

import importlib.metadata
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import OutOfMemory
from syngrpo.painting.generators.diffusers_generator import DiffusersGenerator
from syngrpo.painting.generators.diffusers_options import PRESETS, DiffusersOptions, plan
from syngrpo.painting.generators.sizes import (
    SizeRule,
    fitted_image,
    padded_to_multiple,
    repaint_mask,
    working_size,
)
from syngrpo.sample import InputError

SIDES = st.integers(16, 6000)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Files as a model has them; nothing loads them here."""
    folder = tmp_path / "tiny"
    (folder / "vae").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "vae" / "config.json").write_text('{"latent_channels": 4}')
    (folder / "vae" / "weights.safetensors").write_bytes(bytes(300_000))
    return folder


@settings(deadline=None, max_examples=50)
@given(SIDES, SIDES, st.sampled_from([8, 16, 32]))
def test_no_pipeline_has_to_resize(width: int, height: int, multiple: int) -> None:
    size = working_size((width, height), SizeRule(multiple=multiple))
    assert size[0] % multiple == size[1] % multiple == 0
    # What Flux2KleinInpaintPipeline shrinks: see its __call__, "raw_h * raw_w > 1024 * 1024".
    assert size[0] * size[1] <= 1024 * 1024


@settings(deadline=None, max_examples=50)
@given(st.integers(100, 4000), st.integers(100, 4000))
def test_the_aspect_ratio_stays(width: int, height: int) -> None:
    if not 0.5 <= width / height <= 2:
        return
    painted = working_size((width, height), SizeRule(multiple=16))
    assert painted[0] / painted[1] == pytest.approx(width / height, rel=0.06)
    assert painted[0] * painted[1] >= 0.93 * 512 * 512


def test_small_pictures_grow_large_ones_shrink_others_stay() -> None:
    rule = SizeRule(multiple=16)
    assert working_size((128, 128), rule) == (512, 512)
    assert working_size((640, 480), rule) == (640, 480)
    assert working_size((641, 479), rule) == (640, 480)
    assert working_size((4000, 3000), rule) == (1184, 880)


@pytest.mark.parametrize("longest", [300, 100, 16, 3])
def test_a_limit_on_the_side_is_stronger_than_the_least_area(longest: int) -> None:
    size = working_size((640, 480), SizeRule(multiple=16), longest)
    assert max(size) <= max(longest, 16)
    assert min(size) >= 16


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(64, 48), (32, 96), (128, 80)]))
def test_only_whole_cells_of_kept_pixels_are_kept(seed: int, size: tuple[int, int]) -> None:
    keep = np.ones((size[1], size[0]), dtype=bool)
    for row, column in np.random.default_rng(seed).integers(0, min(size), (4, 2)):
        keep[row, column] = False
    mask = np.asarray(repaint_mask(keep, size, 16))
    assert set(np.unique(mask)) <= {0, 255}
    for top in range(0, size[1], 16):
        for left in range(0, size[0], 16):
            cell = np.s_[top : top + 16, left : left + 16]
            assert (mask[cell] == (0 if keep[cell].all() else 255)).all()


def test_a_mask_of_another_size_never_keeps_erased_pixels() -> None:
    keep = np.zeros((50, 70), dtype=bool)
    keep[10:40, 20:60] = True
    painted_size = (160, 112)
    mask = np.asarray(repaint_mask(keep, painted_size, 16))
    erased = np.where(keep[..., None], np.uint8(255), np.uint8([127, 127, 127]))
    shown = np.asarray(fitted_image(erased, painted_size))
    assert (mask == 0).any()
    assert (shown[mask == 0] > 250).all()


def test_padding_repeats_the_border() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    padded = padded_to_multiple(image, 4)
    assert padded.shape == (8, 8, 3)
    assert (padded[:5, :7] == image).all()
    assert (padded[5:, :7] == image[-1]).all()
    assert padded_to_multiple(padded, 4).shape == padded.shape


def test_the_default_is_klein_and_options_go_before_presets() -> None:
    assert plan(DiffusersOptions()).preset == PRESETS["flux2-klein"]
    chosen = plan(DiffusersOptions(preset="sdxl-inpaint", steps=7, guidance=2.0, strength=0.5))
    assert (chosen.preset.steps, chosen.preset.guidance, chosen.preset.strength) == (7, 2.0, 0.5)
    assert chosen.preset.negative_prompt == PRESETS["sdxl-inpaint"].negative_prompt


def test_a_lightning_lora_brings_its_steps_and_guidance() -> None:
    options = DiffusersOptions(preset="qwen-image-inpaint", lora="x.safetensors")
    assert (plan(options).preset.steps, plan(options).preset.guidance) == (8, 1.0)
    assert plan(replace(options, steps=4)).preset.steps == 4
    assert plan(replace(options, lora=None)).preset.steps == 50


def test_guidance_has_the_name_that_the_class_uses() -> None:
    def name(pipeline: str) -> str:
        options = DiffusersOptions(pipeline=pipeline, model="x/y", guidance=7.0)
        return plan(options).preset.guidance_name

    assert name("QwenImageEditInpaintPipeline") == "true_cfg_scale"
    assert name("FluxInpaintPipeline") == "guidance_scale"  # it takes both


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "flux3"}, "flux2-klein, z-image-turbo"),
        ({"preset": "flux2-klein", "pipeline": "X", "model": "y"}, "exclude"),
        ({"pipeline": "FluxFillPipeline"}, "needs a model"),
        ({"negative_prompt": "cats"}, "does not take a negative prompt"),
        (
            {"preset": "sdxl-inpaint", "negative_prompt": "cats", "guidance": 1.0},
            "negative_prompt has no effect with guidance 1; raise guidance above 1",
        ),
        (
            {"preset": "qwen-image-inpaint", "negative_prompt": "cats", "lora": "x.safetensors"},
            "negative_prompt has no effect with guidance 1",
        ),
        ({"steps": 0}, "option steps of"),
        ({"strength": 0.0}, "option strength of"),
        ({"dtype": "int8"}, "option dtype of"),
        ({"min_pixels": 10, "max_pixels": 9}, "min_pixels 10"),
        ({"model": "/no/such/model"}, "/no/such/model does not exist"),
        ({"model": "./no/such"}, "does not exist"),
        ({"lora": "/no/such/lora"}, "LoRA /no/such/lora"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as raised:
        make_generator("diffusers", options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_the_hub_does_not_give_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^image model nobody/nothing is neither .*directory$"):
        DiffusersGenerator(model="nobody/nothing")


def test_a_directory_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no model_index\.json"):
        DiffusersGenerator(model=str(tmp_path))


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(InputError, match=r'pip install "syngrpo\[diffusers\]"'):
        DiffusersGenerator(model=str(model))


def test_fingerprints_tell_apart_whatever_changes_pictures(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.42.1")
    lora = tmp_path / "light.safetensors"
    lora.write_bytes(b"lora")
    base = {"preset": "qwen-image-inpaint", "model": str(model)}
    fingerprint = DiffusersGenerator(**base).fingerprint
    assert fingerprint.startswith("diffusers/qwen-image-inpaint/tiny@")
    other = [
        {"preset": "sdxl-inpaint"},
        {"steps": 3},
        {"guidance": 2.0},
        {"strength": 0.9},
        {"negative_prompt": "cats"},
        {"min_pixels": 7},
        {"max_pixels": 1 << 19},
        {"dtype": "float32"},
        {"lora": str(lora)},
        {"lora": str(lora), "steps": 50, "guidance": 4.0},
    ]
    prints = [fingerprint, *(DiffusersGenerator(**base | more).fingerprint for more in other)]
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.43.0")
    prints.append(DiffusersGenerator(**base).fingerprint)
    assert len(set(prints)) == len(prints)


def test_fingerprints_do_not_tell_apart_what_does_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.42.1")
    base = {"model": str(model)}
    elsewhere = shutil.copytree(model, tmp_path / "other" / "tiny")
    (elsewhere / "README.md").write_text("words")
    same = [
        {"model": str(elsewhere)},
        {"device": "cuda", "cpu_offload": True},
        {"steps": 4},
    ]
    prints = {DiffusersGenerator(**base | more).fingerprint for more in same}
    assert prints == {DiffusersGenerator(**base).fingerprint}


@pytest.mark.parametrize("offset", [10, 150_100, 299_990])
def test_other_weights_of_the_same_shape_are_another_model(
    model: Path, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.42.1")
    before = DiffusersGenerator(model=str(model)).fingerprint
    with (model / "vae" / "weights.safetensors").open("r+b") as file:
        file.seek(offset)
        file.write(b"x")
    assert DiffusersGenerator(model=str(model)).fingerprint != before


def test_nothing_heavy_is_imported_before_a_model_is_loaded(model: Path) -> None:
    pytest.importorskip("diffusers")
    program = (
        "import sys\n"
        "from syngrpo.painting.generators import make_generator\n"
        "print(make_generator('diffusers', {'model': sys.argv[1]}).fingerprint)\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("diffusers/flux2-klein/tiny@")


def test_running_out_of_memory_says_with_which_size_and_travels() -> None:
    error = pickle.loads(pickle.dumps(OutOfMemory((640, 480))))
    assert error.size == (640, 480)
    assert "640x480" in str(error)
