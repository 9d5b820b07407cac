"""What is said about files and folders that are in no format which is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.sample import InputError

BOX = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0}
OF_TOOLS: dict[str, tuple[Any, str]] = {
    "label-studio": (
        [{"id": 1, "annotations": [{"result": [{"value": BOX | {"rectanglelabels": ["cup"]}}]}]}],
        "is Label Studio's JSON; export the project as COCO, YOLO or Pascal VOC",
    ),
    "via": (
        {"a.jpg1": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect"}}]}},
        "is a project of VGG Image Annotator; export its annotations as COCO",
    ),
    "create-ml": (
        [{"image": "a.jpg", "annotations": [{"label": "cup", "coordinates": BOX}]}],
        "is Create ML's JSON; export the data set as COCO",
    ),
}


def told(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_data(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", OF_TOOLS)
def test_files_of_tools_that_are_not_read_are_named(
    tmp_path: Path, name: str, indent: int | None
) -> None:
    content, what = OF_TOOLS[name]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(content, indent=indent))
    assert told(path).startswith(f"{path} {what}")
    assert f"{path} {what}" in told(tmp_path)


def test_keys_of_a_users_own_rows_may_be_called_as_those_of_tools(tmp_path: Path) -> None:
    Image.new("RGB", (20, 16)).save(tmp_path / "a.png")
    row = {"id": "a", "task": "rec", "image": "a.png", "question": "it", "answer": [1, 2, 9, 8]}
    (tmp_path / "data.json").write_text(json.dumps([row | {"columns": {"box2d": [1, 2]}}]))
    assert [sample.columns for sample in read_data(tmp_path / "data.json")] == [{"box2d": [1, 2]}]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_file_for_each_image_is_one_line(tmp_path: Path, indent: int | None) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (20, 16)).save(tmp_path / f"{name}.png")
        mine = {"file": f"{name}.png", "things": [{"what": "cup", "where": [1, 2, 3, 4]}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(mine, indent=indent))
    assert told(tmp_path) == (
        f"folder {tmp_path} is in no known format; it holds a JSON file for each image, such as "
        f"{tmp_path / 'a.json'} with the keys file, things, which no known tool writes; write one "
        "file of JSONL rows (docs/data.md)"
    )


def test_images_alone_and_archives(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 16)).save(tmp_path / "photos" / "a.png")
    assert "it holds images and no labels; name the file with the labels" in told(tmp_path)
    assert "it is an image; name the file with the labels" in told(tmp_path / "photos" / "a.png")
    (tmp_path / "data.zip").write_bytes(b"PK")
    assert "it is an archive; unpack it" in told(tmp_path / "data.zip")
