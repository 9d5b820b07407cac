import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data, read_file
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from syngrpo.boxes import decode_mask
from syngrpo.formats import FORMATS, Problems
from syngrpo.formats.export import write_dataset
from syngrpo.sample import InputError, Sample

FOLDER = Path(__file__).parents[1] / "fixtures" / "coco"
FILE = FOLDER / "annotations" / "instances_rooms2026.json"
IMAGES = (FOLDER / "rooms2026",)
CONTENT = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def reference() -> COCO:
    return COCO(str(FILE))


def read(content: Any, problems: Problems | None = None, **options: Any) -> list[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        path.write_text(json.dumps(content))
        options = {"images": IMAGES} | options
        return read_data(path, "coco", problems, **options)


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    change(content)
    return content


def test_detection_agrees_with_pycocotools(reference: COCO) -> None:
    problems = Problems()
    samples = read_data(FILE, negatives=2, problems=problems)
    names = {
        category["id"]: category["name"] for category in reference.loadCats(reference.getCatIds())
    }
    assert [sample.id for sample in samples] == [
        f"instances_rooms2026-{image}" for image in reference.getImgIds()
    ]
    for sample, image in zip(samples, reference.getImgIds(), strict=True):
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=image, iscrowd=False))
        crowds = reference.loadAnns(reference.getAnnIds(imgIds=image, iscrowd=True))
        assert sample.image.path == IMAGES[0] / reference.loadImgs(image)[0]["file_name"]
        assert [thing.label for thing in sample.objects] == [
            names[one["category_id"]] for one in annotations
        ]
        for thing, one in zip(sample.objects, annotations, strict=True):
            x, y, width, height = one["bbox"]
            assert thing.box == pytest.approx((x, y, x + width, y + height))
            assert thing.mask is not None
            assert (decode_mask(thing.mask) == reference.annToMask(one).astype(bool)).all()
        unsure = {names[one["category_id"]] for one in crowds}
        present = {thing.label for thing in sample.objects} - unsure
        asked = sample.question.split(", ")
        assert len(asked) == len(present) + 2 and present < set(asked) and not unsure & set(asked)
        assert len(sample.answer) == sum(thing.label in present for thing in sample.objects)
    assert not problems.found
    assert problems.notes == [f"{FILE}: crowd annotations, which are no ground truth, left out: 1"]


def test_absent_classes_are_drawn_by_the_seed_and_mixed_with_the_others() -> None:
    questions = [[sample.question for sample in read_data(FILE, seed=seed)] for seed in (0, 0, 1)]
    assert questions[0] == questions[1] != questions[2]
    many = [
        (sample, sample.question.split(", "))
        for seed in range(20)
        for sample in read_data(FILE, seed=seed, negatives=3)
        if sample.answer
    ]
    present = [[a["label"] for a in sample.answer] for sample, _ in many]
    firsts = [asked[0] in there for (_, asked), there in zip(many, present, strict=True)]
    assert 0 < sum(firsts) < len(firsts), "the order must not say what is absent"


def test_images_without_anything_to_ask_are_left_out_and_counted() -> None:
    problems = Problems()
    samples = read_data(FILE, negatives=0, problems=problems)
    assert len(samples) == 3 and not problems.found
    assert any("images without a class to ask for, left out: 1" in note for note in problems.notes)


def test_lvis_negatives_are_all_that_is_known_to_be_absent() -> None:
    ids = {category["name"]: category["id"] for category in CONTENT["categories"]}

    def lvis(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["neg_category_ids"] = [ids["sofa"]]
            image["not_exhaustive_category_ids"] = [ids["ball"]]

    for sample in read(changed(lvis)):
        absent = set(sample.question.split(", ")) - {thing.label for thing in sample.objects}
        assert absent <= {"sofa"} and "ball" not in sample.question.split(", ")


def test_a_class_that_comes_once_is_a_phrase(reference: COCO) -> None:
    samples = read_data(FILE, task="rec")
    expected = {}
    for image in reference.getImgIds():
        annotations = reference.loadAnns(reference.getAnnIds(imgIds=image))
        classes = [one["category_id"] for one in annotations]
        for one in annotations:
            if classes.count(one["category_id"]) == 1 and not one["iscrowd"]:
                name = reference.loadCats(one["category_id"])[0]["name"]
                expected[f"instances_rooms2026-{image}-{one['id']}"] = (f"the {name}", one["bbox"])
    assert {sample.id for sample in samples} == set(expected) and expected
    for sample in samples:
        phrase, (x, y, width, height) = expected[sample.id]
        assert sample.question == phrase
        assert sample.answer == pytest.approx((x, y, x + width, y + height))


def test_class_names_lose_their_comma_and_that_is_said() -> None:
    problems = Problems()
    ball = next(c for c in CONTENT["categories"] if c["name"] == "ball")
    position = CONTENT["categories"].index(ball)
    content = changed(lambda c: c["categories"][position].update(name="ball, round"))
    samples = read(content, problems, negatives=12)
    assert any("ball round" in sample.question.split(", ") for sample in samples)
    assert any("'ball, round' is called 'ball round'" in note for note in problems.notes)


def test_polygons_of_no_pixel_leave_the_box() -> None:
    tiny = changed(
        lambda c: c["annotations"][0].update(
            bbox=[10, 10, 0.2, 0.2], segmentation=[[10, 10, 10.01, 10, 10.01, 10.01]]
        )
    )
    problems = Problems()
    assert read(tiny, problems)[0].objects[0].mask is None and not problems.found
    assert any("segmentations without a pixel, box used instead: 1" in n for n in problems.notes)


def test_polygons_far_outside_end_at_the_border() -> None:
    corners = [[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]]
    content = changed(lambda c: c["annotations"][0].update(segmentation=corners))
    (sample, *_) = read(content)
    mask = sample.objects[0].mask
    assert mask is not None and np.mean(decode_mask(mask)) > 0.9


FIRST = CONTENT["annotations"][0]["id"]
IMAGE = CONTENT["images"][0]["id"]


def annotation(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].update(values)


def image(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["images"][0].update(values)


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown image": (annotation(image_id=5), f"annotation {FIRST}: image_id is 5, which"),
    "unknown class": (annotation(category_id=2), f"annotation {FIRST}: category_id is 2"),
    "crowd is a text": (annotation(iscrowd="no"), f"annotation {FIRST}: iscrowd is 'no'"),
    "no bbox": (annotation(bbox=None), f"annotation {FIRST}: bbox is None"),
    "bbox of texts": (annotation(bbox=["1", 2, 3, 4]), f"annotation {FIRST}: bbox is"),
    "width below 0": (
        annotation(bbox=[9, 2, -5, 4]),
        f"annotation {FIRST}: bbox [9, 2, -5, 4], which is x1, y1, x2, y2 = 9, 2, 4, 6 in",
    ),
    "bbox outside": (annotation(bbox=[100, 2, 50, 4]), "leaves the 112x80 image"),
    "polygon of four": (annotation(segmentation=[[1, 2, 3, 4]]), "not a polygon"),
    "polygon of texts": (annotation(segmentation=[["1"] * 6]), "not a polygon"),
    "polygon elsewhere": (
        annotation(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]], bbox=[90, 60, 9, 9]),
        f"annotation {FIRST}: segmentation covers no pixel of the object's box",
    ),
    "run lengths too short": (
        annotation(segmentation={"size": [80, 112], "counts": [5, 3]}),
        "segmentation.counts is not a run-length code of the whole image",
    ),
    "run lengths below 0": (
        annotation(segmentation={"size": [80, 112], "counts": [-5, 80 * 112 + 5]}),
        "segmentation.counts is not",
    ),
    "other size": (annotation(segmentation={"size": [8, 8], "counts": [64]}), "of size [80, 112]"),
    "image twice": (lambda c: c["images"].append(c["images"][0]), "images[4]: image id 100"),
    "image is a text": (lambda c: c["images"].append("x"), "images[4]: 'x' is not"),
    "missing picture": (image(file_name="gone.jpg"), f"image {IMAGE}: image"),
    "no file name": (image(file_name=None), f"image {IMAGE}: file_name is None"),
    "path upwards": (image(file_name="../x.jpg"), "leaves the image folder"),
    "turned": (image(width=80, height=112), "of 80 x 112 pixels, this one has 112 x 80"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_named_and_its_image_left_out(name: str) -> None:
    change, message = BAD[name]
    problems = Problems()
    samples = read(changed(change), problems)
    (line,) = problems.lines()
    assert "instances.json: " in line and message in line and "\n" not in line
    kept = 4 if name in ("image twice", "image is a text", "unknown image") else 3
    assert len(samples) == kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds nothing to ask about"),
        ({"images": []}, "the row has no id, task, image, question; its keys are images"),
        ({"images": [], "annotations": []}, "is no COCO instances file"),
        (
            changed(lambda c: c["categories"].append(c["categories"][0])),
            "an id that is used before",
        ),
        (changed(lambda c: c["categories"][0].update(name=3)), "categories[0].name is 3"),
        (changed(lambda c: c.update(images=[], annotations=[])), "holds nothing to ask about"),
    ],
    ids=lambda value: "",
)
def test_files_that_are_no_coco(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_data(path, images=IMAGES, on_bad_row="skip")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_that_is_listed_twice_is_one_class() -> None:
    """Some tools list a class with two ids, or the group of all classes as one of them."""
    names = [category["name"] for category in CONTENT["categories"]]

    def twice(content: dict[str, Any]) -> None:
        content["categories"].append({"id": 0, "name": names[0].upper()})
        for one in content["categories"]:
            one["supercategory"] = names[-1]

    problems = Problems()
    samples = read(changed(twice), problems, negatives=100)
    assert not problems.found and any(f"as one: {names[0].upper()}" in n for n in problems.notes)
    present = {thing.label for sample in samples for thing in sample.objects}
    for sample in samples:
        asked = sample.question.split(", ")
        assert len(set(asked)) == len(asked) and names[0].upper() not in asked
        assert names[-1] in present or names[-1] not in asked


def test_the_category_0_empty_polygons_and_boxes_without_area() -> None:
    first, other = CONTENT["annotations"][0], CONTENT["annotations"][1]
    category, image = first["category_id"], first["image_id"]
    label = next(c["name"] for c in CONTENT["categories"] if c["id"] == category)

    def zero(content: dict[str, Any]) -> None:
        for one in (*content["categories"], *content["annotations"]):
            key = "id" if "name" in one else "category_id"
            one[key] = 0 if one[key] == category else one[key]
        content["annotations"][0]["segmentation"] = [[]]

    (sample, *_) = read(changed(zero))
    assert sample.objects[0].label == label and sample.objects[0].mask is None
    assert label in sample.question.split(", ")

    problems = Problems()
    (sample, *_) = read(changed(annotation(bbox=[9, 9, 5, 0])), problems)
    assert first["image_id"] == other["image_id"] == image and not problems.found
    assert label not in sample.question.split(", ") and len(sample.objects) >= 1
    assert any("annotations without area, left out as crowds are: 1" in n for n in problems.notes)


def test_phrases_of_annotations_are_asked_for() -> None:
    content = changed(annotation(phrases=["the big one", "大きいもの"]))
    first = CONTENT["annotations"][0]
    samples = [s for s in read(content, task="rec") if f"-{first['id']}-" in s.id]
    assert [sample.question for sample in samples] == ["the big one", "大きいもの"]
    x, y, width, height = first["bbox"]
    assert samples[0].answer == pytest.approx((x, y, x + width, y + height))


def test_a_file_without_annotations_is_noted() -> None:
    problems = Problems()
    samples = read(changed(lambda c: c.update(annotations=[])), problems)
    assert all(sample.answer == () for sample in samples) and samples
    assert any("annotations is empty" in note for note in problems.notes)


def placed(folder: Path, json_at: str, images_at: str, name: str = "{}") -> Path:
    """Copy the file to ``json_at``, and the images into ``images_at``, renamed by ``name``."""
    content = copy.deepcopy(CONTENT)
    (folder / images_at).mkdir(parents=True, exist_ok=True)
    for one in content["images"]:
        old = one["file_name"]
        one["file_name"] = name.format(old)
        target = folder / images_at / one["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(IMAGES[0] / old, target)
    path = folder / json_at
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("json_at", "images_at", "name"),
    [
        ("instances.json", "images", "{}"),
        ("instances_train2017.json", "train2017", "{}"),
        ("annotations/instances_train2017.json", "train2017", "{}"),
        ("annotations/instances_train2017.json", "images/train2017", "{}"),
        ("annotations/person_keypoints_val2017.json", "images/val2017", "{}"),
        ("annotations/all.json", "images", "{}"),
        ("all.json", "train2017", "{}"),
        ("annotations/all.json", "", "pictures/{}"),
        ("train/_annotations.coco.json", "train", "{}"),
        ("all.json", "img", "übung/{}"),
    ],
)
def test_images_are_found_where_the_usual_tools_put_them(
    tmp_path: Path, json_at: str, images_at: str, name: str
) -> None:
    samples = read_data(placed(tmp_path / "data", json_at, images_at, name), format="coco")
    assert len(samples) == 4
    assert all(str(s.image.path).startswith(str(tmp_path / "data" / images_at)) for s in samples)


def test_absolute_paths_of_another_computer_are_read_by_their_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = placed(tmp_path / "data", "all.json", "images")
    content = json.loads(path.read_text())
    for one, root in zip(content["images"], ["/home/a/images/", "C:\\a\\"] * 2, strict=True):
        one["file_name"] = root + one["file_name"]
    path.write_text(json.dumps(content))
    samples = read_data(path)
    assert [s.image.path.name for s in samples if s.image.path] == [
        Path(one["file_name"]).name for one in CONTENT["images"]
    ]
    assert caplog.text.count("is read as") == 1
    content["images"][1]["file_name"] = content["images"][0]["file_name"].replace("/a/", "/b/")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="would both be"):
        read_data(path)


def test_missing_images_are_all_named_in_one_line_with_the_folder_to_set(tmp_path: Path) -> None:
    path = placed(tmp_path / "data", "all.json", "images")
    names = [one["file_name"] for one in CONTENT["images"]]
    for name in names[1:3]:
        (tmp_path / "data" / "images" / name).unlink()
    problems = Problems()
    assert len(read_data(path, problems=problems)) == 2
    (line,) = problems.lines()
    assert line.startswith(f"2 images do not exist in {tmp_path / 'data' / 'images'}")
    assert all(repr(name) in line for name in names[1:3]) and "images (--images)" in line
    shutil.move(tmp_path / "data" / "images", tmp_path / "data" / "elsewhere")
    with pytest.raises(InputError) as caught:
        read_data(path, images=tmp_path / "data")
    elsewhere = tmp_path / "data" / "elsewhere"
    assert str(caught.value).startswith("4 images do not exist in ")
    where = f"{elsewhere} (--images {elsewhere})"
    assert str(caught.value).endswith(f"2 of 4 looked for are in {elsewhere}; set images: {where}")


def test_images_in_two_folders_must_be_named(tmp_path: Path) -> None:
    path = placed(tmp_path / "data", "all.json", "one")
    placed(tmp_path / "data", "all.json", "two")
    with pytest.raises(
        InputError, match=r"files with the names of its images are in .*one and in .*two"
    ):
        read_data(path)
    assert len(read_data(path, images=tmp_path / "data" / "two")) == 4


def test_files_of_the_same_name_have_different_ids(tmp_path: Path) -> None:
    paths = [placed(tmp_path / n, "_annotations.coco.json", "") for n in ("train", "valid")]
    ids = [sample.id for sample in read_data(paths)]
    assert len(set(ids)) == len(ids) == 8 and ids[4].startswith("valid-_annotations.coco-")


def test_several_thousand_classes(tmp_path: Path) -> None:
    content = changed(
        lambda c: c["categories"].extend({"id": 10**6 + n, "name": f"n{n}"} for n in range(5000))
    )
    for sample in read(content, negatives=3):
        present = {thing["label"] for thing in sample.answer}
        assert len(set(sample.question.split(", ")) - present) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES: list[tuple[Any, ...]] = [
    *(
        (table, 0, key)
        for table in ("images", "annotations", "categories")
        for key in CONTENT[table][0]
    ),
    *((table,) for table in ("images", "annotations", "categories")),
    *((table, 0) for table in ("images", "annotations", "categories")),
    *(("annotations", 0, "bbox", 2), ("annotations", 1, "segmentation", 0)),
    *(("annotations", 0, "segmentation", key) for key in ("size", "counts")),
    *(("images", 0, key) for key in ("neg_category_ids", "not_exhaustive_category_ids", "syngrpo")),
]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(PLACES), JSON, st.sampled_from(["ovd", "rec"]))
@example(("images", 0, "file_name"), "0\n", "ovd")
def test_no_json_value_in_any_place_raises_anything_else(
    place: tuple[Any, ...], value: Any, task: str
) -> None:
    whole = inner = copy.deepcopy(CONTENT)
    *parents, last = place
    for key in parents:
        inner = inner[key]
    inner[last] = value
    problems = Problems()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        path.write_text(json.dumps(whole))
        try:
            samples = read_file(path, "coco", problems, images=IMAGES, task=task)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert samples or problems.found or place in [("images",), ("annotations",)]
    assert "\n" not in "".join(problems.lines())


def coco_of(path: Path, image: str, images: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(images / image)
    annotation = {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 30, 40]}
    content = {
        "images": [{"id": 1, "file_name": image}],
        "annotations": [annotation],
        "categories": [{"id": 0, "name": "cup"}],
    }
    path.write_text(json.dumps(content))


def test_a_folder_of_coco_is_read_by_its_parts(tmp_path: Path) -> None:
    for part in ("train2017", "val2017"):
        coco_of(tmp_path / "annotations" / f"instances_{part}.json", f"{part}.png", tmp_path / part)
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"has the splits train2017, val2017; .* \(--split\)$"):
        read_file(tmp_path, "coco", Problems())
    for split in ("val2017", "val"):
        (sample,) = read_data(tmp_path, split=split)
        assert sample.image.path == tmp_path / "val2017" / "val2017.png"
    with pytest.raises(InputError, match="has no split test; it has train2017, val2017"):
        read_data(tmp_path, split="test")
    file = tmp_path / "annotations" / "instances_val2017.json"
    with pytest.raises(InputError, match="is one file; leave out split"):
        read_data(file, split="val2017")


def test_a_folder_of_roboflow_is_read(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        coco_of(tmp_path / part / "_annotations.coco.json", f"{part}.jpg", tmp_path / part)
    (sample,) = read_data(tmp_path, split="valid")
    assert sample.image.path == tmp_path / "valid" / "valid.jpg"
    (sample,) = read_data(tmp_path / "train")
    assert sample.image.path == tmp_path / "train" / "train.jpg"
    both = read_data([tmp_path / "train", tmp_path / "valid"])
    assert len({one.id for one in both}) == 2


def test_the_parts_of_a_folder_come_in_their_usual_order(tmp_path: Path) -> None:
    for part in ("test", "train", "valid"):
        coco_of(tmp_path / part / "_annotations.coco.json", f"{part}.jpg", tmp_path / part)
    parts = FORMATS.get("coco").parts
    assert parts(tmp_path, Problems()) == ("train", "valid", "test")
    assert parts(tmp_path / "train", Problems()) == ()
    with pytest.raises(InputError, match="has the splits train, valid, test; name one"):
        read_data(tmp_path)


def test_a_written_folder_is_read_back(tmp_path: Path) -> None:
    coco_of(tmp_path / "in.json", "a.png", tmp_path)
    samples = read_data(tmp_path / "in.json")
    write_dataset(samples, tmp_path / "out", "coco")
    assert [one.id for one in read_data(tmp_path / "out")] == [one.id for one in samples]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no COCO file"):
        read_data(tmp_path / "empty", "coco")
