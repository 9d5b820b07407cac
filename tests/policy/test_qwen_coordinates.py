"""Coordinates of every family against what the processor's own resize does to a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_families import TINY, save_tiny

from syngrpo.policy.encode import Prompt, encode
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.sample import EncodedImage, Sample

ODD_SIZES = (
    (37, 41),
    (101, 333),
    (640, 427),
    (427, 640),
    (1023, 57),
    (23, 200),
    (333, 333),
    (511, 97),
    (29, 31),
    (1280, 719),
)
RELATIVE = {"qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"}


@pytest.fixture(scope="module", params=[name for name in TINY if " " not in name])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    directory: Path = save_tiny(tmp_path_factory.mktemp("tiny"), request.param)
    return load_policy(directory)


def marked(width: int, height: int, box: tuple[int, int, int, int]) -> Sample:
    """A black image with one white box."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Sample("marked", "rec", EncodedImage.from_pixels(pixels), "q", None, ())


def resized(policy: Policy, prompt: Prompt) -> torch.Tensor:
    """The picture the vision tower sees, (height, width), black 0 and white 1."""
    processor = policy.processor.image_processor
    patch, merge = processor.patch_size, processor.merge_size
    time, rows, columns = prompt.image["image_grid_thw"][0].tolist()
    assert time == 1
    frames = processor.temporal_patch_size  # a still picture is repeated
    parts = pixel_values(policy, [prompt]).reshape(
        rows // merge, columns // merge, merge, merge, 3, frames, patch, patch
    )
    picture = parts[..., 0, 0, :, :].permute(0, 2, 4, 1, 3, 5)
    picture = picture.reshape(rows * patch, columns * patch)
    mean, std = processor.image_mean[0], processor.image_std[0]
    return picture * std + mean


def edges(profile: torch.Tensor) -> tuple[float, float]:
    """Where a bar of height 1 begins and ends, from its mass and its centre."""
    mass = float(profile.sum())
    centre = float((profile * (torch.arange(len(profile)) + 0.5)).sum()) / mass
    return centre - mass / 2, centre + mass / 2


@pytest.mark.parametrize(("width", "height"), ODD_SIZES)
def test_frames_agree_with_the_processors_resize(policy: Policy, width: int, height: int) -> None:
    rng = np.random.default_rng(width)
    x1, y1 = int(rng.integers(1, width // 3)), int(rng.integers(1, height // 3))
    x2, y2 = int(rng.integers(width // 2, width - 1)), int(rng.integers(height // 2, height - 1))
    prompt = encode(policy, marked(width, height, (x1, y1, x2, y2)), "q")
    picture = resized(policy, prompt)
    tall, wide = picture.shape
    left, right = edges(picture[round((y1 + y2) / 2 * tall / height)])
    top, bottom = edges(picture[:, round((x1 + x2) / 2 * wide / width)])
    seen = np.array([left, top, right, bottom])

    written = np.array(prompt.frame.to_model((x1, y1, x2, y2)))
    relative = policy.base.config.model_type in RELATIVE
    units = np.array([1000.0] * 4 if relative else [wide, tall] * 2)
    in_picture = written / units * np.array([wide, tall] * 2)
    assert np.abs(in_picture - seen).max() < 0.5
    back = np.array(prompt.frame.to_original(tuple(seen * units / np.array([wide, tall] * 2))))
    half = 0.5 * np.maximum(1.0, np.array([width / wide, height / tall] * 2))
    assert (np.abs(back - (x1, y1, x2, y2)) < half).all()
    again = prompt.frame.to_original(prompt.frame.to_model((x1, y1, x2, y2)))
    assert again == pytest.approx((x1, y1, x2, y2), abs=1e-9)


@pytest.mark.parametrize("height", [1, 3, 4])
def test_a_few_rows_are_not_taken_for_channels(policy: Policy, height: int) -> None:
    picture = resized(policy, encode(policy, marked(120, height, (0, 0, 60, height)), "q"))
    tall, wide = picture.shape
    assert wide > tall
    assert picture[:, : wide // 2 - 4].min() > 0.9 and picture[:, wide // 2 + 4 :].max() < 0.1


def test_units_are_those_of_the_family(policy: Policy) -> None:
    prompt = encode(policy, marked(333, 211, (10, 20, 200, 100)), "q")
    tall, wide = resized(policy, prompt).shape
    name = policy.base.config.model_type
    expected = (1000.0, 1000.0) if name in RELATIVE else (float(wide), float(tall))
    assert (prompt.frame.width, prompt.frame.height) == expected
    assert (prompt.frame.original_width, prompt.frame.original_height) == (333, 211)
    corners = prompt.frame.to_model((0.0, 0.0, 333.0, 211.0))
    assert corners == pytest.approx((0.0, 0.0, *expected))


def test_patch_and_merge_size_come_from_the_processor(policy: Policy) -> None:
    processor = policy.processor.image_processor
    assert processor.patch_size == TINY[policy.base.config.model_type].patch
    assert processor.patch_size == policy.base.config.vision_config.patch_size
    prompt = encode(policy, marked(333, 211, (10, 20, 200, 100)), "q")
    tall, wide = resized(policy, prompt).shape
    factor = processor.patch_size * processor.merge_size
    assert tall % factor == wide % factor == 0
    assert abs(tall - 211) <= factor and abs(wide - 333) <= factor
