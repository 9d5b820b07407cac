"""The answers of the last steps in the report of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from kept_responses import made_up, texts_of
from made_up_run import write_run
from report_page import picture_svg, read

from syngrpo.pages.response_gallery import last_groups
from syngrpo.pages.run_report import write_report
from syngrpo.pool.store import Pool
from syngrpo.responses.response_files import response_files
from syngrpo.responses.response_rows import KeptResponse
from syngrpo.responses.response_writer import ResponseWriter

TITLE = "What the model answers"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", steps=4, planned=4)


def ids(run: Path) -> list[str]:
    with closing(Pool.open(run)) as pool:
        return pool.seed_ids()


def keep(run: Path, *responses: KeptResponse) -> None:
    writer = ResponseWriter(run / "responses", texts_of, ["brevity"])
    writer.add(responses)
    writer.close()


def group(step: int, sample: str, diversity: float, **changed: object) -> list[KeptResponse]:
    return [
        made_up(step, 1, place, sample_id=sample, diversity=diversity, accuracy=0.4 * place)
        if not changed
        else made_up(step, 1, place, sample_id=sample, diversity=diversity, **changed)
        for place in range(3)
    ]


def test_all_answers_of_a_group_are_drawn_on_its_picture(run: Path) -> None:
    first, second, *_ = ids(run)
    keep(run, *group(3, first, 0.1), *group(3, second, 0.6), *group(4, first, 0.2))
    with closing(Pool.open(run)) as pool:
        shown = last_groups(run, pool, 8)
    assert [(one.sample.id, one.step, one.diversity) for one in shown] == [
        (second, 3, pytest.approx(0.6)),
        (first, 4, pytest.approx(0.2)),  # its newest visit
    ]
    assert shown[0].accuracy == pytest.approx(0.4)
    kinds = [drawn.kind for drawn in shown[0].picture.drawn]
    assert kinds == ["truth", "wrong", "wrong", "right"]
    svg = picture_svg(shown[0].picture)
    assert svg.count('x="1.0" y="2.0" width="2.0" height="2.0"') == 3
    assert "<title>3: 0.80</title>" in svg
    html, page = read(write_report(run))
    assert TITLE in html and "3 responses" in " ".join(page.text)
    assert all(reference.startswith("data:image/jpeg") for reference in page.references)


def test_groups_over_the_whole_range_of_diversity_are_chosen(run: Path) -> None:
    samples = ids(run)[:4]
    rows = [row for n, sample in enumerate(samples) for row in group(4, sample, 0.2 * n)]
    keep(run, *rows)
    with closing(Pool.open(run)) as pool:
        shown = last_groups(run, pool, 3)
    assert [round(one.diversity, 1) for one in shown] in ([0.6, 0.2, 0.0], [0.6, 0.4, 0.0])


def test_texts_of_a_model_are_shown_as_text(run: Path) -> None:
    hostile = "<script>alert(1)</script>\u202e" + "x" * 5000
    keep(run, *group(4, ids(run)[0], 0.5, text=hostile, boxes=[(hostile, 1.0, 2.0, 3.0, 4.0)]))
    html, page = read(write_report(run))
    assert TITLE in html and "script" not in page.tags and "&lt;script&gt;" in html
    assert "x" * 1500 not in html.partition("<pre>")[2]


def test_what_the_pool_cannot_show_and_damaged_files_are_left_out(run: Path) -> None:
    first, second, *_ = ids(run)
    keep(
        run,
        *group(4, "gone", 0.5),
        *group(4, first, 0.5, transformed=True),
        *group(4, second, 0.5),
    )
    with closing(Pool.open(run)) as pool:
        assert [one.sample.id for one in last_groups(run, pool, 8)] == [second]
    (file,) = response_files(run / "responses")
    file.path.write_bytes(b"no Parquet")
    assert TITLE not in write_report(run).read_text(encoding="utf-8")


def test_a_run_without_responses_has_no_such_part(run: Path) -> None:
    assert TITLE not in write_report(run).read_text(encoding="utf-8")
