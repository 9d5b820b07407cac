"""Files of labelling tools, written here as the tools document them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import read_data, read_file
from PIL import Image, ImageDraw

from syngrpo.boxes import decode_mask
from syngrpo.formats import FORMATS, Problems, recognised_format
from syngrpo.sample import InputError, Sample

pytest.importorskip("globox")

WIDTH, HEIGHT = 200, 100
DOG, CUP, OTHER_CUP = (20.0, 10.0, 60.0, 50.0), (100.0, 50.0, 150.0, 90.0), (0.0, 60.0, 30.0, 100.0)
LABELLED = [("dog", DOG), ("cup", CUP), ("cup", OTHER_CUP)]
Labels = list[tuple[str, tuple[float, float, float, float]]]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), "gray").save(path)


def voc(folder: Path, labels: Labels, difficult: int = 0) -> Path:
    objects = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{b[0]}</xmin>"
        f"<ymin>{b[1]}</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for label, b in labels
    )
    picture(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(
        f"<annotation><filename>a.jpg</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    )
    return folder


def labelme(folder: Path, labels: Labels) -> Path:
    picture(folder / "a.jpg")
    shapes = [
        {"label": label, "points": [list(b[:2]), list(b[2:])], "shape_type": "rectangle"}
        for label, b in labels
    ]
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.jpg"}
    content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (folder / "a.json").write_text(json.dumps(content, indent=2))
    return folder


def cvat(folder: Path, labels: Labels, more: str = "") -> Path:
    picture(folder / "images" / "a.jpg")
    boxes = "".join(
        f'<box label="{label}" occluded="0" xtl="{b[0]}" ytl="{b[1]}" xbr="{b[2]}" ybr="{b[3]}" />'
        for label, b in labels
    )
    names = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cup", "pot"))
    path = folder / "annotations.xml"
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><job>'
        f"<labels>{names}</labels></job></meta>"
        f'<image id="0" name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{boxes}{more}</image>'
        "</annotations>"
    )
    return path


def yolo(folder: Path, labels: Labels, **keys: Any) -> Path:
    picture(folder / "images" / "train" / "a.jpg")
    names = ["dog", "cup", "pot"]
    (folder / "labels" / "train").mkdir(parents=True)
    lines = [
        f"{names.index(label)} {(b[0] + b[2]) / 2 / WIDTH} {(b[1] + b[3]) / 2 / HEIGHT} "
        f"{(b[2] - b[0]) / WIDTH} {(b[3] - b[1]) / HEIGHT}\n"
        for label, b in labels
    ]
    (folder / "labels" / "train" / "a.txt").write_text("".join(lines))
    content = {"path": ".", "train": "images/train", "names": names} | keys
    (folder / "data.yaml").write_text(json.dumps(content))
    return folder / "data.yaml"


def open_images(folder: Path, labels: Labels) -> Path:
    picture(folder / "train" / "0001eeaf4aed83f9.jpg")
    codes = {"dog": "/m/0bt9lr", "cup": "/m/02p5f1q", "pot": "/m/1"}
    names = "".join(f"{code},{name}\n" for name, code in codes.items())
    (folder / "class-descriptions-boxable.csv").write_text(names)
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    )
    rows = [
        f"0001eeaf4aed83f9,xclick,{codes[label]},1,{b[0] / WIDTH},{b[2] / WIDTH},{b[1] / HEIGHT},"
        f"{b[3] / HEIGHT},0,0,0\n"
        for label, b in labels
    ]
    (folder / "train-annotations-bbox.csv").write_text(head + "".join(rows))
    return folder / "train-annotations-bbox.csv"


TOOLS: dict[str, Callable[[Path, Labels], Path]] = {
    "voc": voc,
    "labelme": labelme,
    "cvat": cvat,
    "yolo": yolo,
    "open-images": open_images,
}


@pytest.mark.parametrize("tool", TOOLS)
def test_classes_and_single_objects(tmp_path: Path, tool: str) -> None:
    path = TOOLS[tool](tmp_path / "data", LABELLED)
    assert recognised_format(path).name == tool
    (sample,) = read_data(path, negatives=1)
    absent = {"pot"} if tool in ("cvat", "yolo", "open-images") else set()
    assert sample.task == "ovd" and set(sample.question.split(", ")) == {"dog", "cup"} | absent
    assert [thing.label for thing in sample.objects] == ["dog", "cup", "cup"]
    assert [t.box for t in sample.objects] == [pytest.approx(box) for _, box in LABELLED]
    assert len(sample.answer) == 3
    (single,) = read_data(path, task="rec")
    assert (single.question, single.answer) == ("the dog", pytest.approx(DOG))
    assert len(single.objects) == 3


@pytest.mark.parametrize("tool", TOOLS)
def test_a_box_outside_is_named_with_its_place(tmp_path: Path, tool: str) -> None:
    path = TOOLS[tool](tmp_path / "data", [("dog", (20.0, 10.0, 260.0, 50.0))])
    with pytest.raises(InputError, match=r"data.*: the box of 'dog' .* leaves the 200x100 image"):
        read_data(path)


def one(path: Path, problems: Problems | None = None, **keys: Any) -> Sample:
    (sample,) = read_data(path, problems=problems, **keys)
    return sample


def test_voc_splits_and_difficult_objects(tmp_path: Path) -> None:
    path = voc(tmp_path / "data", [("dog", DOG)], difficult=1)
    picture(path / "JPEGImages" / "b.jpg")
    text = (path / "Annotations" / "a.xml").read_text().replace("a.jpg", "b.jpg")
    text = text.replace("<difficult>1", "<difficult>0")
    (path / "Annotations" / "b.xml").write_text(text)
    (path / "ImageSets" / "Main").mkdir(parents=True)
    (path / "ImageSets" / "Main" / "val.txt").write_text("b\n")
    assert one(path, split="val").id == "data-b"
    problems = Problems()
    samples = read_data(path, problems=problems)
    assert [sample.id for sample in samples] == ["data-b"]
    assert any("no ground truth, left out: 1" in note for note in problems.notes)
    with pytest.raises(InputError, match=r"has no split test \(no .*test\.txt\); it has val"):
        read_data(path, split="test")
    (path / "Annotations" / "c.xml").write_text("<annotation><object/></annotation>")
    (path / "Annotations" / "d.xml").write_text("<annotation>")
    problems = Problems()
    read_data(path, problems=problems)
    assert [Path(defect.place).name for defect in problems.found] == ["c.xml", "d.xml"]
    assert "the box of '' cannot be read" in problems.found[0].message
    assert "not XML" in problems.found[1].message


def test_numbers_that_are_no_box_are_told_with_their_label(tmp_path: Path) -> None:
    swapped = voc(tmp_path / "voc", [("dog", (60.0, 10.0, 20.0, 50.0))])
    told = r"the box of 'dog' \[60\.0, 10\.0, 20\.0, 50\.0\] has no area"
    with pytest.raises(InputError, match=told):
        read_data(swapped)
    file = cvat(tmp_path / "cvat", LABELLED)
    file.write_text(file.read_text().replace('xtl="20.0"', 'xtl="left"', 1))
    with pytest.raises(InputError, match=r"the box of 'dog' is \['left', .*\], not four numbers"):
        read_data(file)


def triangle() -> np.ndarray:
    """The mask of a polygon as PIL draws it."""
    canvas = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(canvas).polygon([(20, 10), (60, 10), (20, 50)], fill=1)
    return np.asarray(canvas)


def close_to_the_triangle(sample: Sample) -> bool:
    mask = sample.objects[-1].mask
    assert mask is not None and sample.objects[-1].box == pytest.approx(DOG)
    found, drawn = decode_mask(mask), triangle()
    return bool((found & drawn).sum() / (found | drawn).sum() > 0.9)


def test_polygons_and_phrases_of_labelme(tmp_path: Path) -> None:
    path = labelme(tmp_path / "data", [("cup", CUP)])
    content = json.loads((path / "a.json").read_text())
    corners = [[20, 10], [60, 10], [20, 50]]
    dog = {"label": "dog", "points": corners, "shape_type": "polygon", "description": "a wet dog"}
    line = {"label": "leash", "points": [[1, 1], [2, 2]], "shape_type": "line"}
    content["shapes"] += [dog, line]
    content["imagePath"] = "C:\\elsewhere\\a.jpg"
    (path / "a.json").write_text(json.dumps(content))
    problems = Problems()
    sample = one(path, problems, task="rec")
    assert (sample.question, sample.answer) == ("a wet dog", DOG) and close_to_the_triangle(sample)
    assert any("kind line, which are not read, left out; their" in n for n in problems.notes)
    content["shapes"] = [{"label": "dog", "points": [[9, 9], [20, 9]], "shape_type": "circle"}]
    content["shapes"] += json.loads((labelme(tmp_path / "cup", LABELLED) / "a.json").read_text())[
        "shapes"
    ][1:2]
    (path / "a.json").write_text(json.dumps(content | {"imagePath": "a.jpg"}))
    (tmp_path / "cup" / "a.jpg").rename(tmp_path / "cup" / "b.jpg")
    whole = json.loads((tmp_path / "cup" / "a.json").read_text()) | {"imagePath": "b.jpg"}
    (tmp_path / "cup" / "b.json").write_text(json.dumps(whole))
    (tmp_path / "cup" / "a.json").write_text(json.dumps(content | {"imagePath": "b.jpg"}))
    with_circle, with_box = read_data(tmp_path / "cup", negatives=1)
    assert with_circle.question == "cup"  # not "cup, dog": the dog in the circle is there
    assert set(with_box.question.split(", ")) == {"cup", "dog"}


def test_images_of_labelme_are_found_beside_the_folder_and_by_their_names(tmp_path: Path) -> None:
    path = labelme(tmp_path / "json", [("cup", CUP)])
    content = json.loads((path / "a.json").read_text())
    content["imagePath"] = "..\\photos\\a.jpg"
    (path / "a.json").write_text(json.dumps(content))
    problems = Problems()
    assert one(path, problems).image.path == path / "a.jpg"
    assert problems.notes == [
        f"{path}: images that are not where imagePath says, found by their names: 1"
    ]
    picture(tmp_path / "photos" / "a.jpg")
    problems = Problems()
    assert one(path, problems).image.path == tmp_path / "photos" / "a.jpg" and not problems.notes
    (tmp_path / "other").mkdir()
    picture(tmp_path / "other" / "a.jpg")
    found = read_data(path, images=tmp_path / "other")
    assert found[0].image.path == tmp_path / "other" / "a.jpg"
    for image in (path / "a.jpg", tmp_path / "photos" / "a.jpg"):
        image.unlink()
    with pytest.raises(InputError, match=r"a\.jpg in .* does not exist; "):
        read_data(path)


def test_polygons_attributes_and_other_shapes_of_cvat(tmp_path: Path) -> None:
    more = (
        '<polygon label="dog" points="20,10;60,10;20,50"><attribute name="caption">a wet dog'
        '</attribute></polygon><points label="nose" points="1,1" />'
    )
    problems = Problems()
    sample = one(cvat(tmp_path / "data", [("cup", CUP)], more), problems, task="rec")
    assert sample.question == "a wet dog" and close_to_the_triangle(sample)
    assert any("shapes of the kind points, which are not read" in note for note in problems.notes)
    hidden = '<ellipse label="dog" cx="40" cy="30" rx="20" ry="20" />'
    asked = one(cvat(tmp_path / "ellipse", [("cup", CUP)], hidden), negatives=2).question
    assert set(asked.split(", ")) == {"cup", "pot"}  # a dog is there, though its shape is not read
    (tmp_path / "data" / "task_2.xml").write_text(
        (tmp_path / "data" / "annotations.xml").read_text()
    )
    with pytest.raises(InputError, match=r"holds 2 XML files, such as annotations\.xml and task_2"):
        read_data(tmp_path / "data")
    turned = '<box label="dog" xtl="1" ytl="1" xbr="9" ybr="9" rotation="30" />'
    with pytest.raises(InputError, match="it has a rotated box; export polygons"):
        read_data(cvat(tmp_path / "turned", [], turned))


def test_polygons_and_missing_labels_of_yolo(tmp_path: Path) -> None:
    path = yolo(tmp_path / "data", [("cup", CUP)])
    labels = tmp_path / "data" / "labels" / "train" / "a.txt"
    labels.write_text(labels.read_text() + "0 0.1 0.1 0.3 0.1 0.1 0.5\n")
    assert close_to_the_triangle(one(path))
    picture(tmp_path / "data" / "images" / "train" / "b.png")
    problems = Problems()
    samples = read_data(path, problems=problems)
    assert [len(sample.answer) for sample in samples] == [2, 0]
    assert any("without a label file, which show no object: 1" in n for n in problems.notes)
    for line in ("3 0.1 0.1 0.1 0.1", "0 0.1", "x 1 2 3 4"):
        labels.write_text(f"\n0 0.1 0.1 0.1 0.1\n{line}\n")
        with pytest.raises(InputError, match=r"a\.txt:3: the line"):
            read_data(path)
    labels.unlink()
    told = f"no image has a file with its labels, such as {labels} for"
    with pytest.raises(InputError, match=re.escape(told)):
        read_data(path)


@pytest.mark.parametrize("points", [[4, 2], [2, 3]])
def test_keypoints_of_yolo_follow_the_box_and_are_no_polygon(
    tmp_path: Path, points: list[int]
) -> None:
    path = yolo(tmp_path / "data", [("dog", DOG)], kpt_shape=points)
    labels = tmp_path / "data" / "labels" / "train" / "a.txt"
    places = " ".join("0.9 0.8" + " 1" * (points[1] - 2) for _ in range(points[0]))
    labels.write_text(f"{labels.read_text().strip()} {places}\n")
    (thing,) = one(path).objects
    assert thing.box == pytest.approx(DOG) and thing.mask is None


def test_only_splits_of_yolo_that_exist_are_offered(tmp_path: Path) -> None:
    path = yolo(tmp_path / "a", LABELLED, val="images/train", test="../test/images")
    yolo_format, problems = FORMATS.get("yolo"), Problems()
    for place in (path, path.parent):
        assert yolo_format.parts(place, problems) == ("train", "val")
    assert problems.notes[0] == f"{path}: the folder of split test does not exist; it is left out"
    with pytest.raises(InputError, match="has the splits train, val; name one"):
        read_file(path, "yolo", Problems())
    with pytest.raises(InputError, match=r"has no split all; it has train, val$"):
        read_data(path, split="all")
    with pytest.raises(InputError, match="test/images does not exist; correct the paths"):
        read_data(path, split="test")
    assert yolo_format.parts(yolo(tmp_path / "b", LABELLED), problems) == ()
    typing_error = yolo(tmp_path / "c", LABELLED, train="images/trian", val="images/train")
    assert yolo_format.parts(typing_error, problems) == ("val",)
    with pytest.raises(InputError, match="has the splits val; name one"):
        read_data(typing_error)


def test_a_test_split_of_yolo_without_labels_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = yolo(tmp_path / "a", LABELLED, val="images/train", test="images/test")
    picture(tmp_path / "a" / "images" / "test" / "b.jpg")
    problems, yolo_format = Problems(), FORMATS.get("yolo")
    assert yolo_format.parts(path, problems) == ("train", "val")
    assert problems.notes == [
        f"{path}: no image of split test has a file with its labels; it is left out"
    ]
    with pytest.raises(InputError, match="no image has a file with its labels"):
        read_data(path, split="test")  # as asked for
    labels = tmp_path / "a" / "labels"
    (labels / "train").rename(labels / "test")
    (labels / "test" / "a.txt").rename(labels / "test" / "b.txt")
    assert yolo_format.parts(path, problems) == ("train", "val", "test")


@pytest.mark.parametrize("classes", ["classes.txt", "obj.names", "_darknet.labels"])
@pytest.mark.parametrize("inside", [".", "obj_train_data"])
def test_yolo_labels_beside_their_images(tmp_path: Path, classes: str, inside: str) -> None:
    folder = tmp_path / inside  # as labelImg, CVAT and Roboflow's export for Darknet write them
    folder.mkdir(exist_ok=True)
    picture(folder / "b.JPG")
    x, y, width, height = 0.5, 0.25, 0.2, 0.5
    (folder / "b.txt").write_text(f"1 {x} {y} {width} {height}\n")
    (tmp_path / classes).write_text("dog\r\ncup\r\n")
    (thing,) = one(tmp_path).objects
    left, upper = (x - width / 2) * WIDTH, (y - height / 2) * HEIGHT
    box = (left, upper, left + width * WIDTH, upper + height * HEIGHT)
    assert (thing.label, thing.box) == ("cup", pytest.approx(box))


def test_paths_of_another_computer_in_lists_of_yolo(tmp_path: Path) -> None:
    path = yolo(
        tmp_path / "a", LABELLED, path="/home/me/project", train="/home/me/project/list.txt"
    )
    for line in ("/home/me/project/images/train/a.jpg", r"C:\me\project\images\train\a.jpg"):
        (tmp_path / "a" / "list.txt").write_text(line + "\n")
        sample = one(path)
        assert sample.image.path == tmp_path / "a" / "images" / "train" / "a.jpg"
        assert [thing.label for thing in sample.objects] == ["dog", "cup", "cup"]
    folder = yolo(tmp_path / "b", LABELLED, train="/home/me/project/images/train")
    assert len(one(folder).objects) == 3


def test_labels_that_labelimg_has_verified_are_read(tmp_path: Path) -> None:
    path = voc(tmp_path, LABELLED)
    files = [path] if path.is_file() else sorted(path.rglob("*.xml"))
    for file in files:
        text = file.read_text()
        assert "<annotation>" in text
        file.write_text(text.replace("<annotation>", '<annotation verified="yes">'))
    assert [thing.label for thing in one(path).objects] == ["dog", "cup", "cup"]


def test_the_layouts_of_yolo_folders(tmp_path: Path) -> None:
    roboflow = yolo(tmp_path / "a", LABELLED, path=None, train="../images/train")
    assert one(roboflow).id == "data-images/train/a"
    numbered = yolo(tmp_path / "b", LABELLED, names={"0": "x"})
    numbered.write_text("names: {0: dog, 1: cup}\ntrain: list.txt\n")
    (tmp_path / "b" / "list.txt").write_text("./images/train/a.jpg\n")
    assert [thing.label for thing in one(numbered).objects] == ["dog", "cup", "cup"]
    several = yolo(tmp_path / "c", LABELLED, val="images/train")
    assert len(one(several, split="val").objects) == 3
    with pytest.raises(InputError, match="has the splits train, val; name one with split"):
        read_file(several, "yolo", Problems())
    without = yolo(tmp_path / "d", LABELLED).with_name("classes.txt")
    without.with_name("data.yaml").unlink()
    without.write_text("dog\ncup\n")
    assert (
        recognised_format(without.parent).name == "yolo" and len(one(without.parent).objects) == 3
    )
    gone = yolo(tmp_path / "e", LABELLED, train="images/gone")
    with pytest.raises(InputError, match="does not exist; correct the paths in this file"):
        read_data(gone)


def test_yolo_files_in_pixels_are_recognised(tmp_path: Path) -> None:
    path = yolo(tmp_path / "data", LABELLED)
    labels = tmp_path / "data" / "labels" / "train" / "a.txt"
    labels.write_text("".join(f"0 {b[0]} {b[1]} {b[2]} {b[3]}\n" for _, b in LABELLED))
    with pytest.raises(InputError, match="set boxes: xyxy, coordinates: pixels"):
        read_data(path)
    sample = one(path, boxes="xyxy", coordinates="pixels")
    assert [thing.box for thing in sample.objects] == [box for _, box in LABELLED]


def test_open_images_need_their_class_names(tmp_path: Path) -> None:
    path = open_images(tmp_path / "data", LABELLED)
    assert "pot" not in one(path).question
    path.write_text(path.read_text().replace(",0,0,0\n", ",0,0,1\n", 1))
    problems = Problems()
    sample = one(path, problems)
    assert sample.question == "cup" and len(sample.objects) == 2
    assert any("no ground truth, left out: 1" in note for note in problems.notes)
    broken = path.read_text().replace("0,0,1\n", "0,0,0\n", 1).replace(",1,0.1,", ",1,,", 1)
    path.write_text(broken)
    problems = Problems()
    assert read_data(path, problems=problems) == [] and len(problems.found) == 1
    (tmp_path / "data" / "class-descriptions-boxable.csv").unlink()
    with pytest.raises(InputError, match=r"put class-descriptions-boxable\.csv beside it"):
        read_data(path)
