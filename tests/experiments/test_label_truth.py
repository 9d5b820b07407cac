"""Labels of painted rooms are true under every frame, in every light and with decoys around, and a
false one is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiments.rooms.labels import painted_here
from experiments.rooms.truth import fault, kept_pixels, request_of

from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.painting.frame import Frame
from syngrpo.painting.light import Light
from syngrpo.sample import EncodedImage
from syngrpo_rooms.decoys import read_decoys
from syngrpo_rooms.generator import decoys_of
from syngrpo_rooms.scenes import Thing

COUNT = 12


@pytest.fixture(scope="module", params=["rec", "ovd", "isr"])
def painted(request, tmp_path_factory):
    return painted_here(tmp_path_factory.mktemp(request.param), request.param, COUNT)


def made(sample):
    return sample.columns[SYNTHESIS]


def edited(sample, column, value):
    return replace(sample, columns=sample.columns | {SYNTHESIS: made(sample) | {column: value}})


def repainted(sample, where, change=40):
    """The sample with one pixel of its picture changed."""
    pixels = sample.image.decode().copy()
    pixels[where] = (pixels[where].astype(int) + change) % 256
    return replace(sample, image=EncodedImage.from_pixels(pixels))


def test_painted_labels_are_true(painted):
    assert len(painted) == COUNT
    assert [fault(sample) for sample in painted] == [None] * COUNT


def test_the_samples_checked_use_the_whole_range(painted):
    frames = [Frame.of(made(sample)["frame"]) for sample in painted]
    lights = [Light.of(made(sample)["light"]) for sample in painted]
    assert len({frame.transform for frame in frames}) > COUNT / 2
    assert min(frame.transform.scale for frame in frames) < 0.8
    assert min(light.brightness for light in lights) < 0.8
    assert max(light.haze for light in lights) > 0.2
    assert any(read_decoys(made(sample)["prompt"].split(". Keep")[0])[0] for sample in painted)


def test_a_false_label_is_found(painted):
    for sample in painted[:4]:
        first, *others = sample.objects
        x1, y1, x2, y2 = first.box
        moved = replace(first, box=(x1 + 0.001, y1, x2, y2))
        assert fault(replace(sample, objects=(moved, *others))) == "objects"
        assert fault(replace(sample, objects=tuple(others))) == "objects"
        frame = made(sample)["frame"]
        shifted = frame | {"right": frame["right"] + 0.01}
        assert fault(edited(sample, "frame", shifted)) == "objects"
        assert fault(replace(sample, answer=wrong(sample))) == "answer"


def wrong(sample):
    """Another answer than the right one."""
    if sample.task == "isr":
        return "none of these"
    if sample.task == "rec":
        x1, y1, x2, y2 = sample.answer
        return (x1, y1, x2 + 0.01, y2)
    return (*sample.answer, {"label": "chair", "box": (0.0, 0.0, 9.0, 9.0)})


def test_a_changed_pixel_is_found(painted):
    for sample in painted[:4]:
        x1, y1, x2, y2 = sample.objects[-1].box
        inside = (int((y1 + y2) / 2), int((x1 + x2) / 2))
        assert fault(repainted(sample, inside)) in ("pixels", "surroundings")
        assert fault(repainted(sample, (0, 0))) == "surroundings"
        light = made(sample)["light"]
        assert fault(edited(sample, "light", light | {"brightness": 0.5})) == "pixels"


def test_decoys_are_of_classes_that_nothing_names(painted):
    numbers = []
    for sample in painted:
        decoys = {thing.label for thing in decoys_of(request_of(sample, kept_pixels(sample)))}
        asked = set(sample.question.replace(",", "").split()) | set(sample.columns.get("about", ()))
        assert not decoys & {*asked, *(thing.label for thing in sample.objects)}
        numbers.append(len(decoys))
    assert np.mean(np.array(numbers) > 0) > 0.2


def test_a_decoy_of_a_forbidden_class_is_found(painted, monkeypatch):
    """If the generator painted the labelled classes anew, the check would say so."""
    sample = painted[0]
    label = sample.objects[0].label
    spot = Thing(label, "red", "small", (0.0, 0.0, 5.0, 5.0))
    monkeypatch.setattr("experiments.rooms.truth.decoys_of", lambda request: (spot,))
    assert fault(sample) == "decoys"
