"""What TensorBoard, W&B and Trackio hold after a step and a table of groups; the last two offline,
where they are installed."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from quick_runs import quick_config
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from syngrpo.cli.train import run_training
from syngrpo.responses.drawn_answers import RIGHT, TRUTH, AnsweredGroup, Marks, drawn_answers
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.trackers import trackers
from syngrpo_rooms.dataset import rooms_samples

HOSTILE = "a | b\n<script>alert(1)</script>"


def groups() -> list[AnsweredGroup]:
    found = []
    for sample in rooms_samples("train", 2):
        truth = ("", *sample.answer)
        far = ("", -1e30, 2.0, 1e30, 5.0)
        found.append(
            AnsweredGroup(
                sample=sample,
                truth=Marks([truth]),
                marks=[Marks([("", 4.0, 4.0, 30.0, 30.0)], [("", 9.0, 9.0)]), Marks([far])],
                answers=["[4, 4, 30, 30]", None],
                accuracies=[1.0, 0.0],
                descriptions=[HOSTILE],
                diversity=0.25,
            )
        )
    return found


def test_the_truth_and_every_answer_are_on_the_picture() -> None:
    (group, _) = groups()
    picture = drawn_answers(group)
    assert picture.size == (512, 512)
    pixels = np.asarray(picture)
    scale = 512 / group.sample.image.width
    x1, y1, _, _ = group.sample.answer
    assert tuple(pixels[round(y1 * scale) + 2, round(x1 * scale) + 2]) == TRUTH
    assert tuple(pixels[round(4 * scale), round(20 * scale)]) == RIGHT


def events(folder: Path) -> EventAccumulator:
    (curves,) = (path.parent for path in folder.rglob("events.*"))
    found = EventAccumulator(str(curves), size_guidance={"images": 0, "tensors": 0})
    found.Reload()
    return found


def test_tensorboard_has_a_text_with_the_table_and_a_picture_for_each_row(tmp_path: Path) -> None:
    with trackers(["tensorboard"], Processes(), tmp_path) as tracked:
        tracked.log({"step": 3, "loss": 0.5, "diversity/reward": None}, 3)
        tracked.log_groups(groups(), 3)
        tracked.log_groups([], 4)
    found = events(tmp_path)
    assert found.Tags()["scalars"] == ["loss"]
    assert found.Tags()["images"] == ["responses/0", "responses/1"]
    (event,) = found.Images("responses/0")
    assert Image.open(io.BytesIO(event.encoded_image_string)).size == (512, 512)
    (text,) = found.Tensors("responses/text_summary")
    head, line, *rows = text.tensor_proto.string_val[0].decode().split("\n")
    assert len(rows) == 2 and head.count("|") == line.count("|") == rows[0].count("|")
    assert "1.00: [4, 4, 30, 30]<br>0.00: (no answer)" in rows[0]
    assert "<script>" not in rows[0] and "a &#124; b &lt;script&gt;" in rows[0]


def test_a_run_sends_a_table_at_each_evaluation(tmp_path: Path) -> None:
    quick = {"method__name": "grpo", "rollout__max_new_tokens": 32, "trainer__steps": 2}
    quick |= {"logging__trackers": "[tensorboard]", "evaluation__every": 1}
    test = {"evaluation__sets": "{test: {format: rooms, split: test, count: 2}}"}
    keep = {"logging__responses": "{keep: none}"}
    run = tmp_path / "run"
    options = quick_config(**quick, **test, **keep)
    run_training(options, run, resume=False, console=Console(quiet=True))
    found = events(run / "curves")
    for tag in ("responses/0", "responses/2"):
        assert [event.step for event in found.Images(tag)] == [1, 2]
    assert not (run / "responses").exists()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield tmp_path


def test_wandb_has_a_table_with_pictures(offline: Path) -> None:
    pytest.importorskip("wandb")
    with trackers(["wandb"], Processes(), offline) as tracked:
        tracked.log({"step": 3, "loss": 0.5}, 3)
        tracked.log_groups(groups(), 3)
    (table,) = (offline / "wandb").rglob("media/table/responses*.json")
    value: dict[str, Any] = json.loads(table.read_text())
    assert value["columns"][3] == "picture" and len(value["data"]) == 2
    row = value["data"][0]
    assert row[4:6] == [0.25, 0.5] and row[7].startswith("a | b <script")
    # The pictures are in an artifact, whose list of files is in the records of the run.
    (records,) = (offline / "wandb").glob("offline-run-*/run-*.wandb")
    assert len(set(re.findall(rb"media/images/\w+\.png", records.read_bytes()))) == 2


def test_trackio_has_a_table_with_pictures(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(offline / "trackio"))
    pytest.importorskip("trackio")
    with trackers(["trackio"], Processes(), offline) as tracked:
        tracked.log({"step": 3, "loss": 0.5}, 3)
        tracked.log_groups(groups(), 3)
    (database,) = (offline / "trackio").glob("*.db")
    rows = sqlite3.connect(database).execute("SELECT metrics FROM metrics")
    logged = [json.loads(metrics) for (metrics,) in rows]
    (value,) = (one["responses"] for one in logged if "responses" in one)
    row = value["_value"][0]
    assert row["D"] == 0.25 and row["descriptions"].startswith("a | b &lt;script&gt;")
    assert len(list((offline / "trackio").rglob("*.png"))) == 2
