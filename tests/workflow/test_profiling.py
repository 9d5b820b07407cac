"""``--profile`` writes a timeline that shows what goes on at the same time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from quick_runs import quick_config, train_arguments
from rich.console import Console
from rollout_server import rollout_server
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.cli.train import run_training
from syngrpo.sample import InputError
from syngrpo.serving.directory_lock import LOCK_NAME
from syngrpo.serving.timeline import span
from syngrpo.workflow.profiling import Profile

Span = dict[str, Any]
STEPS = 3


def spans_in(file: Path) -> list[Span]:
    """Return the spans of a trace, each with ``row``: the names of its process and thread."""
    events = json.loads(file.read_text())["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    threads = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"
    }
    return [
        {**e, "row": (processes[e["pid"]], threads[e["pid"], e["tid"]])}
        for e in events
        if e["ph"] == "X"
    ]


def of(spans: list[Span], name: str, step: int | None = None) -> list[Span]:
    return [s for s in spans if s["name"] == name and step in (None, s["args"].get("step"))]


def overlap(one: Span, other: Span) -> bool:
    begins = max(one["ts"], other["ts"])
    return bool(begins < min(one["ts"] + one["dur"], other["ts"] + other["dur"]))


def profiled(folder: Path, profile: Profile, **changed: Any) -> list[Span]:
    """Run with the rollout server, and return the spans of its timeline."""
    with rollout_server() as server:
        config = quick_config(
            rollout__server=server.url, trainer__steps=STEPS, method__name="grpo", **changed
        )
        run_training(config, folder, False, Console(quiet=True), profile=profile)
    (file,) = (folder / "timeline").glob("*.json")
    assert file.name == f"steps-1-{profile.steps}.json"
    return spans_in(file)


def test_sampling_ahead_overlaps_the_update(tmp_path: Path) -> None:
    ahead = profiled(tmp_path / "1", Profile(STEPS), rollout__async_steps=1)
    now = profiled(tmp_path / "0", Profile(STEPS), rollout__async_steps=0)
    for spans in (ahead, now):
        sampled = of(spans, "sample on the server")
        assert [one["args"]["step"] for one in sampled] == [1, 2, 3]
        assert [one["args"]["step"] for one in of(spans, "update")] == [1, 2, 3]
    for step in range(1, STEPS):
        (update,) = of(ahead, "update", step)
        (rollout,) = of(ahead, "sample on the server", step + 1)
        assert rollout["row"] == ("trainer", "rollouts") and update["row"] == ("trainer", "main")
        assert overlap(rollout, update)
    for update in of(now, "update"):
        assert not any(overlap(one, update) for one in of(now, "sample on the server"))


@pytest.mark.slow
def test_the_timeline_of_some_steps_shows_all_who_work(tmp_path: Path) -> None:
    workers = {"synthesis__mode": "async", "synthesis__workers": 2}
    config = quick_config(trainer__steps=12, trainer__checkpoint_every=2, **workers)
    run_training(config, tmp_path, False, Console(quiet=True), profile=Profile(11))
    assert [path.name for path in (tmp_path / "timeline").iterdir()] == ["steps-1-11.json"]
    spans = spans_in(tmp_path / "timeline" / "steps-1-11.json")
    rows = {span["row"] for span in spans}
    trainer = {"main", "data-client", "responses_0"}
    assert {("trainer", name) for name in trainer} < rows
    assert any(process.startswith("worker ") for process, _ in rows)
    done = {name: of(spans, name) for name in ("step", "save checkpoint", "paint")}
    assert [one["args"]["step"] for one in done["step"]] == list(range(1, 12))
    assert len(done["save checkpoint"]) == 5 and done["paint"]
    assert all(one["row"][0].startswith("worker ") for one in done["paint"])
    for step in range(1, 12):
        (whole,) = of(spans, "step", step)
        parts = ("draw", "sample", "prefill", "decode", "score", "submit", "settle", "update")
        more = ("micro-batch", "forward", "backward", "optimizer step", "keep responses")
        for name in parts + more:
            found = of(spans, name, step)
            assert found, (name, step)
            for one in found:
                assert whole["ts"] <= one["ts"]
                assert one["ts"] + one["dur"] <= whole["ts"] + whole["dur"]
    assert span("nothing is recorded any more") is span("")


def test_a_run_that_ends_early_keeps_its_timeline(tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path, "--profile", method__name="grpo", trainer__steps=2)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "timeline of 2 steps:" in result.output and "ui.perfetto.dev" in result.output
    spans = spans_in(tmp_path / "timeline" / "steps-1-2.json")
    assert [one["args"]["step"] for one in of(spans, "step")] == [1, 2]
    more = train_arguments(tmp_path, "--resume", "--profile", method__name="grpo", trainer__steps=4)
    assert CliRunner().invoke(app, more).exit_code == 0
    spans = spans_in(tmp_path / "timeline" / "steps-3-4.json")
    assert [one["args"]["step"] for one in of(spans, "step")] == [3, 4]
    assert (tmp_path / "timeline" / "steps-1-2.json").exists()


@pytest.mark.slow
def test_the_operations_of_a_step_are_those_of_pytorchs_profiler(tmp_path: Path) -> None:
    options = ("--profile", "--profile-steps", "4", "--profile-kernels", "1")
    arguments = train_arguments(tmp_path, *options, method__name="grpo", trainer__steps=4)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "operations of PyTorch in 1 step:" in result.output
    with gzip.open(tmp_path / "timeline" / "steps-3-3-kernels.json.gz") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"aten::mm", "ProfilerStep#2"} <= names and "ProfilerStep#3" not in names
    assert (tmp_path / "timeline" / "steps-1-4.json").exists()


def test_a_run_that_could_not_begin_begins_in_the_same_directory(tmp_path: Path) -> None:
    usual = {"method__name": "grpo", "trainer__steps": 1}
    small = train_arguments(tmp_path, "--profile", trainer__token_budget=9, **usual)
    result = CliRunner().invoke(app, small)
    assert "trainer.token_budget" in str(result.exception)
    result = CliRunner().invoke(app, train_arguments(tmp_path, "--profile", **usual))
    assert result.exit_code == 0, result.exception
    assert [path.name for path in (tmp_path / "timeline").iterdir()] == ["steps-1-1.json"]


def test_a_run_without_profile_has_no_timeline(tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path, method__name="grpo", trainer__steps=1)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not (tmp_path / "timeline").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--profile-kernels", "2"), "--profile-kernels 2 needs --profile"),
        (("--profile-steps", "4"), "--profile-steps 4 needs --profile"),
        (
            ("--profile", "--profile-steps", "4", "--profile-kernels", "3"),
            "begins in step 3 and needs --profile-steps 5 or more, not 4",
        ),
        (
            ("--profile", "--profile-kernels", "3"),
            "--profile-kernels 3 needs 5 steps, and the run has 3 left",
        ),
    ],
)
def test_what_cannot_be_profiled_is_an_error_before_the_first_step(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(app, train_arguments(tmp_path, *flags, method__name="grpo"))
    assert isinstance(result.exception, InputError) and message in str(result.exception)
    assert {path.name for path in tmp_path.iterdir()} <= {LOCK_NAME}  # it can be started again
