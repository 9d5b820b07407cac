import re
from pathlib import Path

import numpy as np
from data_sets import read_data
from PIL import Image
from pycocotools import mask as coco_mask

from syngrpo.painting.compositing import keep_mask
from syngrpo.sample import Sample
from syngrpo.tasks import get_task

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def samples() -> list[Sample]:
    return read_data(PHOTOS / "photos.jsonl", check_images=True)


def test_there_are_enough_photographs_and_phrases() -> None:
    found = samples()
    assert len(found) >= 12
    assert 8 <= len({sample.image.path for sample in found}) <= 12
    assert len({sample.id for sample in found}) == len(found)


def test_boxes_are_inside_and_tight_around_their_masks() -> None:
    for sample in samples():
        for thing in sample.objects:
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= sample.image.width and 0 <= y1 < y2 <= sample.image.height
            assert thing.mask is not None
            assert thing.mask["size"] == [sample.image.height, sample.image.width]
            x, y, width, height = coco_mask.toBbox(thing.mask)
            assert np.allclose((x, y, x + width, y + height), thing.box)


def test_a_phrase_belongs_to_one_object_of_its_photograph() -> None:
    found = samples()
    asked = [(sample.image.path, sample.question) for sample in found]
    assert len(set(asked)) == len(asked)
    for sample in found:
        assert sample.question == sample.question.strip() != ""
        assert sample.answer in [thing.box for thing in sample.objects]
        same = [other for other in found if other.image.path == sample.image.path]
        assert all(s.objects == sample.objects for s in same)


def test_synthesis_has_surroundings_to_paint_on_every_photograph() -> None:
    for sample in samples():
        keep = keep_mask(sample, get_task("rec").constraints(sample).keep)
        assert 0.05 < 1 - keep.mean() < 0.95, sample.id


def test_files_are_small_photographs_with_sources() -> None:
    readme = (PHOTOS / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+\.jpg)`", readme))
    files = {path.name: path for path in PHOTOS.glob("*.jpg")}
    assert set(files) <= listed
    assert {s.image.path.name for s in samples() if s.image.path} == set(files)
    assert sum(path.stat().st_size for path in PHOTOS.iterdir()) < 1_000_000
    for path in files.values():
        with Image.open(path) as image:
            assert image.format == "JPEG" and max(image.size) <= 384
