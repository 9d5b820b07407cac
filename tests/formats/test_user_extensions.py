"""A task and formats of a user's package, with the formats and tasks of ours."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_sets import read_data
from export_samples import FILES, SAMPLES
from user_extensions import Lines, Touching

from syngrpo.extensions import Registry
from syngrpo.formats import FORMATS, recognised_format, writable_format
from syngrpo.formats.box_questions import boxes_of_answer
from syngrpo.formats.export import write_dataset
from syngrpo.formats.source import source_from_argument, source_from_keys
from syngrpo.formats.source_reading import read_dataset
from syngrpo.formats.survey import contact_sheet, survey
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import TASKS, get_task, load_task, tasks_that_ask

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOUCHING = "user_extensions:Touching"
LINES = "user_extensions:Lines"


def install(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], name: str, at: str) -> None:
    """As if an installed package had this entry point."""
    monkeypatch.setattr(registry, "_offered", {**registry._offers(), name: {at: "mine"}})
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))


@pytest.fixture(autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    tasks, formats = dict(TASKS._loaded), dict(FORMATS._loaded)
    for name in ("touching", TOUCHING):  # which tests of other files may have loaded
        TASKS._loaded.pop(name, None)
    yield
    TASKS._loaded, FORMATS._loaded = tasks, formats


def test_a_task_of_the_configuration_is_found_by_the_name_of_its_samples() -> None:
    with pytest.raises(InputError, match="task 'touching' is unknown"):
        get_task("touching")
    task = load_task(TOUCHING)
    assert isinstance(task, Touching) and get_task("touching") is load_task(TOUCHING) is task
    with pytest.raises(InputError, match="has the name 'rec' of another task"):
        load_task("user_extensions:Impostor")
    with pytest.raises(InputError, match="cannot be imported from user_extensions:Gone"):
        load_task("user_extensions:Gone")
    with pytest.raises(InputError, match="task 'user_extensions:Touching' is not loaded"):
        TASKS._loaded.clear()
        get_task(TOUCHING)  # a name from data never imports anything


def test_a_task_of_an_installed_package_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, TASKS, "touching", TOUCHING)
    assert isinstance(get_task("touching"), Touching)
    assert tasks_that_ask(["object"]) == ["rec", "touching"]
    install(monkeypatch, TASKS, "pressing", TOUCHING)
    with pytest.raises(InputError, match="task 'pressing' has the name 'touching'"):
        get_task("pressing")
    assert tasks_that_ask(["object"]) == ["rec", "touching"]


@pytest.mark.parametrize(
    "keys",
    [
        {"path": FIXTURES / "coco" / "annotations" / "instances_rooms2026.json"},
        {"path": FIXTURES / "refcoco"},
        {"path": FIXTURES / "vlm_r1" / "rec.jsonl"},
        {"format": "rooms", "split": "test", "count": 6, "size": 64},
    ],
)
def test_a_task_that_asks_for_an_object_reads_every_format_as_rec_does(
    keys: dict[str, Any],
) -> None:
    mine = read_dataset(source_from_keys({**keys, "task": TOUCHING}))
    rec = read_dataset(source_from_keys({**keys, "task": "rec"}))
    assert len(mine) >= 3 and {sample.task for sample in mine} == {"touching"}
    for touched, referred in zip(mine, rec, strict=True):
        assert (touched.question, touched.answer) == (referred.question, referred.answer)
        assert touched.objects == referred.objects
        x1, y1, x2, y2 = touched.answer
        assert get_task("touching").score(((x1 + x2) / 2, (y1 + y2) / 2), touched) == 1


@pytest.mark.parametrize("format", ["jsonl", "vlm-r1", "coco", "hf"])
def test_its_samples_are_written_and_read_back(tmp_path: Path, format: str) -> None:
    source = {"path": FIXTURES / "coco" / "annotations" / "instances_rooms2026.json"}
    samples = read_dataset(source_from_keys({**source, "task": TOUCHING}))
    write_dataset(samples, tmp_path / "out", format)
    file = {"coco": "instances.json", "hf": "."}.get(format, "data.jsonl")
    found = read_data(tmp_path / "out" / file, format)
    assert sorted(map(plain, found)) == sorted(map(plain, samples))


def test_a_truth_that_is_a_point_is_written_as_the_object_around_it() -> None:
    load_task("user_extensions:TouchingMiddle")
    sample = replace(SAMPLES[0], task="touching-middle")
    assert [mark.box for mark in boxes_of_answer(sample, "COCO's")] == [sample.answer]
    with pytest.raises(InputError, match=r"task touching-middle, .* COCO's format has no place"):
        boxes_of_answer(replace(sample, objects=()), "COCO's")


IMAGE = FIXTURES / "jsonl" / "images" / "room-0.png"
IF_THERE = [
    {"id": "there", "question": "the mirror", "answer": [28.0, 10.0, 37.0, 23.0]},
    {"id": "left out", "question": "the cup"},
    {"id": "empty", "question": "the cup", "answer": None, "objects": []},
    {"id": "null", "question": "the cup", "answer": None, "objects": None},
]
"""Rows of a task whose samples need no objects, in every way to say that there are none."""


def if_there(folder: Path) -> list[Sample]:
    load_task("user_extensions:TouchingIfThere")
    rows = [{**row, "task": "touching-if-there", "image": IMAGE.name} for row in IF_THERE]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_data(folder / "rows.jsonl", images=(IMAGE.parent,))


def test_a_task_whose_samples_need_no_objects_reads_rows_without_them(tmp_path: Path) -> None:
    there, *absent = if_there(tmp_path)
    assert [thing.box for thing in there.objects] == [there.answer]
    assert [(sample.answer, sample.objects) for sample in absent] == [(None, ())] * 3


@pytest.mark.parametrize("format", ["jsonl", "hf"])
def test_its_samples_are_written_and_read_back_without_objects(tmp_path: Path, format: str) -> None:
    samples = if_there(tmp_path)
    write_dataset(samples, tmp_path / "out", format)
    found = read_data(tmp_path / "out" / FILES[format], format)
    assert list(map(plain, found)) == list(map(plain, samples))


@pytest.mark.parametrize("format", ["vlm-r1", "coco"])
def test_a_format_of_boxes_has_no_place_for_them(tmp_path: Path, format: str) -> None:
    samples = if_there(tmp_path)
    write_dataset(samples[:1], tmp_path / "there", format)
    with pytest.raises(InputError, match=r"^sample left out has task .* write jsonl or hf$"):
        write_dataset(samples, tmp_path / "all", format)


def plain(sample: Sample) -> tuple[Any, ...]:
    return sample.id, sample.task, sample.question, sample.answer, str(sample.objects)


def test_what_a_format_cannot_ask_is_one_line() -> None:
    with pytest.raises(InputError, match=r"cannot be read as task 'ovd'; use task rec$"):
        read_data(FIXTURES / "refcoco", task="ovd")


def test_a_survey_and_a_sheet_show_any_task() -> None:
    samples = read_dataset(
        source_from_keys({"format": "rooms", "split": "test", "count": 3, "task": TOUCHING})
    )
    assert survey(samples).tasks == {"touching": 3}
    assert contact_sheet(samples).width == 3 * 2 * samples[0].image.width


def test_a_format_of_a_package_reads_writes_and_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [sample for sample in SAMPLES if sample.task == "rec"]
    write_dataset(samples, tmp_path / "out", LINES)
    path = tmp_path / "out" / "data.lines"
    found = read_data(path, LINES, skip=1)
    assert [sample.question for sample in found] == [one.question for one in samples[1:]]
    assert [sample.answer for sample in found] == [one.answer for one in samples[1:]]
    with pytest.raises(InputError, match="skip: -1 is not allowed"):
        read_data(path, LINES, skip=-1)
    with pytest.raises(InputError, match="skipp: format lines has no such key; its keys are sep"):
        read_data(path, LINES, skipp=1)
    with pytest.raises(InputError, match=r"data\.lines is in no known format"):
        recognised_format(path)
    install(monkeypatch, FORMATS, "lines", LINES)
    install(monkeypatch, FORMATS, "ruin", "user_extensions:Ruin")
    assert isinstance(recognised_format(path), Lines)
    assert len(read_data(path, skip=1)) == len(samples) - 1
    with pytest.raises(InputError, match="'ruin' cannot be imported from user_extensions:Ruin"):
        source_from_keys({"path": path, "format": "ruin"})


def test_a_format_that_generates_or_only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FORMATS, "dots", "user_extensions:Dots")
    source = source_from_argument("dots:test", {}, {"count": 2})
    assert (source.format, source.options) == ("dots", {"split": "test", "count": 2})
    with pytest.raises(InputError, match="dots are out of stock"):
        read_dataset(source)
    for name in ("dots", "refcoco"):
        with pytest.raises(InputError, match=f"'{name}' cannot be written; use one of coco, hf, j"):
            writable_format(name)
