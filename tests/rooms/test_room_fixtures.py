"""Fixtures show the room type and change nothing else: things, floor and labels stay the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from syngrpo.boxes import intersection
from syngrpo.sample import Box
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.room_fixtures import HEIGHT, draw_fixture
from syngrpo_rooms.room_renderer import Rendered, render
from syngrpo_rooms.scenes import FLOOR_HEAD, Scene, sample_scene
from syngrpo_rooms.surroundings import ROOMS, Split


def of_room(scene: Scene, room: str) -> Scene:
    return replace(scene, surroundings=replace(scene.surroundings, room=room))


def fixture(
    room: str, seed: int, avoid: tuple[Box, ...] = (), at_side: bool = False, width: int = 384
) -> tuple[np.ndarray, Box]:
    """Draw a fixture on a magenta wall with 3 pixels a unit; return the picture and the fixture's
    box."""
    canvas = Image.new("RGB", (width, 230), (255, 0, 255))
    draw, rng = ImageDraw.Draw(canvas), np.random.default_rng(seed)
    box = draw_fixture(draw, room, (0.0, 0.0, float(width), 220.0), 3.0, avoid, rng, at_side)
    return np.asarray(canvas), box


@pytest.mark.parametrize("split", ["train", "ood", "broad"])
def test_a_room_type_changes_the_wall_only(split: Split) -> None:
    for seed in range(12):
        scene = sample_scene(split, seed)
        bare = render(of_room(scene, "none"))
        for room in ROOMS:
            shown = render(of_room(scene, room))
            assert shown.boxes == bare.boxes
            assert np.array_equal(shown.masks, bare.masks)
            changed = (shown.image != bare.image).any(axis=2)
            assert not changed[round(FLOOR_HEAD * 128) :].any()
            assert changed[~_taken(bare)].mean() > 0.12


def _taken(rendered: Rendered) -> np.ndarray:
    return np.logical_or.reduce(rendered.masks)


@pytest.mark.parametrize("room", ROOMS)
def test_a_fixture_stays_in_its_box_and_among_neutral_colours(room: str) -> None:
    """No pixel is as colourful as the palest colour of a thing (leaving out black)."""
    palest = min(max(c) - min(c) for name, c in THING_COLOURS.items() if name != "black")
    for seed in range(12):
        picture, (x1, y1, x2, y2) = fixture(room, seed, width=(384, 384, 900)[seed % 3])
        assert 0.5 <= (x2 - x1) / picture.shape[1] <= 0.85
        assert (y2, y2 - y1) == (220, HEIGHT * 3)
        painted = (picture != (255, 0, 255)).any(axis=2)
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        assert y1 - 1 <= rows[0] < y1 + 16 and y2 - 8 < rows[-1] <= y2 + 1
        assert x1 - 4 <= columns[0] < x1 + 4 and x2 - 4 < columns[-1] <= x2 + 4
        assert np.ptp(picture[painted].astype(int), axis=1).max() < palest


@pytest.mark.parametrize("room", ROOMS)
def test_a_fixture_keeps_away_from_things_and_leaves_place_for_a_window(room: str) -> None:
    for seed in range(12):
        left, right = (0.0, 40.0, 150.0, 220.0), (234.0, 40.0, 384.0, 220.0)
        _, beside_left = fixture(room, seed, (left,), at_side=True)
        _, beside_right = fixture(room, seed, (right,), at_side=True)
        assert beside_left[0] > 384 - beside_left[2] and beside_right[2] < 384 - beside_right[0]
        assert 384 - beside_right[2] > 40 * 3 and beside_left[0] > 40 * 3  # the widest window
        _, anywhere = fixture(room, seed)
        _, moved = fixture(room, seed, (anywhere,))
        assert intersection(moved, anywhere) <= intersection(anywhere, anywhere)
        assert np.array_equal(fixture(room, seed)[0], fixture(room, seed)[0])


@pytest.mark.parametrize("split", ["train", "ood"])
def test_the_room_type_can_be_seen(split: Split) -> None:
    """A linear classifier on edges, fitted on some crowded rooms, tells the type of others."""
    features, labels = [], []
    for seed in range(420):
        scene = of_room(sample_scene(split, seed), ROOMS[seed % len(ROOMS)])
        features.append(_edges(render(scene).image))
        labels.append(seed % len(ROOMS))
    x, y = torch.stack(features), torch.tensor(labels)
    x = (x - x[:300].mean(0)) / (x[:300].std(0) + 1e-3)
    x = torch.cat((x, torch.ones(len(x), 1)), dim=1)
    target = torch.nn.functional.one_hot(y).float()
    gram = x[:300].T @ x[:300] + 60 * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x[:300].T @ target[:300])
    right = (x[300:] @ weights).argmax(1) == y[300:]
    assert right.float().mean() > 0.9


def _edges(image: np.ndarray) -> torch.Tensor:
    """Return how much vertical and horizontal edge each row of the wall has, and its mean
    colours."""
    wall = torch.from_numpy(image[:76].astype(np.float32)) / 255
    across, down = wall.diff(dim=1).abs(), wall.diff(dim=0).abs()
    steep = [(edge > 0.15).float() for edge in (across, down)]
    rows = [edge.mean(dim=(1, 2)) for edge in (across, down, *steep)]
    return torch.cat((*rows, wall.mean(dim=1).flatten()))
