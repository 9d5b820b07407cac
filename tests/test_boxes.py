import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import box_area, box_iou, clip_boxes_to_image, masks_to_boxes

from syngrpo.boxes import (
    CoordinateFrame,
    area,
    box_mask,
    clip,
    decode_mask,
    decode_mask_part,
    encode_mask,
    encode_mask_part,
    iou,
    ious,
    mask_box,
    mask_runs,
    runs_box,
)
from syngrpo.sample import InputError


def random_boxes(rng: np.random.Generator, count: int, side: float) -> list[tuple[float, ...]]:
    corners = np.sort(rng.uniform(-0.2 * side, 1.2 * side, size=(count, 2, 2)), axis=1)
    return [tuple(float(value) for value in box.reshape(4)) for box in corners]


def random_mask(rng: np.random.Generator) -> np.ndarray:
    """Specks, a rectangle, everything or nothing."""
    height, width = rng.integers(1, 40, 2)
    mask = np.zeros((height, width), dtype=bool)
    kind = rng.integers(4)
    if kind == 0:
        return rng.random((height, width)) < 0.4
    if kind == 1:
        mask[:] = True
    elif kind == 2:
        (top, bottom), (left, right) = (np.sort(rng.integers(0, n + 1, 2)) for n in mask.shape)
        mask[top:bottom, left:right] = True
    return mask


def test_parts_of_masks_are_decoded_and_encoded_as_whole_ones_are() -> None:
    rng = np.random.default_rng(3)
    for _ in range(400):
        mask = random_mask(rng)
        height, width = mask.shape
        code = encode_mask(mask)
        (y1, y2), (x1, x2) = (np.sort(rng.integers(0, n + 1, 2)).tolist() for n in mask.shape)
        part = mask[y1:y2, x1:x2]
        np.testing.assert_array_equal(decode_mask_part(code, (x1, y1, x2, y2)), part)
        alone = np.zeros_like(mask)
        alone[y1:y2, x1:x2] = part
        assert encode_mask_part(part, x1, y1, (width, height)) == encode_mask(alone)


def test_iou_and_area_equal_torchvision() -> None:
    boxes = random_boxes(np.random.default_rng(0), 80, 100.0)
    theirs = box_iou(
        torch.tensor(boxes, dtype=torch.float64), torch.tensor(boxes, dtype=torch.float64)
    ).numpy()
    ours = [[iou(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    areas = box_area(torch.tensor(boxes, dtype=torch.float64)).numpy()
    np.testing.assert_allclose([area(box) for box in boxes], areas, rtol=1e-12)


def test_iou_equals_pycocotools() -> None:
    boxes = random_boxes(np.random.default_rng(1), 40, 640.0)
    xywh = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]
    theirs = coco_mask.iou(xywh, xywh, [0] * len(boxes))
    np.testing.assert_allclose([[iou(a, b) for b in boxes] for a in boxes], theirs, atol=1e-9)


def test_iou_of_empty_and_inverted_boxes_is_zero() -> None:
    assert iou((1, 1, 1, 5), (0, 0, 9, 9)) == 0.0
    assert iou((5, 5, 1, 1), (0, 0, 9, 9)) == 0.0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_iou_with_many_boxes_is_that_with_each() -> None:
    boxes = [*random_boxes(np.random.default_rng(1), 40, 640.0), (5.0, 5.0, 1.0, 1.0), (0.0,) * 4]
    for box in boxes:
        assert ious(box, np.array(boxes)).tolist() == [iou(box, other) for other in boxes]
    assert ious(boxes[0], np.array([])).tolist() == []


def test_clip_equals_torchvision() -> None:
    boxes = random_boxes(np.random.default_rng(2), 50, 100.0)
    theirs = clip_boxes_to_image(torch.tensor(boxes, dtype=torch.float64), (90, 120)).numpy()
    np.testing.assert_allclose([clip(box, 120, 90) for box in boxes], theirs, rtol=1e-12)


def test_masks_round_trip_and_their_boxes_equal_torchvision() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = np.zeros((37, 53), dtype=bool)
        x, y = rng.integers(0, 40), rng.integers(0, 25)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = rng.random() > 0.3
        mask[rng.integers(37), rng.integers(53)] = True
        assert np.array_equal(decode_mask(encode_mask(mask)), mask)
        inclusive = masks_to_boxes(torch.from_numpy(mask)[None])[0].tolist()
        assert mask_box(mask) == (*inclusive[:2], inclusive[2] + 1, inclusive[3] + 1)


def test_runs_their_area_and_their_box_equal_pycocotools() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        shape = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
        code = encode_mask(rng.random(shape) < rng.random() ** 9)
        runs = mask_runs(code)
        raw = {"size": code["size"], "counts": code["counts"].encode()}
        assert np.array_equal(decode_mask(code), coco_mask.decode(raw).astype(bool))
        assert runs[1::2].sum() == coco_mask.area(raw)
        x, y, width, height = coco_mask.toBbox(raw)
        box = (x, y, x + width, y + height) if width else None
        assert runs_box(runs, shape[0]) == box


@pytest.mark.parametrize(
    "code",
    [
        {"size": [96, 96], "counts": "0" * 15 + "o"},
        {"size": [60_000, 60_000], "counts": "PPYo1"},
        {"size": [2, 2], "counts": "4\0"},
        {"size": [2, 2], "counts": "5O0"},
        {"size": [2, 2], "counts": b"4"},
        {"size": [2, -2], "counts": ""},
        {"size": [True, 1], "counts": "1"},
        {"counts": "4"},
    ],
)
def test_a_damaged_code_is_refused_before_anything_is_decoded(code: dict) -> None:
    with pytest.raises(InputError, match="the mask"):
        decode_mask(code)


def test_no_code_and_no_polygon_crashes_or_takes_memory() -> None:
    script = Path(__file__).parent / "support" / "strange_masks.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_box_mask_covers_every_touched_pixel_and_nothing_else() -> None:
    assert mask_box(box_mask((2.5, 3.0, 6.1, 9.0), 20, 10)) == (2, 3, 7, 9)
    assert box_mask((-5, -5, 3, 2), 20, 10).sum() == 6
    assert not box_mask((30, 30, 40, 40), 20, 10).any()


@pytest.mark.parametrize("model_size", [(1000.0, 1000.0), (644.0, 476.0)])
def test_frame_maps_there_and_back_and_keeps_iou(model_size: tuple[float, float]) -> None:
    frame = CoordinateFrame(*model_size, original_width=640, original_height=480)
    boxes = random_boxes(np.random.default_rng(4), 20, 400.0)
    for a, b in itertools.pairwise(boxes):
        np.testing.assert_allclose(frame.to_original(frame.to_model(a)), a, atol=1e-9)
        moved = iou(frame.to_model(a), frame.to_model(b))
        assert moved == pytest.approx(iou(a, b), abs=1e-9)
    whole = frame.to_model((0, 0, 640, 480))
    np.testing.assert_allclose(whole, (0, 0, *model_size), atol=1e-9)
