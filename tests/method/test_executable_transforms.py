"""Pictures are cropped, rotated and recoloured, and their labels stay true."""

from dataclasses import replace

import numpy as np
import pytest

from syngrpo.boxes import decode_mask, iou, mask_box
from syngrpo.method import METHODS
from syngrpo.method.executable_transforms import ExecutableTransformsOptions
from syngrpo.method.picture_transforms import TransformBounds, transformed
from syngrpo_rooms.dataset import rooms_samples

BOUNDS = TransformBounds(0.6, 15.0, 0.4, 0.1)
GEOMETRY = TransformBounds(0.6, 15.0, 0.0, 0.0)


def changed(sample, bounds=BOUNDS, seed=0):
    return transformed(sample, bounds, np.random.default_rng(seed))


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_labels_follow_the_picture(task):
    angles = 0
    for seed, sample in enumerate(rooms_samples("train", 40, seed=3, task=task)):
        other = changed(sample, seed=seed)
        size = (sample.image.width, sample.image.height)
        assert (other.image.width, other.image.height) == size
        assert (other.id, other.question) == (sample.id, sample.question)
        assert len(other.objects) == len(sample.objects)
        for thing in other.objects:
            x1, y1, x2, y2 = thing.box
            assert -1e-6 <= x1 < x2 <= size[0] + 1e-6 and -1e-6 <= y1 < y2 <= size[1] + 1e-6
            assert iou(mask_box(decode_mask(thing.mask)), thing.box) > 0.8
        places = {thing.box: number for number, thing in enumerate(sample.objects)}
        boxes = [thing.box for thing in other.objects]
        if task == "rec":
            assert other.answer == boxes[places[sample.answer]]
        elif task == "ovd":
            for before, after in zip(sample.answer, other.answer, strict=True):
                assert after == {"label": before["label"], "box": boxes[places[before["box"]]]}
        else:
            assert other.answer == sample.answer
        for side in (0, 1):  # nothing changes places
            before = np.array([t.box[side] + t.box[side + 2] for t in sample.objects])
            after = np.array([t.box[side] + t.box[side + 2] for t in other.objects])
            ahead = before[:, None] < before
            assert (after[:, None] < after + 1e-6)[ahead].all()
        ratio = [(t.box[2] - t.box[0]) / (t.box[3] - t.box[1]) for t in (*other.objects,)]
        plain = [(t.box[2] - t.box[0]) / (t.box[3] - t.box[1]) for t in (*sample.objects,)]
        angles += not np.allclose(ratio, plain)
    assert angles > 20  # rotated, so that boxes have other proportions


def test_the_pixels_under_a_mask_are_those_of_the_object():
    """The mean colour under each moved mask is that of the object in the picture before."""
    for seed, sample in enumerate(rooms_samples("train", 10, seed=3)):
        other = changed(sample, GEOMETRY, seed)
        before, after = sample.image.decode(), other.image.decode()
        for old, new in zip(sample.objects, other.objects, strict=True):
            means = [
                pixels[decode_mask(thing.mask)].mean(axis=0)
                for pixels, thing in ((before, old), (after, new))
            ]
            assert np.abs(means[0] - means[1]).max() < 12


def test_without_masks_nothing_is_rotated():
    sample = rooms_samples("train", 1, seed=3)[0]
    bare = replace(sample, objects=tuple(replace(one, mask=None) for one in sample.objects))
    other = changed(bare, GEOMETRY, 5)
    scales = {
        round((new.box[2] - new.box[0]) / (old.box[2] - old.box[0]), 6)
        for old, new in zip(bare.objects, other.objects, strict=True)
    }
    assert len(scales) == 1 and scales.pop() >= 1


def test_a_fixed_view_and_a_named_colour_are_respected():
    sample = rooms_samples("train", 1, seed=3, task="isr")[0]
    fixed = replace(sample, question="what is in the left half of the picture?")
    other = changed(fixed, BOUNDS, 1)
    assert other.objects == fixed.objects and other.image != fixed.image
    kind = replace(sample, columns={**sample.columns, "kind": "room_type"}, answer="kitchen")
    assert changed(kind, BOUNDS, 1).objects == kind.objects
    red = replace(fixed, question="what colour is the ball in the picture?")
    strong = TransformBounds(1.0, 0.0, 0.0, 0.5)
    assert (changed(red, strong, 1).image.decode() == red.image.decode()).all()
    assert (changed(fixed, strong, 1).image.decode() != fixed.image.decode()).any()


def test_a_question_about_the_surroundings_is_asked_about_the_picture_as_it_is():
    sample = rooms_samples("train", 1, seed=3, task="isr")[0]
    dark = replace(sample, question="is the room dark?")
    assert changed(dark) is dark
    assert changed(replace(sample, question="how many balls?")) is not sample


def test_the_method_transforms_its_share_and_repeats_itself():
    method = METHODS.load("executable-transforms")(
        ExecutableTransformsOptions(transform_share=0.5), steps=10
    )
    sample = rooms_samples("train", 1, seed=3)[0]
    first = [method.transform(sample, np.random.default_rng(seed)) for seed in range(60)]
    again = [method.transform(sample, np.random.default_rng(seed)) for seed in range(60)]
    assert first == again
    assert 15 < sum(one is sample for one in first) < 45
    assert not method.paints
