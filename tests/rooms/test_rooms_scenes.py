"""Scenes and pictures: boxes are exact, a seed always gives the same scene, splits are disjoint."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, masks_to_boxes

from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples, rooms_scene
from syngrpo_rooms.room_renderer import render, render_surroundings
from syngrpo_rooms.scenes import SMALL_SIZES, sample_scene
from syngrpo_rooms.surroundings import (
    ROOMS,
    SPLITS,
    TRAIN_SURROUNDINGS,
    Surroundings,
    sample_surroundings,
)

RESERVED = ("wall_pattern", "floor_material", "light", "rug_pattern", "window", "clutter")


@pytest.mark.parametrize("size", [64, 128, 224, (200, 128), (128, 300)])
def test_boxes_are_tight_around_masks(size: int | tuple[int, int]) -> None:
    for seed in range(25):
        scene, rendered = rooms_scene("broad", seed, size)
        assert rendered.image.shape == (scene.height, scene.width, 3)
        assert rendered.image.dtype == np.uint8
        masks = torch.from_numpy(np.stack(rendered.masks))
        expected = masks_to_boxes(masks)
        expected[:, 2:] += 1  # torchvision gives the last pixel, we give its far edge
        assert torch.equal(torch.tensor(rendered.boxes), expected)
        assert masks.sum(dim=0).max() == 1  # a pixel belongs to one thing
        nominal = torch.tensor([thing.box for thing in scene.things])
        assert box_iou(expected, nominal).diagonal().min() > 0.75


def test_masks_are_where_the_picture_shows_the_thing() -> None:
    """Painting one thing in another colour changes the pixels of its mask, and besides at most a
    rim of one pixel."""
    for seed in range(40):
        scene, before = rooms_scene("train", seed)
        for index, thing in enumerate(scene.things):
            colour = "yellow" if thing.colour != "yellow" else "blue"
            things = list(scene.things)
            things[index] = replace(thing, colour=colour)
            after = render(replace(scene, things=tuple(things)))
            changed = (before.image != after.image).any(axis=2)
            mask = before.masks[index]
            padded = np.pad(mask, 1)
            rim = np.zeros_like(mask)
            for dy in range(3):
                for dx in range(3):
                    rim |= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
            assert not (changed & ~rim).any()
            assert (changed & mask).sum() > 0.4 * mask.sum()  # some parts are white or metal


def test_things_are_large_enough_and_hardly_hidden() -> None:
    for seed in range(150):
        scene, rendered = rooms_scene("broad", seed)
        assert 2 <= len(scene.things) <= 6
        for index, box in enumerate(rendered.boxes):
            assert min(box[2] - box[0], box[3] - box[1]) >= 12
            alone = render(replace(scene, things=(scene.things[index],)))
            assert rendered.masks[index].sum() >= 0.85 * alone.masks[0].sum()


def test_large_is_clearly_larger_than_small() -> None:
    widths: dict[tuple[str, str], list[float]] = {}
    for seed in range(800):
        for thing in sample_scene("broad", seed).things:
            widths.setdefault((thing.label, thing.size), []).append(thing.box[2] - thing.box[0])
    for label in SMALL_SIZES:
        assert min(widths[label, "large"]) >= 1.5 * max(widths[label, "small"])


def test_the_same_seed_gives_the_same_picture_in_another_process() -> None:
    program = (
        "import hashlib; from syngrpo_rooms.dataset import rooms_scene\n"
        "digest = hashlib.sha256()\n"
        "for split in ('train', 'broad', 'ood'):\n"
        "    for seed in range(4):\n"
        "        scene, rendered = rooms_scene(split, seed)\n"
        "        digest.update(repr(scene).encode() + rendered.image.tobytes())\n"
        "print(digest.hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "99"}
    other = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    digest = hashlib.sha256()
    for split in ("train", "broad", "ood"):
        for seed in range(4):
            scene, rendered = rooms_scene(split, seed)
            digest.update(repr(scene).encode() + rendered.image.tobytes())
    assert other.stdout.strip() == digest.hexdigest()


def test_the_first_scenes_stay_as_they_are() -> None:
    """The bundled starter model was trained on these layouts."""
    things = [(t.label, t.colour, t.size) for t in sample_scene("train", 0).things]
    assert things == GOLDEN_THINGS


def test_splits_share_no_scene_and_seeds_differ() -> None:
    layouts = [repr(sample_scene(split, seed).things) for split in SPLITS for seed in range(200)]
    assert len(set(layouts)) == len(layouts)


def test_reserved_surroundings_stay_in_their_split() -> None:
    words: dict[str, dict[str, set[str]]] = {}
    for split in SPLITS:
        rng = np.random.default_rng(3)
        rooms = [sample_surroundings(split, rng) for _ in range(1500)]
        words[split] = {name: {getattr(room, name) for room in rooms} for name in RESERVED}
    for name in RESERVED:
        for one, others in (("ood", ("train", "test", "broad", "dev")), ("dev", SPLITS[:3])):
            for other in others:
                if other != one:
                    assert words[one][name] & words[other][name] <= {"none"}
        assert words["dev"][name] & words["broad"][name] <= {"none"}
        assert words["train"][name] <= words["broad"][name]
    assert words["train"] == words["test"]


def test_half_of_every_split_is_of_a_room_type() -> None:
    for split in SPLITS:
        rng = np.random.default_rng(5)
        rooms = [sample_surroundings(split, rng).room for _ in range(2000)]
        assert 0.46 < rooms.count("none") / len(rooms) < 0.54
        assert all(0.07 < rooms.count(room) / len(rooms) < 0.13 for room in ROOMS)
        assert set(rooms) == {"none", *ROOMS}
    assert {room.room for room in TRAIN_SURROUNDINGS} == {"none"}


def test_surroundings_are_painted_at_any_size() -> None:
    room = Surroundings(wall_pattern="brick", clutter="leaves", window="night", rug_colour="red")
    for width, height in ((64, 64), (333, 97), (97, 333), (640, 480)):
        picture = render_surroundings(room, (width, height), 5)
        assert picture.shape == (height, width, 3)
        assert np.array_equal(picture, render_surroundings(room, (width, height), 5))
        assert not np.array_equal(picture, render_surroundings(room, (width, height), 6))


def test_samples_carry_what_the_contract_says() -> None:
    samples = rooms_samples("train", 150, seed=4)
    kinds = [sample.columns["kind"] for sample in samples]
    assert 0.5 < kinds.count("attribute") / len(kinds) < 0.72
    assert kinds.count("ordinal") > 15 and kinds.count("relation") > 15
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples[:40]:
        scene, rendered = rooms_scene("train", sample.columns["scene_seed"])
        assert np.array_equal(sample.image.decode(), rendered.image)
        assert sample.answer in rendered.boxes
        assert [o.label for o in sample.objects] == [t.label for t in scene.things]
        for labelled in sample.objects:
            x, y, w, h = _coco_box(labelled.mask)
            assert (x, y, x + w, y + h) == labelled.box
    again = rooms_samples("train", 3, seed=4)
    assert [sample.image.digest() for sample in again] == [s.image.digest() for s in samples[:3]]
    assert {s.columns["scene_seed"] for s in rooms_samples("train", 3, seed=5)}.isdisjoint(
        s.columns["scene_seed"] for s in samples
    )


def _coco_box(code: dict[str, object] | None) -> list[float]:
    from pycocotools import mask

    return [float(value) for value in mask.toBbox(code)]


def test_wrong_names_are_refused() -> None:
    with pytest.raises(InputError, match="unknown rooms split 'trian'"):
        sample_scene("trian", 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown rooms split"):
        rooms_samples("val", 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="task 'vqa'"):
        rooms_samples("train", 1, task="vqa")
    with pytest.raises(InputError, match="too small"):
        sample_scene("train", 0, 32)


GOLDEN_THINGS = [("bed", "green", "small"), ("chair", "black", "large"), ("chair", "pink", "large")]
