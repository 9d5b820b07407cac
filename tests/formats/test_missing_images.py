"""What is said about images that do not exist, and which folder is offered for them."""

import json
import shutil
from pathlib import Path

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.formats import Problems
from syngrpo.sample import InputError


def jsonl(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": name, "task": "rec", "image": name, "question": "cup", "answer": [1, 2, 30, 40]}
        for name in names
    ]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def images(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)
    return folder


def line(path: Path) -> str:
    problems = Problems()
    read_data(path, problems=problems)
    (told,) = problems.lines()
    return told


NAMES = [f"{number:03}.png" for number in range(12)]


def test_a_folder_is_offered_if_it_holds_the_images(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", NAMES)
    images(tmp_path / "mine" / "thumbnails", NAMES[:1])
    assert "thumbnails" not in line(data) and line(data).endswith("with images (--images)")
    pictures = images(tmp_path / "mine" / "all" / "pictures", NAMES[:11])
    assert line(data) == (
        f"12 images do not exist in {tmp_path / 'mine'}: '000.png', '001.png', '002.png', "
        f"'003.png', '004.png' and 7 more; the first belongs to {data}:1; 11 of 12 looked for are "
        f"in {pictures}; set images: {pictures} (--images {pictures})"
    )


def test_a_folder_with_other_images_of_these_names_is_no_sure_offer(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", NAMES)
    other = images(tmp_path / "yours", NAMES)
    assert f"files of these names are in {other}; if they are the right images, set" in line(data)
    third = images(tmp_path / "theirs", NAMES)
    assert f"several folders have files of these names: {third}, {other}; name that" in line(data)


def test_a_folder_is_not_offered_for_one_missing_image_alone(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", NAMES)
    images(tmp_path / "mine", NAMES[:11])
    images(tmp_path / "mine" / "old", NAMES[11:])
    assert line(data) == (
        f"{data}:12: image {tmp_path / 'mine' / '011.png'} does not exist; the other 11 are there: "
        "add the file, or remove the rows"
    )


def test_folders_that_hold_the_images_together_are_offered_together(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", NAMES)
    parts = [tmp_path / "mine" / part for part in ("one", "two")]
    images(parts[0], NAMES[:7])
    images(parts[1], NAMES[7:])
    told = f"set images: [{parts[0]}, {parts[1]}] (--images {parts[0]} --images {parts[1]})"
    assert line(data).endswith(told)
    assert len(read_data(data, images=parts)) == 12


@pytest.mark.parametrize("start", ["/home/somebody/pictures/", "D:\\pictures\\"])
def test_paths_of_another_computer_are_looked_for_by_their_ends(tmp_path: Path, start: str) -> None:
    data = jsonl(tmp_path / "mine", [start + name for name in NAMES])
    pictures = images(tmp_path / "mine" / "images", NAMES)
    assert f"they are in {pictures}; set images: {pictures} (--images" in line(data)
    assert start.rstrip("/\\") not in line(data).rpartition("set images")[2]
    assert len(read_data(data, images=pictures)) == 12


def test_names_in_other_letters_or_with_another_ending_are_told(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", [name.upper().replace("PNG", "JPG") for name in NAMES])
    images(tmp_path / "mine", NAMES)
    assert line(data).endswith(
        f"there is {tmp_path / 'mine' / '000.png'} for '000.JPG'; write names exactly as the files "
        "are called"
    )


def test_paths_through_a_folder_that_is_called_otherwise_are_told(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", ["images/" + name for name in NAMES])
    pictures = images(tmp_path / "mine" / "pictures", NAMES)
    assert line(data).endswith(
        f"files of these names are in {pictures}: correct the paths in the data, or move the files"
    )


def test_coco_images_are_not_taken_from_a_folder_with_some_of_them(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(NAMES)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "all.json").write_text(json.dumps(coco))
    images(tmp_path / "coco" / "backup", NAMES[:2])
    right = images(tmp_path / "coco" / "photos", NAMES)
    assert len(read_data(tmp_path / "coco" / "all.json")) == 12
    shutil.move(right, tmp_path / "coco" / "deep" / "photos")
    with pytest.raises(InputError, match=r"they are in .*deep/photos; set images"):
        read_data(tmp_path / "coco" / "all.json")


def test_an_empty_image_is_called_empty(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "mine", NAMES[:1])
    (tmp_path / "mine" / NAMES[0]).write_bytes(b"")
    assert line(data) == (
        f"{data}:1: image {tmp_path / 'mine' / NAMES[0]} cannot be read: it is empty (0 bytes); "
        "replace it"
    )
