"""What is read where a source names a data set with several parts, or a folder with data sets."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.formats import Problems
from syngrpo.formats.data_folders import TRAIN
from syngrpo.formats.source import DataOptions, source_from_keys
from syngrpo.formats.source_reading import read_dataset, read_sources
from syngrpo.sample import InputError

BOX = [2, 3, 12, 9]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), "white").save(path)


def coco_part(folder: Path, part: str, images: int) -> None:
    """Write a part of a COCO data set, as its authors lay it out."""
    listed = [
        {"id": number, "file_name": f"{part}-{number}.png", "width": 20, "height": 16}
        for number in range(images)
    ]
    boxes = [
        {"id": one["id"], "image_id": one["id"], "category_id": 1, "bbox": [2, 3, 10, 6]}
        for one in listed
    ]
    for one in listed:
        picture(folder / part / str(one["file_name"]))
    content = {
        "images": listed,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "cup"}],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


def jsonl(path: Path, *names: str) -> None:
    picture(path.parent / "a.png")
    rows = [
        {"id": name, "task": "rec", "image": "a.png", "question": "it", "answer": BOX}
        for name in names
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_for_training(path: Path, problems: Problems, **keys: Any) -> list[str]:
    source = source_from_keys({"path": path, **keys})
    samples = read_dataset(source, problems, section=TRAIN)
    assert not problems.lines()
    return [sample.id for sample in samples]


def test_a_run_trains_on_the_training_split_and_evaluates_on_the_other(tmp_path: Path) -> None:
    coco_part(tmp_path, "train2017", 3)
    coco_part(tmp_path, "val2017", 2)
    whole = source_from_keys({"path": tmp_path})
    train, held_out = read_sources(DataOptions(train=(whole,)), {"mine": whole})
    assert [[sample.id for sample in samples] for samples in (train[0], held_out["mine"])] == [
        [f"instances_train2017-{number}" for number in range(3)],
        [f"instances_val2017-{number}" for number in range(2)],
    ]


def test_the_split_that_is_chosen_is_noted_with_the_others(tmp_path: Path) -> None:
    coco_part(tmp_path, "train2017", 1)
    coco_part(tmp_path, "val2017", 1)
    problems = Problems()
    assert read_for_training(tmp_path, problems) == ["instances_train2017-0"]
    assert problems.notes == [
        f"{tmp_path}: split train2017 is read, and not val2017; split (--split) names another"
    ]
    problems = Problems()
    assert read_for_training(tmp_path, problems, split="val") == ["instances_val2017-0"]
    assert problems.notes == []


def test_a_split_that_could_be_either_of_two_must_be_named(tmp_path: Path) -> None:
    for part in ("train2017", "val2017", "test2017"):
        coco_part(tmp_path, part, 1)
    with pytest.raises(InputError, match="has the splits train2017, val2017, test2017; name one"):
        read_data(tmp_path)  # held out: val or test
    coco_part(tmp_path, "train2014", 1)
    with pytest.raises(InputError, match=r"has the splits train2014, train2017, .*; name one"):
        read_dataset(source_from_keys({"path": tmp_path}), section=TRAIN)


def test_the_only_data_set_of_a_folder_is_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "mine" / "rows.jsonl", "a", "b")
    (tmp_path / "mine" / "notes.txt").write_text("taken on Monday")
    for folder in (tmp_path / "mine", tmp_path):  # also one folder further down
        problems = Problems()
        assert [sample.id for sample in read_data(folder, problems=problems)] == ["a", "b"]
        read = tmp_path / "mine" / "rows.jsonl"
        assert problems.notes == [f"{folder}: data set {read} is read, the only one there"]


def test_of_the_data_sets_of_a_folder_the_one_for_training_is_trained_on(tmp_path: Path) -> None:
    jsonl(tmp_path / "my_train.jsonl", "a")
    jsonl(tmp_path / "my_val.jsonl", "b")
    problems = Problems()
    assert read_for_training(tmp_path, problems) == ["a"]
    assert problems.notes == [
        f"{tmp_path}: data set {tmp_path / 'my_train.jsonl'} is read, and not my_val.jsonl; name "
        "the one that you mean"
    ]
    assert [sample.id for sample in read_data(tmp_path)] == ["b"]
    assert [s.id for s in read_data(tmp_path, split="my_train")] == ["a"]


def test_data_sets_with_names_that_say_nothing_are_listed(tmp_path: Path) -> None:
    jsonl(tmp_path / "monday.jsonl", "a")
    jsonl(tmp_path / "tuesday.jsonl", "b")
    with pytest.raises(InputError) as caught:
        read_data(tmp_path)
    paths = f"{tmp_path / 'monday.jsonl'}, {tmp_path / 'tuesday.jsonl'}"
    assert str(caught.value) == (
        f"folder {tmp_path} holds several data sets; name one of them: {paths}"
    )
