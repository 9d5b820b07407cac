"""The report of a run."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_run
from PIL import Image
from report_page import read
from rich.console import Console

from syngrpo.boxes import Similarity
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.pages.charts import number
from syngrpo.pages.description_words import compare_words, word_shares
from syngrpo.pages.pool_gallery import (
    early_and_late_descriptions,
    extremes,
    families,
    view_words,
)
from syngrpo.pages.run_data import read_run
from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.painting.frame import Frame, unmoved
from syngrpo.painting.light import Light
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "whole", steps=40, planned=40)


@pytest.mark.parametrize(
    ("frame", "light", "words"),
    [
        (unmoved(128, 128), Light(), ""),
        (unmoved(128, 128), Light(cast=1, haze=0.5), "haze 0.50 · cast 1.00"),
        (Frame(Similarity(1, 9, 0), (128, 128), 64), Light(), "size 1.00 at 9, 0 of 128 × 128 px"),
        (
            Frame(Similarity(0.5, 30.2, 12), (128, 96), 48),
            Light(brightness=0.3),
            "size 0.50 at 30, 12 of 128 × 96 px · brightness 0.30",
        ),
    ],
)
def test_how_a_picture_is_seen_and_lit_is_said(frame: Frame, light: Light, words: str) -> None:
    assert view_words(frame, light) == words


def test_the_report_needs_no_other_file_and_no_network(run: Path) -> None:
    html, page = read(write_report(run))
    assert page.references and all(r.startswith("data:image/jpeg;base64,") for r in page.references)
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|@font-face", re.sub(r"base64,\S+", "", html)
    )
    assert "script" not in page.tags and "link" not in page.tags
    assert len(html) < 3_000_000


def test_the_report_shows_what_was_measured(run: Path) -> None:
    _, page = read(write_report(run))
    text = " ".join(" ".join(page.text).split())
    assert "Held out: test" in text and "Held out: ood" in text
    assert "41.0% → 55.0% +14.0 points" in text and "33.0% → 50.0% +17.0 points" in text
    assert "37.0–46.0 → 51.0–60.0" in text
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    submitted = sum(row["synthesis/submitted"] for row in rows)
    assert f"submitted {submitted:,} admitted" in text
    ends = [
        np.mean([row["diversity/response_seed"] for row in part]) for part in (rows[:4], rows[-4:])
    ]
    assert f"seed images {number(ends[0])} → {number(ends[1])}" in text
    assert "40 of 40 steps" in text
    assert any(reason in text for reason in ("near duplicate", "too small", "unseen"))
    assert "Acc@0.75" in text and "attribute" in text


def test_parents_are_shown_with_their_children_and_exact_pictures(run: Path) -> None:
    pool = Pool.open(run)
    found = families(pool, count=2, children=4)
    html, page = read(write_report(run))
    assert len(found) == 2
    for family in found:
        assert family.parent.sample.parent is None
        assert family.children and all(
            c.sample.parent == family.parent.sample.id for c in family.children
        )
        assert all(c.diversity is not None and c.scores["change"] > 0 for c in family.children)
        for child in family.children:
            assert child.sample.description in page.text
    best, worst = extremes(pool, 3)
    values = [
        o.diversity for s in pool.samples("synthetic") for o in pool.observations(s.sample.id)
    ]
    assert [m.diversity for m in best] == pytest.approx(sorted(values)[::-1][:3])
    assert [m.diversity for m in worst] == pytest.approx(sorted(values)[:3])
    pool.close()
    assert html.count("<image ") == len(page.references)


def test_embedded_pictures_decode(run: Path) -> None:
    import base64

    _, page = read(write_report(run))
    raw = base64.b64decode(page.references[0].partition(",")[2])
    with Image.open(io.BytesIO(raw)) as image:
        assert image.size == (128, 128)


def test_an_image_that_cannot_be_read_is_named_and_the_report_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "run", steps=6, planned=6)
    whole, _ = read(write_report(run))
    pool = Pool.open(run)
    shown = families(pool, 1, 1)[0].parent.sample
    pool.close()
    assert shown.image.path is not None
    shown.image.path.unlink()
    html, _ = read(write_report(run))
    assert "image cannot be read" in html and f"{shown.image.path} does not exist" in html
    assert 0 < html.count("<image ") < whole.count("<image ")
    assert f"sample {shown.id} is drawn without its image" in caplog.text


def test_descriptions_cannot_break_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3, planned=3)
    client = InlineClient(SynthesisSettings(run, generator="rooms"), SamplingPolicy())
    pool = Pool.open(run)
    seed = next(pool.samples("seed")).sample.id
    client.submit(
        [JobRequest(seed, "<script>alert('&')</script> green wall", 3, client.fingerprint)]
    )
    client.close()
    assert "<script>alert('&')</script> green wall" in [
        c.sample.description for c in pool.children(seed)
    ]
    pool.close()
    _, page = read(write_report(run))
    assert "script" not in page.tags


def test_a_run_that_crashed_after_three_steps_has_a_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "crashed", steps=3, planned=40)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 0.')
    _, page = read(write_report(run))
    text = " ".join(" ".join(page.text).split())
    assert "step 3 of 40" in text and "--resume" in text
    assert "41.0%" in text and "points" not in re.sub("early late points", "", text)
    print_summary(run, Console(file=io.StringIO()))


def test_runs_without_synthesis_without_evaluation_and_before_the_first_step(
    tmp_path: Path,
) -> None:
    plain = write_run(tmp_path / "plain", steps=5, planned=5, synthesis=False)
    _, page = read(write_report(plain))
    assert "Synthesised images" not in page.text and "Parents and children" not in page.text
    assert not (plain / "pool.db").exists()
    (plain / "evaluation.jsonl").unlink()
    _, page = read(write_report(plain))
    assert "Held-out numbers" not in page.text and "Accuracy reward" in page.text
    (plain / "metrics.jsonl").write_text("")
    read(write_report(plain))
    output = io.StringIO()
    print_summary(plain, Console(file=output))
    assert "report.html" in output.getvalue()


def test_bad_runs_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither"):
        write_report(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2"):
        write_report(tmp_path)


def test_a_step_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 3.0}]
    rows = [*lines, {"step": 3, "loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve = read_run(tmp_path).curve("loss")
    assert (curve.steps, curve.values) == ([1, 2], [1.0, 3.0])


def test_words_are_compared_by_share_of_descriptions() -> None:
    early = ["plain grey wall", "plain wall", "a red wall red red"]
    late = ["striped red wall", "a red rug", "red"]
    shares = {s.word: (s.early, s.late) for s in word_shares(early, late)}
    assert shares["red"] == (pytest.approx(1 / 3), 1.0)
    assert shares["plain"] == (pytest.approx(2 / 3), 0.0)
    assert "a" not in shares
    assert word_shares(early, late)[0].word == "red" and compare_words(early, late) is None


def test_early_and_late_descriptions_are_in_order_of_submission(run: Path) -> None:
    pool = Pool.open(run)
    early, late = early_and_late_descriptions(pool)
    with pool.database.read() as connection:
        rows = connection.execute("SELECT description FROM jobs ORDER BY number").fetchall()
    pool.close()
    texts = [text for (text,) in rows]
    assert early == texts[: len(texts) // 3] and late == texts[-(len(texts) // 3) :]
