"""A task and a reward of a user's own on both pages and in the metrics; hostile texts."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_run import write_run
from pointing_task import Pointing
from report_page import read
from rich.console import Console
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.pages.evaluation_page import write_evaluation_page
from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import TASKS
from syngrpo_rooms.dataset import rooms_samples

HOSTILE = "</title></style><script>alert('&\"')</script><img src=x onerror=alert(1)>"

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "figure", "figcaption"),
    *("h1", "h2", "h3", "p", "span", "b", "i", "small", "br", "code", "pre", "div", "ul", "li"),
    *("table", "tr", "th", "td", "dl", "dt", "dd", "details", "summary"),
    *("svg", "image", "rect", "circle", "text", "path", "line", "g"),
}
"""What the templates write."""


@pytest.fixture
def pointing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pointing]:
    """The task, known by its name as if the configuration had named it."""
    task = Pointing()
    monkeypatch.setitem(TASKS._loaded, task.name, task)
    yield task


def pointing_samples(number: int) -> list[Sample]:
    return [replace(s, columns={}) for s in rooms_samples("test", number, task="pointing")]


def answered(sample: Sample, point: tuple[float, float] | None, accuracy: float) -> Prediction:
    rewards = {"brevity": accuracy / 2 if accuracy else None}
    answer = Answer("<answer>…</answer>", point, accuracy, True, rewards)
    return Prediction(
        *(sample.id, sample.task, sample.question, sample.answer, sample.columns.get("kind")),
        answer,
        (answer, replace(answer, rewards={"brevity": None})),
        0.0,
    )


def test_the_page_of_an_evaluation_shows_an_own_task_and_reward(
    pointing: Pointing, tmp_path: Path
) -> None:
    samples = pointing_samples(6)
    points = [sample.answer if place else None for place, sample in enumerate(samples)]
    made = [answered(s, p, float(p is not None)) for s, p in zip(samples, points, strict=True)]
    result = summarise(made)
    assert result.metrics["greedy/accuracy"] == pytest.approx(5 / 6)
    # The reward gave the first sample no value: it is left out, not counted as zero.
    assert (
        result.metrics["greedy/reward/brevity"] == result.metrics["sampled/reward/brevity"] == 0.5
    )
    assert result.intervals["greedy/reward/brevity"] == (0.5, 0.5)
    line = json.loads(json.dumps(result.record(0, "mine")))
    assert line["per_sample"]["greedy/reward/brevity"] == [None] + [0.5] * 5
    html, page = read(write_evaluation_page(tmp_path, {"mine": result}, {"mine": samples}, "m"))
    assert html.count('<circle class="truth"') == 6 and html.count('<circle class="found"') == 5
    text = " ".join(" ".join(page.text).split())
    assert "points inside 0.833" in text and "greedy reward brevity 0.500" in text
    assert "A point on the edge of <the> object is inside." in text
    x, y = samples[1].answer
    assert f"truth: ({x:.0f}, {y:.0f})" in text and "answer: unreadable" in text


def test_the_report_of_a_run_shows_an_own_task_and_reward(
    pointing: Pointing, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", 6, 6, tasks=("pointing",))
    add_reward(run, "brevity")
    name_tasks(run, "pointing")
    html, page = read(write_report(run))
    text = " ".join(" ".join(page.text).split())
    assert '<circle class="asked"' in html and '<rect class="other"' in html
    assert "greedy points inside 36.9% → 49.5%" in text and "Rewards of your own" in text
    output = io.StringIO()
    print_summary(run, Console(file=output, width=140))
    assert "greedy points inside" in output.getvalue() and "reward brevity" in output.getvalue()


def test_a_report_of_a_task_that_is_not_installed_writes_the_plain_answer(
    pointing: Pointing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", 3, 3, tasks=("pointing",))
    name_tasks(run, "pointing")
    monkeypatch.delitem(TASKS._loaded, "pointing")
    html, page = read(write_report(run))
    assert "<circle class=" not in html and html.count("<image ") > 4
    assert "greedy accuracy reward" in " ".join(page.text)


def test_the_report_command_loads_the_tasks_of_the_run(
    pointing: Pointing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", 3, 3, tasks=("pointing",))
    monkeypatch.delitem(TASKS._loaded, "pointing")
    config = (run / "config.yaml").read_text()
    task = "data: {train: [{path: a.jsonl, task: 'MODULE:Pointing'}]}\n"
    for module, note in (
        ("gone", "task 'gone:Pointing' cannot be imported"),
        ("pointing_task", ""),
    ):
        (run / "config.yaml").write_text(config + task.replace("MODULE", module))
        done = CliRunner().invoke(app, ["report", str(run)], catch_exceptions=False)
        assert (note in done.stderr) if note else (done.stderr == "")
        assert ("<circle class=" in (run / "report.html").read_text()) == (not note)
    monkeypatch.delitem(TASKS._loaded, "pointing")
    monkeypatch.delitem(TASKS._loaded, "pointing_task:Pointing")


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    """Whatever data, models and configurations say, no page gets a tag of theirs."""
    run = write_run(tmp_path / "<b>run", 3, 3)
    config = (run / "config.yaml").read_text()
    config = config.replace("name: syn-grpo", f"name: {json.dumps(HOSTILE)}")
    (run / "config.yaml").write_text(config)
    add_reward(run, "<i>")
    rows = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    rows[0] |= {"set": HOSTILE, "tasks": [HOSTILE], "kinds": {HOSTILE: {"samples": 1}}}
    rows[0]["metrics"][f"{HOSTILE}/greedy/accuracy"] = 0.5
    (run / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, report = read(write_report(run))
    text = "".join(report.text)
    assert text.count(HOSTILE) >= 4 and "<b>run" in text and "<i>" in text

    label = {"label": HOSTILE, "box": (1.0, 2.0, 30.0, 40.0)}
    image = EncodedImage.from_pixels(rooms_samples("test", 1)[0].image.decode())
    sample = Sample(HOSTILE, "ovd", image, HOSTILE, (label,), (), columns={"kind": HOSTILE})
    answer = Answer(HOSTILE, (label,), 1.0, True, {HOSTILE: 1.0})
    made = Prediction(HOSTILE, "ovd", HOSTILE, (label,), HOSTILE, answer, (), 0.0)
    results = {HOSTILE: summarise([made])}
    _, page = read(write_evaluation_page(tmp_path, results, {HOSTILE: [sample]}, HOSTILE))
    assert "".join(page.text).count(HOSTILE) >= 12
    assert set(report.tags) | set(page.tags) <= TAGS


def add_reward(run: Path, name: str) -> None:
    """Adds a reward of the user's to a run's configuration and metrics."""
    with (run / "config.yaml").open("a") as file:
        file.write(f"data: {{rewards: [{{use: 'my.rewards:{name}', name: '{name}'}}]}}\n")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row[f"reward/{name}"] = 0.25
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def name_tasks(run: Path, task: str) -> None:
    """Gives the evaluations of a run the task and the metrics that one of this task has."""
    rows = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    for row in rows:
        row["tasks"] = [task]
        row["metrics"] = {k: v for k, v in row["metrics"].items() if "@" not in k}
    (run / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
