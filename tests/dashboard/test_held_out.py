"""The evaluation sets of a run's configuration, as the pages get them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from syngrpo.dashboard.pictures import picture_routes
from syngrpo.dashboard.reading.followed_runs import FollowedRuns
from syngrpo.dashboard.reading.held_out import held_out_names, held_out_set
from syngrpo_rooms.dataset import rooms_samples


def write_set(folder: Path) -> Path:
    """A data file with two good rows and a bad one."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(folder / "a.png")
    rows = [
        {"id": str(n), "task": "rec", "image": "a.png", "question": f"cup {n}", "answer": box}
        for n, box in enumerate(([1, 2, 30, 20], [5, 5, 9, 9], [5, 5, 900, 9]))
    ]
    file = folder / "cups.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def config_of(**sets: Any) -> dict[str, Any]:
    return {"evaluation": {"every": 5, "sets": sets}}


def test_a_set_is_read_with_its_bad_rows_named(tmp_path: Path) -> None:
    keys = {"path": [str(write_set(tmp_path))], "format": "auto", "boxes": None, "weight": None}
    config = config_of(cups=keys)
    assert held_out_names(config) == ["cups"]
    found = held_out_set(config, "cups")
    assert [sample.question for sample in found.samples.values()] == ["cup 0", "cup 1"]
    assert len(found.problems) == 1 and "cups.jsonl:3: " in found.problems[0]
    assert held_out_set(config, "cups") is found


def test_a_generated_set_is_the_one_of_the_run() -> None:
    config = config_of(test={"format": "rooms", "task": "rec", "split": "test", "count": 3})
    ours = held_out_set(config, "test").samples
    theirs = {sample.id: sample.answer for sample in rooms_samples("test", 3, task="rec")}
    assert {name: sample.answer for name, sample in ours.items()} == theirs


def test_what_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    wrong = {"path": str(tmp_path / "none.jsonl")}
    config = config_of(gone=wrong, odd=7, unknown=wrong | {"format": "no-such"})
    for name, words in (
        ("gone", "none.jsonl"),
        ("odd", "no evaluation set 'odd'"),
        ("unknown", "evaluation.sets.unknown.format"),
        ("other", "no evaluation set 'other'"),
    ):
        found = held_out_set(config, name)
        assert not found.samples and words in found.problems[0], found
    for broken in ({}, {"evaluation": 3}, {"evaluation": {"sets": ["a"]}}):
        assert held_out_names(broken) == []
    write_set(tmp_path).rename(tmp_path / "none.jsonl")  # the disk is mounted
    assert len(held_out_set(config, "gone").samples) == 2


def test_pictures_of_a_set_are_served(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    write_set(tmp_path / "data")
    run.mkdir(parents=True)
    path = tmp_path / "data" / "cups.jsonl"
    (run / "config.yaml").write_text(json.dumps(config_of(cups={"path": str(path)})))
    app = FastAPI()
    app.include_router(picture_routes(FollowedRuns([run])))
    client = TestClient(app)
    asked = {"run": "one", "set": "cups", "sample": "1", "side": 160}
    answer = client.get("/picture", params=asked)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    for wrong in ({"sample": "2"}, {"set": "other"}, {"set": "../cups"}, {"side": 7}):
        answer = client.get("/picture", params=asked | wrong)
        assert answer.status_code == 404, wrong
