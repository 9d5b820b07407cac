"""Samples of every task for the tests of writing, and how they are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from data_sets import read_data

from syngrpo.boxes import encode_mask
from syngrpo.formats.export import write_dataset
from syngrpo.formats.lineage_columns import Lineage
from syngrpo.sample import EncodedImage, LabelledObject, Sample

WIDTH, HEIGHT = 40, 30
FILES = {"jsonl": "data.jsonl", "vlm-r1": "data.jsonl", "coco": "instances.json", "hf": "."}
WRITTEN = tuple(FILES)


def picture(number: int) -> EncodedImage:
    rng = np.random.default_rng(number)
    return EncodedImage.from_pixels(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def ellipse(box: tuple[float, float, float, float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + (
        (rows - (y1 + y2) / 2) / (y2 - y1)
    ) ** 2
    return encode_mask(inside < 0.25)


CUP = LabelledObject("cup", (3.1, 4.7, 14.3, 15.9), ellipse((3.1, 4.7, 14.3, 15.9)))
OTHER_CUP = LabelledObject("cup", (20.0, 1.0, 30.0, 12.0))
POT = LabelledObject("pot – blue", (0.1, 18.2, 17.3, 29.9), ellipse((0.1, 18.2, 17.3, 29.9)))
THINGS = (CUP, OTHER_CUP, POT)


def rec(name: str, image: int = 0, thing: LabelledObject = CUP, **changes: Any) -> Sample:
    sample = Sample(
        id=name,
        task="rec",
        image=picture(image),
        question=f"the {thing.label} “{name}”",
        answer=thing.box,
        objects=THINGS,
    )
    return replace(sample, **changes)


def ovd(name: str, image: int, *asked: str) -> Sample:
    found = tuple({"label": t.label, "box": t.box} for t in THINGS if t.label in asked)
    return replace(rec(name, image), task="ovd", question=", ".join(asked), answer=found)


SAMPLES = (
    rec("plain", columns={"kind": "attribute", "weights": [1, 2.5, None]}),
    rec("same picture", thing=POT),
    rec("child", 1, parent="plain", depth=1, description="brick\nwalls, “grey”"),
    ovd("found", 0, "cup", "lamp"),
    ovd("nothing", 1, "lamp", "sofa"),
    replace(ovd("none labelled", 2, "lamp"), objects=()),
    replace(ovd("their labels", 1, "cup"), task="ovd-vlm-r1"),
)
CLOSED = (
    replace(rec("count"), task="isr", question="how many cups?", answer=2),
    replace(rec("wide", 1), task="isr", question="how wide?", answer=1.5),
    replace(
        rec("room", 1),
        task="isr",
        question="which room?",
        answer="kitchen",
        columns={"kind": "room_type", "about": ["cup"]},
    ),
)
LINEAGES = (
    Lineage("plain", "ours", "active", "2026-01-01T00:00:00+00:00", scores={"sharp": 0.1}),
    Lineage(
        *("plain", "ours", "retired", "2026-01-02T00:00:00+00:00", 3, 0.25, 0.5, 17, 16),
        *("f" * 64, "rooms-1", 2**40, "a prompt, with “quotes”", {"background_changed": 1 / 3}),
    ),
)


def read_back(out: Path, format: str) -> list[Sample]:
    return read_data(out / FILES[format], format, check_images=True)


def by_id(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    """Samples without their images (compared by bytes) by id; COCO groups them by picture."""
    return {s.id: vars(s) | {"image": s.image.read()} for s in samples}


def assert_round_trip(samples: Any, out: Path, format: str) -> None:
    write_dataset(samples, out, format)
    found = read_back(out, format)
    assert by_id(found) == by_id(samples) and len(found) == len(samples)
    if format != "coco":
        assert [sample.id for sample in found] == [sample.id for sample in samples]
