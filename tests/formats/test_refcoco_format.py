"""RefCOCO's files, read as lichengunc/refer reads them: its semantics are said again here."""

import json
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data, read_file
from pycocotools.coco import COCO

from syngrpo.boxes import decode_mask
from syngrpo.formats import Problems, recognised_format
from syngrpo.sample import InputError, Sample

FIXTURE = Path(__file__).parents[1] / "fixtures" / "refcoco"


def read(path: Path = FIXTURE, **options: Any) -> list[Sample]:
    return read_data(path, "refcoco", **options)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURE, tmp_path / "refcoco")


def refs_of(folder: Path) -> list[dict[str, Any]]:
    return pickle.loads((folder / "refs(unc).p").read_bytes())


def write_refs(folder: Path, refs: Any, name: str = "refs(unc).p") -> Path:
    (folder / name).write_bytes(pickle.dumps(refs, protocol=2))
    return folder / name


def refer_ids(refs: list[dict[str, Any]], split: str) -> list[int]:
    """What ``REFER.getRefIds(split=…)`` returns."""
    if split in ("testA", "testB", "testC"):
        chosen = [ref for ref in refs if split[-1] in ref["split"]]
    elif split == "test":
        chosen = [ref for ref in refs if "test" in ref["split"]]
    else:
        chosen = [ref for ref in refs if ref["split"] == split]
    return [ref["ref_id"] for ref in chosen]


@pytest.mark.parametrize("split", ["train", "val", "testA", "testB", "test"])
def test_a_split_has_the_references_that_the_refer_api_gives(split: str) -> None:
    expected = refer_ids(refs_of(FIXTURE), split)
    found = dict.fromkeys(sample.columns["ref_id"] for sample in read(split=split))
    assert list(found) == expected and expected


def test_one_test_image_may_belong_to_several_tests(copy: Path) -> None:
    refs = refs_of(copy)
    for ref, split in zip(refs, ["testAB", "testBC", "testA", "train"], strict=False):
        ref["split"] = split
    refs = refs[:4]
    write_refs(copy, refs)
    for split in ("testA", "testB", "testC", "test", "testAB", "train"):
        found = {sample.columns["ref_id"] for sample in read(copy, split=split)}
        assert found == set(refer_ids(refs, split))


def test_samples_are_the_sentences_with_the_boxes_of_their_annotations() -> None:
    refs, coco = refs_of(FIXTURE), COCO(FIXTURE / "instances.json")
    samples = read()
    assert [s.question for s in samples] == [e["sent"] for r in refs for e in r["sentences"]]
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples:
        ref = next(ref for ref in refs if ref["ref_id"] == sample.columns["ref_id"])
        assert sample.columns["sent_id"] in ref["sent_ids"]
        assert sample.id == f"refcoco-unc-{ref['ref_id']}-{sample.columns['sent_id']}"
        x, y, width, height = coco.loadAnns(ref["ann_id"])[0]["bbox"]
        assert sample.answer == pytest.approx((x, y, x + width, y + height))
        label = coco.loadCats(ref["category_id"])[0]["name"]
        answer = next(thing for thing in sample.objects if thing.box == sample.answer)
        assert (sample.task, answer.label) == ("rec", label)
        assert sample.image.path is not None
        assert sample.image.path.name == coco.loadImgs(ref["image_id"])[0]["file_name"]


def test_objects_are_all_annotations_of_the_image_with_masks_as_pycocotools_draws_them() -> None:
    refs, coco = refs_of(FIXTURE), COCO(FIXTURE / "instances.json")
    image_of = {ref["ref_id"]: ref["image_id"] for ref in refs}
    for sample in read():
        image_id = image_of[sample.columns["ref_id"]]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        labels = [coco.cats[annotation["category_id"]]["name"] for annotation in annotations]
        assert [thing.label for thing in sample.objects] == labels
        for thing, annotation in zip(sample.objects, annotations, strict=True):
            assert thing.mask is not None
            assert np.array_equal(decode_mask(thing.mask), coco.annToMask(annotation))


def test_texts_that_python_2_wrote_are_utf_8(copy: Path) -> None:
    # What Python 2 pickles for [{'split': 'val'}] plus a byte string: protocol 0, STRING opcodes.
    pickled = b"(lp0\n(dp1\nS'split'\np2\nS'caf\\xc3\\xa9'\np3\nsa."
    (copy / "refs(unc).p").write_bytes(pickled)
    with pytest.raises(InputError, match="it has café"):
        read_file(copy, "refcoco", Problems(), split="val")


class Malice:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.directory),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused(copy: Path, protocol: int) -> None:
    trap = copy / "sprung"
    refs = [*refs_of(copy), Malice(trap)]
    (copy / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=protocol))
    with pytest.raises(InputError, match=r"mkdir\), and could run code"):
        read(copy)
    assert not trap.exists()
    pickle.loads((copy / "refs(unc).p").read_bytes())  # the trap is a real one
    assert trap.exists()


def test_harmless_globals_are_refused_too(copy: Path) -> None:
    write_refs(copy, [np.float64(1.0), Path("x")])
    with pytest.raises(InputError, match="is not plain data"):
        read(copy)


def test_damaged_pickles_are_one_line(copy: Path) -> None:
    good = (copy / "refs(unc).p").read_bytes()
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(150):
        data = bytearray(good[: rng.integers(1, len(good) + 1)])
        for position in rng.integers(0, len(data), rng.integers(0, 4)):
            data[position] = rng.integers(0, 256)
        (copy / "refs(unc).p").write_bytes(bytes(data))
        try:
            read(copy)
        except InputError as error:
            wrong += 1
            assert "\n" not in str(error)
    assert wrong > 100


def test_the_partition_must_be_named_when_there_are_several(copy: Path) -> None:
    refs = refs_of(copy)
    google = write_refs(copy, refs[:2], "refs(google).p")
    with pytest.raises(InputError, match=r"refs\(google\)\.p, refs\(unc\)\.p; name the file"):
        read(copy)
    samples = read(google)
    assert {sample.columns["ref_id"] for sample in samples} == {0, 1}
    assert all(sample.id.startswith("refcoco-google-") for sample in samples)


def test_the_format_is_recognised() -> None:
    assert recognised_format(FIXTURE).name == "refcoco"
    assert recognised_format(FIXTURE / "refs(unc).p").name == "refcoco"


def test_images_are_looked_up_where_they_are_said_to_be(copy: Path, tmp_path: Path) -> None:
    (copy / "images").rename(tmp_path / "train2014")
    with pytest.raises(
        InputError, match=r"4 images do not exist in .*train2014 \(--images .*train2014\)"
    ):
        read(copy)
    assert len(read(copy, images=(tmp_path / "train2014",))) == len(read())


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"image_id": 5}, "image_id 5 is no good image of instances.json"),
    "image is a list": ({"image_id": []}, "image_id is [], not a number"),
    "annotation": ({"ann_id": 5}, "ann_id 5 is no annotation of its image"),
    "ref_id": ({"ref_id": {}}, "ref_id is {}, not a number"),
    "sentences": ({"sentences": []}, "sentences is [], not a list of them"),
    "sentence": ({"sentences": ["a"]}, "'a' is not a sentence"),
    "sent": ({"sentences": [{"sent_id": 900, "sent": " "}]}, "sent is ' ', not a text"),
    "split": ({"split": None}, "is not a reference with a split"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_reference_is_named_and_can_be_skipped(copy: Path, name: str) -> None:
    changes, message = BROKEN[name]
    refs = refs_of(copy)
    refs[1] |= changes
    path = write_refs(copy, refs)
    with pytest.raises(InputError) as caught:
        read(copy)
    assert str(caught.value).startswith(f"{path}: ref 1: ") and message in str(caught.value)
    left = {sample.columns["ref_id"] for sample in read(copy, on_bad_row="skip")}
    assert left == {ref["ref_id"] for ref in refs_of(FIXTURE)} - {1}


def test_a_reference_that_comes_twice_is_found(copy: Path) -> None:
    write_refs(copy, [*refs_of(copy), refs_of(copy)[0]])
    with pytest.raises(InputError, match="ids must be unique"):
        read(copy)


def test_broken_annotations_are_named(copy: Path) -> None:
    content = json.loads((copy / "instances.json").read_text())
    content["annotations"][0]["bbox"][2] = 5000
    (copy / "instances.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"annotation 1700: bbox .* x1, y1, x2, y2 = .* leaves the"
    ):
        read(copy)


def test_images_of_another_size_are_found(copy: Path) -> None:
    content = json.loads((copy / "instances.json").read_text())
    content["images"][0]["width"] = 640
    (copy / "instances.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="are for an image of 640 x 80 pixels, this one has 112 x 80"
    ):
        read(copy)


def test_wrong_requests_are_one_line(copy: Path) -> None:
    for options, message in (
        ({"split": "minival"}, "has no split minival; it has train, val, testA, testB"),
        ({"split": "testC"}, "has no split testC; it has train, val, testA, testB"),
        ({"task": "ovd"}, "use task rec"),
    ):
        with pytest.raises(InputError, match=message):
            read(copy, **options)
    good = (copy / "refs(unc).p").read_bytes()
    write_refs(copy, {"refs": []})
    with pytest.raises(InputError, match=r"not a list of references"):
        read(copy)
    (copy / "refs(unc).p").write_bytes(good)
    (copy / "instances.json").unlink()
    with pytest.raises(InputError, match=r"instances\.json does not exist"):
        read(copy)
    (copy / "refs(unc).p").unlink()
    with pytest.raises(InputError, match=r"has no refs\("):
        read(copy)


def test_a_limit_stops_early() -> None:
    whole = read()
    assert [sample.id for sample in read(limit=3)] == [sample.id for sample in whole[:3]]
    assert max(Counter(sample.columns["ref_id"] for sample in whole).values()) > 1
