"""Data sources: their keys, their names, and what a run reads from them."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from PIL import Image

from syngrpo.formats import Problems
from syngrpo.formats.source import (
    DataOptions,
    Source,
    SourceError,
    keys_from_source,
    may_be_hub_name,
    named,
    paths_in,
    source_from_argument,
    source_from_keys,
    split_paths,
)
from syngrpo.formats.source_reading import (
    every_source,
    lines_about,
    read_dataset,
    read_source,
    read_sources,
)
from syngrpo.sample import InputError
from syngrpo.tasks.rewards import RewardOptions


def row(name: str, **changes: Any) -> dict[str, Any]:
    base = {"id": name, "task": "rec", "image": "a.png", "question": "it", "answer": [1, 2, 9, 8]}
    return base | changes


def write(path: Path, *rows: dict[str, Any]) -> Path:
    Image.new("RGB", (12, 10)).save(path.parent / "a.png")
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_the_keys_of_a_source_are_its_fields_and_those_of_its_format() -> None:
    source = source_from_keys(
        {"path": "x.json", "format": "coco", "negatives": 3, "weight": 2, "limit": 5, "task": "rec"}
    )
    assert source == Source(
        path=(Path("x.json"),),
        format="coco",
        task="rec",
        weight=2.0,
        limit=5,
        options={"negatives": 3},
    )
    assert source_from_keys(keys_from_source(source)) == source
    several = source_from_keys({"path": "a.jsonl:b.jsonl", "images": ["x", "y"], "split": "val"})
    assert several.path == (Path("a.jsonl"), Path("b.jsonl"))
    assert several.images == (Path("x"), Path("y")) and several.options == {"split": "val"}
    assert source_from_keys(keys_from_source(several)) == several


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "needs a path"),
        ({"format": "coco"}, "format coco needs a path"),
        ({"path": []}, "path: is an empty list; name at least one"),
        ({"path": 3}, "path: 3 is not allowed: should be a path or a list of paths"),
        ({"path": "x", "task": "depth"}, "task 'depth' is unknown; use one of rec, ovd"),
        ({"path": "x", "format": "xml"}, "format 'xml' is unknown; use one of jsonl, vlm-r1"),
        ({"path": "x", "limit": 0}, "limit: 0 is not allowed: should be greater"),
        ({"path": "x", "weight": -1}, "weight: -1 is not allowed: should be greater"),
        ({"path": "x", "weight": "much"}, "weight: 'much' is not allowed: should be a number"),
        ({"path": "x", "name": ""}, "name: '' is not allowed"),
        (
            {"path": "x", "format": "jsonl", "negatives": 3},
            "negatives: format jsonl has no such key; its keys are path, images, boxes,",
        ),
        (
            {"path": "x", "format": "refcoco", "columns": {}},
            "columns: format refcoco has no such key; its keys are split, path, images,",
        ),
        ({"path": "x", "format": "coco", "negatives": -1}, "negatives: -1 is not allowed"),
        ({"path": "x", "negatives": -1}, "negatives: -1 is not allowed"),
        ({"path": "x", "negative": 1}, "negative: unknown key; the keys of a source are path,"),
        ({"format": "user_extensions:Dots", "path": "x"}, "path: format user_extensions:Dots"),
        (
            {"format": "user_extensions:Dots", "images": "x"},
            "images: format user_extensions:Dots",
        ),
        ({"format": "user_extensions:Dots", "skip": 1}, "skip: format dots has no such key"),
    ],
)
def test_wrong_keys_are_one_line_that_names_the_key(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(SourceError) as caught:
        source_from_keys(keys)
    text = str(caught.value)
    assert text.startswith(told) and "\n" not in text
    begins = f"data.train.0.{text}" if caught.value.key else f"data.train.0: {text}"
    assert caught.value.below("data.train.0") == begins
    assert text.startswith(caught.value.key)


def test_with_format_auto_the_keys_that_the_format_has_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row("a"))
    assert len(read_dataset(source_from_keys({"path": path, "negatives": 3, "split": "val"}))) == 1


def test_several_paths_are_joined_by_colons(tmp_path: Path) -> None:
    assert split_paths("a.jsonl:b.jsonl") == paths_in("a.jsonl:b.jsonl") == ["a.jsonl", "b.jsonl"]
    assert split_paths("a.jsonl") == "a.jsonl" and split_paths("C:") == "C:"
    (tmp_path / "a:b").touch()
    assert split_paths("a:b", tmp_path) == "a:b" and paths_in(str(tmp_path / "a:b")) == [
        str(tmp_path / "a:b")
    ]


def test_names_are_by_file_format_and_split_and_unique() -> None:
    keys: tuple[dict[str, Any], ...] = (
        {"path": "a/rec.jsonl"},
        {"path": ["b/rec.jsonl", "c.jsonl"]},
        {"path": "refcoco", "format": "refcoco", "split": "val"},
        {"format": "user_extensions:Dots"},
        {"format": "user_extensions:Dots", "split": "test", "task": "user_extensions:Touching"},
        {"path": "x.jsonl", "name": "rec-2"},
    )
    sources = [source_from_keys(one) for one in keys]
    assert list(named(sources)) == [
        *("rec", "rec-3", "refcoco-val", "dots", "dots-touching-test", "rec-2"),
    ]
    twice = [source_from_keys({"path": name, "name": "a"}) for name in ("x", "y")]
    with pytest.raises(ValueError, match="two sources are named 'a'"):
        named(twice)
    with pytest.raises(ValueError, match="two sources are named 'a'"):
        DataOptions(train=tuple(twice))


def test_rewards_have_names_of_their_own_and_one_may_replace_the_accuracy() -> None:
    train = (source_from_keys({"path": "x"}),)
    same = (RewardOptions(use="a:f"), RewardOptions(use="b:f"))
    with pytest.raises(ValueError, match="two rewards are named 'f'"):
        DataOptions(train=train, rewards=same)
    both = tuple(RewardOptions(use=f"a:{name}", replaces_accuracy=True) for name in "fg")
    with pytest.raises(ValueError, match="f and g both replace the accuracy"):
        DataOptions(train=train, rewards=both)


def test_arguments_of_the_command_line_name_paths_and_generated_formats() -> None:
    source = source_from_argument("a.json", {"format": "coco", "negatives": 1}, {"count": 3})
    assert source.path == (Path("a.json"),) and source.options == {"negatives": 1}
    rooms = source_from_argument("rooms:ovd:test", {"limit": 2}, {"count": 3})
    assert (rooms.format, rooms.task, rooms.limit) == ("rooms", "ovd", None)
    assert rooms.options == {"split": "test", "count": 3}
    assert source_from_argument("rooms:test", {}, {}).task is None
    for text, told in (
        ("rooms:cellar", "data rooms:cellar: split: 'cellar' is not allowed"),
        ("rooms:depth:test", "data rooms:depth:test: task 'depth' is unknown"),
    ):
        with pytest.raises(InputError, match=told):
            source_from_argument(text, {}, {})


def test_hub_names_are_for_formats_that_take_them() -> None:
    assert may_be_hub_name("hf")
    assert not any(map(may_be_hub_name, ("coco", "auto", "xml", None, 3)))


def test_what_a_run_reads_is_a_seed_with_the_name_of_its_source(tmp_path: Path) -> None:
    painted = row("b", parent="a", description="brick walls", depth=2)
    path = write(tmp_path / "mine.jsonl", row("a"), painted)
    source = source_from_keys({"path": path})
    assert read_dataset(source)[1].parent == "a"
    _, sample = read_source(source, "mine", Problems())
    assert (sample.dataset, sample.parent, sample.description, sample.depth) == (
        *("mine", None, None, 0),
    )


def test_a_run_reads_all_sources_and_tells_everything_at_once(tmp_path: Path) -> None:
    first = write(tmp_path / "one.jsonl", row("a"), row("b"))
    second = write(tmp_path / "two.jsonl", row("c"))
    train = tuple(source_from_keys({"path": path}) for path in (first, second))
    held_out = {"val": source_from_keys({"path": first}), "same": train[0]}
    samples, sets = read_sources(DataOptions(train=train), held_out)
    assert [[one.id for one in part] for part in samples] == [["a", "b"], ["c"]]
    assert {name: [one.dataset for one in part] for name, part in sets.items()} == {
        "val": ["val", "val"],
        "same": ["same", "same"],
    }
    twice = DataOptions(train=(train[0], source_from_keys({"path": first, "name": "again"})))
    with pytest.raises(InputError, match=r"one\.jsonl is read twice; name it in one source"):
        read_sources(twice, {})
    bad = write(tmp_path / "bad.jsonl", row("x", task="y"), row("z"))
    wrong = DataOptions(train=(train[0], source_from_keys({"path": tmp_path / "gone.jsonl"})))
    with pytest.raises(InputError, match=r"gone\.jsonl does not exist.*bad\.jsonl:1: task 'y'"):
        read_sources(wrong, {"val": source_from_keys({"path": bad})})
    skipping = DataOptions(train=train, on_bad_row="skip")
    _, sets = read_sources(skipping, {"val": source_from_keys({"path": bad})})
    assert [one.id for one in sets["val"]] == ["z"]


def told(path: Path, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_data(path, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tables_in_text_are_named_with_their_columns(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("picture,class,xmin\na.png,cup,1\n")
    (tmp_path / "boxes.tsv").write_text("filename\tclass\na.png\tcup\n")
    line = told(tmp_path / "boxes.csv")
    assert "it is a table (CSV) and has the columns picture, class, xmin: none holds images" in line
    assert "columns filename, class: none holds boxes" in told(tmp_path / "boxes.tsv")
    line = told(tmp_path / "boxes.csv", format="open-images")
    assert line.startswith(f"{tmp_path / 'boxes.csv'} has the columns picture, class, xmin, and ")
    (tmp_path / "boxes.xlsx").write_bytes(b"PK")
    assert "save it as CSV in UTF-8" in told(tmp_path / "boxes.xlsx")


def test_keys_that_a_recognised_format_does_not_have_are_noted(tmp_path: Path) -> None:
    problems = Problems()
    path = write(tmp_path / "a.jsonl", row("a"))
    keys = {"path": path, "split": "val", "negatives": 1}
    assert read_dataset(source_from_keys(keys), problems)
    notes = [f"{path}: format jsonl has no key {k}; it is ignored" for k in keys]
    assert problems.notes == notes[1:] and not problems.lines()


def test_the_list_of_llama_factory_is_named_with_its_files(tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    listed = {"cups": {"file_name": "cups.json"}, "pots": {"hf_hub_url": "me/pots"}}
    path.write_text(json.dumps(listed, indent=2))
    for place in (path, tmp_path):
        assert told(place) == (
            f"{place} is LLaMA-Factory's list of the data sets cups, pots, and holds no samples; "
            "none of its files lies beside it"
        )
    (tmp_path / "cups.json").write_text("[]")
    assert told(path).endswith(f"; name one of its files: {tmp_path / 'cups.json'}")


def test_a_folder_without_a_known_format_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": 1}')
    assert f"; name a file in it: {tmp_path / 'data.json'}" in told(tmp_path)
    (tmp_path / "data.json").rename(tmp_path / "data.txt")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "boxes.csv").write_text("")
    assert told(tmp_path).endswith(f"; name a file in it: {tmp_path / 'tables' / 'boxes.csv'}")


def test_a_run_says_what_it_trains_on_source_by_source(tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "fixtures" / "jsonl" / "data.jsonl"
    train = [
        source_from_keys({"path": path, "weight": 2}),
        source_from_keys({"format": "rooms", "split": "train", "count": 3, "size": 64}),
    ]
    held_out = {"val": source_from_keys({"path": path, "limit": 1})}
    problems = Problems()
    every = every_source(train, held_out, problems)
    first, second, val = (read_source(source, key[1], problems) for key, source in every)
    assert lines_about(train, held_out, first + second, {"val": val}) == [
        f"trains on data: 4 ovd and 4 isr and 2 rec samples of 2 images, from {path}, weight 2",
        "trains on rooms-rec-train: 3 rec samples of 3 images, from format rooms",
        f"evaluates on val: 1 {val[0].task} sample of 1 image, from {path}",
    ]
