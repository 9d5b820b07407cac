"""Labels are for images as viewers show them, or, with ``exif: stored``, as they are stored."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data
from PIL import Image, ImageOps

from syngrpo.formats import Format, Problems, ReadRequest
from syngrpo.formats.export import write_dataset
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset
from syngrpo.formats.survey import survey
from syngrpo.pool.store import Pool
from syngrpo.sample import EncodedImage, InputError, Sample, with_pixels

STORED = (64, 48)
IN_STORED_VIEW = [50.0, 10.0, 62.0, 40.0]
"""A box that leaves the turned image, which is 48x64."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    return tmp_path


def rows(folder: Path, *boxes: list[float]) -> Path:
    path = folder / "data.jsonl"
    made = [
        {"id": f"r{n}", "task": "rec", "image": "turned.jpg", "question": "q", "answer": box}
        for n, box in enumerate(boxes)
    ]
    path.write_text("\n".join(map(json.dumps, made)))
    return path


def coco(folder: Path, width: int, height: int) -> Path:
    path = folder / "instances.json"
    x1, y1, x2, y2 = IN_STORED_VIEW
    image = {"id": 1, "file_name": "turned.jpg", "width": width, "height": height}
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
    categories = [{"id": 1, "name": "cup"}]
    data = {"images": [image], "annotations": [thing], "categories": categories}
    path.write_text(json.dumps(data))
    return path


def refused(path: Path, **keys: Any) -> str:
    problems = Problems()
    read_dataset(source_from_keys({"path": path, **keys}), problems)
    (line,) = problems.lines()
    return line


def test_labels_of_both_views_in_a_file_are_told_as_mixed(folder: Path) -> None:
    other = [5.0, 50.0, 40.0, 62.0]
    path = rows(folder, IN_STORED_VIEW, other)
    problems = Problems()
    read_dataset(source_from_keys({"path": path}), problems)
    assert problems.lines() == [
        f"{path}: 1 of 2 boxes on images with an EXIF orientation fits only the images as they are "
        "stored, before it turns them, and 1 only the images as turned; write all labels for "
        "images as viewers show them, or make two files, and set exif: stored (--option "
        "exif=stored) for that with labels of stored images; so row 1 cannot be used"
    ]


def test_labels_that_fit_only_the_stored_view_are_told_apart(folder: Path) -> None:
    assert refused(rows(folder, IN_STORED_VIEW)) == (
        f"{folder / 'data.jsonl'}: 1 of 1 box on images with an EXIF orientation fits only the "
        "images as they are stored, before it turns them; set exif: stored (--option exif=stored); "
        "so row 1 cannot be used"
    )
    hint = "fits the image as it is stored, 64x48, before its EXIF orientation turns it"
    line = refused(coco(folder, *STORED), format="coco")
    assert "are for an image of 64 x 48 pixels, this one has 48 x 64" in line and hint in line
    assert "exif" not in refused(coco(folder, 30, 30), format="coco")
    assert "exif" not in refused(rows(folder, [50.0, 10.0, 62.0, 60.0]))
    assert "leaves the 64x48 image" in refused(rows(folder, [10, 50, 20, 60]), exif="stored")


def test_relative_outlines_are_scaled_by_the_view_that_is_labelled(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "turned.jpg").rename(folder / "images" / "turned.jpg")
    (folder / "labels").mkdir()
    (folder / "labels" / "turned.txt").write_text("0 0.5 0.25 0.75 0.25 0.75 0.5 0.5 0.5")
    (folder / "classes.txt").write_text("cup")
    for exif, box in ((None, (24.0, 16.0, 36.0, 32.0)), ("stored", (32.0, 12.0, 48.0, 24.0))):
        (sample,) = read_data(folder, "yolo", exif=exif)
        assert sample.objects[0].box == box


@pytest.mark.parametrize("format", ["jsonl", "coco"])
def test_the_stored_view_is_kept_in_the_pool_and_in_exports(folder: Path, format: str) -> None:
    path = rows(folder, IN_STORED_VIEW) if format == "jsonl" else coco(folder, *STORED)
    source = source_from_keys({"path": path, "format": format, "exif": "stored"})
    (sample,) = read_dataset(source, check_images=True)
    assert (sample.image.width, sample.image.height) == STORED
    assert survey([sample]).rotated == 0
    with Image.open(folder / "turned.jpg") as stored:
        pixels = np.asarray(stored)
    assert np.array_equal(sample.image.decode(), pixels)
    decoded = with_pixels(sample).image
    assert decoded.digest() == sample.image.digest()
    assert np.array_equal(pickle.loads(pickle.dumps(decoded)).decode(), pixels)
    pool = Pool.open(folder / "pool")
    pool.add_seeds([sample])
    assert np.array_equal(pool.get(sample.id).image.decode(), pixels)
    pool.close()
    write_dataset([sample], folder / "out", "jsonl")
    (written,) = (folder / "out" / "images").iterdir()
    with Image.open(written) as image:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), pixels)
    (again,) = read_data(folder / "out" / "data.jsonl")
    assert again.answer == sample.answer and again.image.decode().shape == (48, 64, 3)


def test_the_turned_view_is_the_default(folder: Path) -> None:
    (sample,) = read_data(rows(folder, [10, 50, 20, 60]), check_images=True)
    assert (sample.image.width, sample.image.height) == (48, 64)
    assert survey([sample]).rotated == 1


class Careless(Format):
    """A format of a user that does not pass the key on."""

    name = "careless"

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        return [Sample("a", "rec", EncodedImage.from_file(path), "q", (1.0, 2.0, 3.0, 4.0), ())]


def test_the_key_is_refused_where_it_has_no_effect(folder: Path) -> None:
    with pytest.raises(InputError, match="exif: format rooms generates its samples; remove"):
        source_from_keys({"format": "rooms", "split": "train", "exif": "stored"})
    line = refused(folder / "turned.jpg", format=f"{__name__}:Careless", exif="stored")
    assert "does not use the key exif" in line


def test_animations_are_noted_once_for_a_source(folder: Path) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "turned.jpg", "GIF", save_all=True, append_images=frames[1:])
    problems = Problems()
    source = source_from_keys({"path": rows(folder, [1, 2, 30, 40], [5, 6, 20, 30])})
    samples = read_dataset(source, problems)
    assert [note for note in problems.notes if "frames" in note] == [
        "1 image with several frames or pages: the first frame is used, "
        f"{folder / 'turned.jpg'} is the first"
    ]
    assert (samples[0].image.decode()[0, 0] == (255, 0, 0)).all()
    assert Image.open(io.BytesIO(samples[0].image.read())).n_frames == 2
