from pathlib import Path

import numpy as np
import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.boxes import encode_mask
from syngrpo.painting.compositing import (
    composite,
    default_feather,
    erase_background,
    keep_mask,
)
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo_rooms.dataset import rooms_samples

PHOTOS = Path(__file__).parents[2] / "examples" / "photos" / "photos.jsonl"


def noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def disc(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - 40) ** 2 + (columns - 50) ** 2 < 20**2


def test_the_mask_is_the_union_of_masks_and_of_boxes_without_a_mask() -> None:
    image = EncodedImage.from_pixels(noise((60, 80), 0))
    round_mask = disc(60, 80)
    things = (
        LabelledObject("a", (30, 20, 70, 60), encode_mask(round_mask)),
        LabelledObject("b", (1.2, 2, 5.5, 7)),
        LabelledObject("c", (70, 50, 90, 70)),
    )
    mask = keep_mask(Sample("s", "rec", image, "q", (1, 2, 5, 7), things))
    expected = round_mask.copy()
    expected[2:7, 1:6] = True
    expected[50:60, 70:80] = True
    assert (mask == expected).all()
    assert (keep_mask(Sample("s", "rec", image, "q", None, things), [0]) == round_mask).all()


def test_a_mask_of_another_size_is_named() -> None:
    image = EncodedImage.from_pixels(noise((60, 80), 0))
    things = (LabelledObject("cat", (0, 0, 5, 5), encode_mask(disc(80, 60))),)
    with pytest.raises(InputError, match="mask of 'cat' is 60x80, the image 80x60"):
        keep_mask(Sample("s", "rec", image, "q", None, things))


def test_nothing_of_the_old_background_is_left() -> None:
    mask = disc(96, 96)
    dark, light = noise((96, 96), 1) // 4, noise((96, 96), 2)
    light[mask] = dark[mask]
    erased = erase_background(dark, mask)
    assert (erased == erase_background(light, mask)).all()
    assert (erased[mask] == dark[mask]).all()


@pytest.mark.parametrize("feather", [0, 1, 3, 8])
def test_kept_pixels_are_exact_and_the_feather_is_outside(feather: int) -> None:
    mask = disc(96, 128)
    original, generated = noise((96, 128), 1), noise((96, 128), 2)
    result = composite(original, generated, mask, feather)
    assert (result[mask] == original[mask]).all()
    # Pillow's maximum filter says what lies within the feather; beyond it only the new is seen.
    grown = Image.fromarray(mask.astype(np.uint8))
    for _ in range(feather):
        padded = np.pad(np.asarray(grown), 1)
        near = [padded[1 + r : 97 + r, 1 + c : 129 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
        grown = Image.fromarray(np.max(near, axis=0))
    far = np.asarray(grown) == 0
    assert (result[far] == generated[far]).all()
    ring = ~far & ~mask
    assert ring.any() == (feather > 0)
    if feather > 0:
        between = (result >= np.minimum(original, generated)) & (
            result <= np.maximum(original, generated)
        )
        assert between[ring].all()
        assert (result[ring] != generated[ring]).any()


def test_the_feather_fades_with_the_distance() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    white, black = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)
    row = composite(white, black, mask, 4)[32, :, 0]
    assert (row[:32] == 255).all()
    assert (np.diff(row[31:37].astype(int)) < 0).all()
    assert (row[36:] == 0).all()


def test_another_size_is_resized_back() -> None:
    mask = disc(96, 130)
    original = noise((96, 130), 1)
    result = composite(original, np.full((48, 64, 3), 90, np.uint8), mask, 1)
    assert result.shape == original.shape
    assert (result[mask] == original[mask]).all()
    assert (result[:10] == 90).all()


def test_rooms_and_photographs_keep_every_labelled_pixel_of_what_is_stored() -> None:
    for thing in [*rooms_samples("train", 5), *read_data(PHOTOS)[:4]]:
        original, mask = thing.image.decode(), keep_mask(thing)
        feather = default_feather(thing.image.width, thing.image.height)
        result = composite(original, noise(mask.shape, 3), mask, feather)
        stored = EncodedImage.from_pixels(result).decode()
        assert (stored[mask] == original[mask]).all()
        changed = (stored[~mask] != original[~mask]).any(axis=1).mean()
        assert changed > 0.9 or mask.all()


def test_a_round_trip_takes_its_share_of_the_kept_pixels() -> None:
    mask = disc(96, 130)
    original, generated = noise((96, 130), 1), noise((96, 130), 2)

    def through(image: np.ndarray) -> np.ndarray:
        return np.clip(image.astype(int) + 40, 0, 255).astype(np.uint8)

    whole = composite(original, generated, mask, 2, through(original))
    assert (whole[mask] == through(original)[mask]).all()
    half = composite(original, generated, mask, 2, through(original), 0.5)
    middle = (through(original).astype(float) + original) / 2
    assert np.abs(half[mask] - middle[mask]).max() <= 0.5
    none = composite(original, generated, mask, 2, through(original), 0)
    assert (none == composite(original, generated, mask, 2)).all()
    # Autoencoders want sides that are multiples of 16: what they return is resized back.
    grey = np.full((96, 128, 3), 90, np.uint8)
    assert (composite(original, generated, mask, 2, grey)[mask] == 90).all()
    outside = composite(np.zeros_like(original), generated, mask, 2)
    far = (outside == generated).all(axis=2) & ~mask
    assert (whole[far] == generated[far]).all()
