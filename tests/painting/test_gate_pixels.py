import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from syngrpo.painting.compositing import composite, erase_background, keep_mask
from syngrpo.painting.gate import Gate, GateThresholds, hash_distance, perceptual_hash
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import parse_description, random_description
from syngrpo_rooms.scenes import sample_scene
from syngrpo_rooms.surroundings import Surroundings

SAMPLES = rooms_samples("train", 40)
PARENT = SAMPLES[0].image.decode()
KEEP = keep_mask(SAMPLES[0])
BOXES = [thing.box for thing in SAMPLES[0].objects]


def painted(description: str, seed: int, index: int = 0) -> np.ndarray:
    sample = SAMPLES[index]
    original, keep = sample.image.decode(), keep_mask(sample)
    erased = erase_background(original, keep)
    request = GenerationRequest(erased, keep, description, seed, (keep.shape[1], keep.shape[0]))
    return composite(original, make_generator("rooms").generate([request])[0], keep, 1)


HONEST = painted("checked purple walls, black stone floor", 1)


def with_noise(image: np.ndarray, level: int) -> np.ndarray:
    shift = np.random.default_rng(0).integers(-level, level + 1, image.shape)
    noisy = np.clip(image + shift, 0, 255).astype(np.uint8)
    return np.where(KEEP[..., None], image, noisy)


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return np.asarray(Image.open(buffer).convert("RGB"))


def one_pixel_off(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    row, column = np.argwhere(KEEP)[0]
    changed[row, column, 1] ^= 1
    return changed


def test_an_honest_child_is_admitted_with_every_score() -> None:
    result = Gate().check(PARENT, HONEST, KEEP, [perceptual_hash(PARENT, KEEP)], BOXES)
    assert result.admitted
    assert set(result.scores) == {
        "same_size",
        "boxes_outside",
        "kept_difference",
        "background",
        "change",
        "distance_parent",
        "distance_sibling",
    }


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        (HONEST[:, :-1], "size"),
        (one_pixel_off(HONEST), "kept_pixels"),
        (jpeg(HONEST), "kept_pixels"),
        (np.roll(HONEST, 1, axis=1), "kept_pixels"),
        (PARENT, "background_unchanged"),
        (with_noise(PARENT, 3), "background_unchanged"),
        (with_noise(PARENT, 12), "near_duplicate"),
    ],
)
def test_a_planted_fault_is_rejected_for_its_own_reason(child: np.ndarray, reason: str) -> None:
    result = Gate().check(PARENT, child, KEEP, [], BOXES)
    assert result.reason == reason
    assert not result.admitted


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (9, 9, 5, 20), (-1, 0, 5, 5), (0, 0, 129, 5), (0, float("nan"), 5, 5)]
)
def test_a_box_that_does_not_fit_is_rejected(box: tuple[float, float, float, float]) -> None:
    assert Gate().check(PARENT, HONEST, KEEP, [], [*BOXES, box]).reason == "box_bounds"


def test_an_object_that_fills_the_picture_leaves_nothing_to_change() -> None:
    everything = np.ones_like(KEEP)
    assert Gate().check(PARENT, PARENT, everything).reason == "background_unchanged"


def test_a_near_duplicate_of_a_sibling_is_rejected() -> None:
    sibling = perceptual_hash(HONEST, KEEP)
    blurred = np.asarray(Image.fromarray(HONEST).filter(ImageFilter.GaussianBlur(0.4)))
    copies = [HONEST, with_noise(HONEST, 6), np.where(KEEP[..., None], HONEST, blurred)]
    for copy in copies:
        result = Gate().check(PARENT, copy, KEEP, [b"\0" * 256, sibling])
        assert result.reason == "near_duplicate"
        assert result.scores["distance_sibling"] < result.scores["distance_parent"]
    other = painted("yellow brick walls, blue carpet, many red toys", 2)
    assert Gate().check(PARENT, other, KEEP, [sibling]).admitted


def test_the_hash_sees_colour_and_not_the_kept_objects() -> None:
    red, blue = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    red[..., 0], blue[..., 2] = 120, 120
    keep = np.zeros((64, 64), bool)
    assert hash_distance(perceptual_hash(red, keep), perceptual_hash(blue, keep)) > 50
    keep[20:50, 20:50] = True
    with_object = red.copy()
    with_object[keep] = 255
    assert perceptual_hash(with_object, keep) == perceptual_hash(red, keep)


def room(surroundings: Surroundings) -> tuple[str | None, ...]:
    pattern = surroundings.wall_pattern or "plain"
    floor = (surroundings.floor_colour, surroundings.floor_material)
    return (surroundings.wall_colour, pattern, *floor)


def test_honest_children_of_the_rooms_world_are_admitted() -> None:
    rng = np.random.default_rng(5)
    honest = admitted = 0
    for index, sample in enumerate(SAMPLES):
        original, keep = sample.image.decode(), keep_mask(sample)
        boxes = [thing.box for thing in sample.objects]
        scene = sample_scene("train", sample.columns["scene_seed"])
        siblings: list[bytes] = []
        seen = {room(scene.surroundings)}
        for seed in range(8):
            description = random_description(rng)
            child = painted(description, seed, index)
            result = Gate().check(original, child, keep, siblings, boxes)
            described = room(parse_description(description))
            if described not in seen:  # asking for a room that is there already is no honest case
                honest += 1
                admitted += result.admitted
            siblings.append(perceptual_hash(child, keep))
            seen.add(described)
    assert honest > 250
    assert admitted >= 0.99 * honest


def test_kept_pixels_may_differ_as_far_as_a_round_trip_is_allowed_to() -> None:
    shifted = HONEST.astype(int) + 6 * KEEP[..., None]
    child = np.clip(shifted, 0, 255).astype(np.uint8)
    result = Gate(GateThresholds(max_kept_difference=6)).check(PARENT, child, KEEP, [], BOXES)
    assert result.admitted
    assert result.scores["kept_difference"] == 6
    strict = Gate(GateThresholds(max_kept_difference=5)).check(PARENT, child, KEEP, [], BOXES)
    assert strict.reason == "kept_pixels"
