"""What the report, the summary and the progress line show of a run of several tasks."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from made_up_run import write_run
from report_page import Page, picture_svg, read
from rich.console import Console

from syngrpo.pages.charts import number
from syngrpo.pages.labelled_picture import answer_marks, sample_picture, words_beside_picture
from syngrpo.pages.pool_gallery import families
from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.pages.training_progress import TrainingProgress
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo_rooms.dataset import rooms_samples


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mixed"
    return write_run(folder, steps=6, planned=6, tasks=("rec", "ovd", "isr"))


def test_a_run_of_several_tasks_shows_each(mixed_run: Path) -> None:
    _, page = read(write_report(mixed_run))
    text = " ".join(" ".join(page.text).split())
    rows = [json.loads(line) for line in (mixed_run / "metrics.jsonl").read_text().splitlines()]
    for task in ("rec", "ovd", "isr"):
        ends = [rows[place][f"reward/accuracy/{task}"] for place in (0, -1)]
        assert f"{task}, reward {number(ends[0])} → {number(ends[1])}" in text
    for title in ("Accuracy reward", "Response diversity D", "Token entropy"):
        assert f"{title}, by task" in text
    # Held out, of every task its own headline: Acc@0.5, COCO mAP, accuracy.
    assert "rec: greedy Acc@0.5 41.0% → 55.0%" in text
    assert "ovd: greedy COCO mAP 20.5% → 27.5%" in text
    assert "isr: greedy accuracy 49.2% → 66.0%" in text
    assert "isr/count" in text and "skipped, nothing labelled 12" in text


def test_a_run_of_one_task_is_not_split(tmp_path: Path) -> None:
    _, page = read(write_report(write_run(tmp_path / "run", 3, 3, synthesis=False)))
    assert not any("by task" in part or "By task" in part for part in page.text)


def test_the_summary_of_several_tasks_names_each(mixed_run: Path) -> None:
    output = io.StringIO()
    print_summary(mixed_run, Console(file=output, width=140))
    text = " ".join(output.getvalue().split())
    assert "ovd: greedy COCO mAP" in text and "isr: greedy accuracy" in text
    assert all(f"task {task} reward 0." in text for task in ("rec", "ovd", "isr"))
    assert "12 skipped (nothing labelled)" in text


def test_every_dataset_has_its_turn_in_the_gallery(mixed_run: Path) -> None:
    pool = Pool.open(mixed_run)
    shown = [family.parent.sample for family in families(pool, count=6, children=1)]
    pool.close()
    assert Counter(sample.dataset for sample in shown) == {"rec": 2, "ovd": 2, "isr": 2}
    assert len({sample.id for sample in shown}) == 6


def frames(sample: Sample, kind: str) -> list[tuple[float, ...]]:
    """Boxes drawn over the picture, xyxy in its pixels."""
    pattern = rf'<rect class="{kind}" x="(.+?)" y="(.+?)" width="(.+?)" height="(.+?)">'
    found = re.findall(pattern, picture_svg(sample_picture(sample)))
    corners = [tuple(map(float, match)) for match in found]
    return [(x, y, x + width, y + height) for x, y, width, height in corners]


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_pictures_show_question_answer_and_all_boxes(task: str) -> None:
    for sample in rooms_samples("train", 6, task=task):
        boxes = [mark.box for mark in answer_marks(sample, sample.answer)]
        assert len(boxes) == (len(sample.answer) if task == "ovd" else int(task == "rec"))
        others = [thing.box for thing in sample.objects if thing.box not in boxes]
        assert frames(sample, "asked") == [pytest.approx(box, abs=0.11) for box in boxes]
        assert frames(sample, "other") == [pytest.approx(box, abs=0.11) for box in others]
        names = Page(picture_svg(sample_picture(sample))).text
        if task == "ovd":
            assert all(instance["label"] in names for instance in sample.answer)
        assert (words_beside_picture(sample) == "") == (task == "rec")
        if task == "isr":
            assert words_beside_picture(sample) == str(sample.answer)


def test_progress_names_every_task_of_several() -> None:
    output = io.StringIO()
    with TrainingProgress(1, console=Console(file=output, width=160)) as progress:
        tasks = {"reward/accuracy/isr": 0.5, "reward/accuracy/ovd": None, "reward/accuracy/rec": 0}
        progress.step({"step": 1, "reward/accuracy": 0.25} | tasks)
    assert "reward 0.250  (isr 0.500 rec 0.000)" in output.getvalue()
