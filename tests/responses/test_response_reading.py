"""Kept responses are read by our reader, and by pandas, DuckDB and datasets as docs/responses.md
shows it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from kept_responses import TEXT, rows_of, write_steps

from syngrpo.responses.response_files import response_files
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.responses.response_rows import TOKEN_COLUMNS

DOCS = Path(__file__).parents[2] / "docs" / "responses.md"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_steps(tmp_path / "responses", *range(1, 8))
    return tmp_path


def test_steps_samples_and_filters(run: Path) -> None:
    kept, everything = KeptResponses(run), rows_of(run)
    assert kept.last_step() == 7
    all_columns = kept.read(columns=list(everything[0])).to_pylist()
    assert all_columns == everything
    plain = kept.read()
    assert set(plain.column_names) == set(everything[0]) - set(TOKEN_COLUMNS)
    assert kept.read(range(3, 5))["step"].to_pylist() == [3] * 6 + [4] * 6
    assert kept.read([2, 7])["step"].to_pylist() == [2] * 6 + [7] * 6
    one = kept.of_sample("sample-1", steps=[2], columns=["response_index", "accuracy"])
    assert one.to_pylist() == [{"response_index": n, "accuracy": 0.25 * n} for n in range(3)]
    right = kept.read(where=(pc.field("accuracy") > 0.3) & ~pc.field("parent").is_valid())
    assert right.num_rows == 7 and kept.read(limit=4).num_rows == 4
    assert kept.read(range(90, 99)).num_rows == 0
    assert kept.problems == []


def test_only_the_files_of_the_steps_are_opened(run: Path) -> None:
    for file in response_files(run / "responses"):
        if file.first != 3:
            file.path.write_bytes(b"no Parquet")
    kept = KeptResponses(run)
    assert kept.read([4]).num_rows == 6 and kept.problems == []


def test_the_steps_that_have_responses(tmp_path: Path) -> None:
    write_steps(tmp_path / "responses", 2, 5, 9, 10, 20)  # in three files
    kept, steps = KeptResponses(tmp_path), [2, 5, 9, 10, 20]
    for step in range(25):
        assert kept.step_from(step) == min((one for one in steps if one >= step), default=None)
        assert kept.step_up_to(step) == max((one for one in steps if one <= step), default=None)
    response_files(tmp_path / "responses")[1].path.write_bytes(b"no Parquet")
    assert (kept.step_from(6), kept.step_up_to(19)) == (20, 5) and len(kept.problems) == 1


def test_a_run_without_responses(tmp_path: Path) -> None:
    kept = KeptResponses(tmp_path)
    assert (
        kept.last_step() is kept.step_from(0) is kept.step_up_to(9) is None
        and kept.read().num_rows == 0
    )
    assert kept.read(columns=["text"]).column_names == ["text"]


def test_damaged_and_vanished_files_are_left_out(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = files = response_files(run / "responses")
    first.path.write_bytes(first.path.read_bytes()[:-40])
    kept = KeptResponses(run)
    for _ in range(2):
        assert set(kept.read()["step"].to_pylist()) == {3, 4, 5, 6, 7}
    assert len(kept.problems) == 1 and str(first.path) in kept.problems[0]
    monkeypatch.setattr(
        "syngrpo.responses.response_reading.response_files", lambda directory: files
    )
    second.path.unlink()
    kept = KeptResponses(run)
    assert set(kept.read()["step"].to_pylist()) == {5, 6, 7} and len(kept.problems) == 1


@pytest.mark.parametrize("column", ["step", "group_index", "response_index"])
def test_rows_without_a_place_are_no_responses(run: Path, column: str) -> None:
    first = response_files(run / "responses")[0]
    table = pq.read_table(first.path)
    place, field = table.schema.get_field_index(column), table.schema.field(column)
    values = table[column].to_pylist()
    values[0] = None
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), first.path)
    kept = KeptResponses(run)
    assert kept.read().num_rows == 7 * 6 - 1 and kept.step_from(0) == 1
    assert kept.read(limit=3)["step"].to_pylist() == [1, 1, 1]


def test_texts_that_are_no_text_are_left_out(run: Path) -> None:
    first = response_files(run / "responses")[0]
    table = pq.read_table(first.path)
    place, rows = table.schema.get_field_index("text"), table.num_rows
    raw = pa.array([b"\xed\xa0\x80"] * rows, pa.binary())  # half a surrogate pair
    broken = pa.Array.from_buffers(pa.string(), rows, raw.buffers())
    pq.write_table(table.set_column(place, "text", broken), first.path)
    kept = KeptResponses(run)
    assert {row["step"] for row in kept.read().to_pylist()} == set(range(3, 8))
    assert "UTF8" in kept.problems[0]


def test_a_problem_ends_with_its_file(run: Path) -> None:
    first = response_files(run / "responses")[0]
    whole = first.path.read_bytes()
    kept = KeptResponses(run)
    for content, problems in ((b"", 1), (whole, 0), (b"", 1)):
        first.path.write_bytes(content)
        kept.read()
        assert len(kept.problems) == problems
    first.path.unlink()
    assert kept.problems == []


def test_what_is_no_file_and_other_names_are_not_opened(run: Path) -> None:
    folder = run / "responses"
    os.mkfifo(folder / "steps-00000001-00000009.parquet")
    (folder / "steps-00000008-00000009.parquet").mkdir()
    (folder / f"steps-{'9' * 40}-{'9' * 40}.parquet").write_bytes(b"")
    kept = KeptResponses(run)
    assert kept.last_step() == 7 and kept.read().num_rows == 42 and kept.problems == []


def test_files_of_another_version_lack_columns_or_have_more(run: Path) -> None:
    first, last = response_files(run / "responses")[0], response_files(run / "responses")[-1]
    table = pq.read_table(first.path)
    pq.write_table(table.drop_columns(["points", "advantage"]), first.path)
    pq.write_table(pq.read_table(last.path).append_column("new", pa.nulls(6)), last.path)
    found = KeptResponses(run).read([2, 7], columns=["step", "advantage", "reward/brevity"])
    assert found["advantage"].to_pylist() == [None] * 6 + [0.5, -0.5, -1.5] * 2
    assert found["reward/brevity"].to_pylist() == [0.5, None, None] * 4


def test_reading_needs_no_torch() -> None:
    script = "import sys, syngrpo.responses.response_reading; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def example(library: str) -> str:
    """The Python example of the page that imports this library."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if re.search(rf"(import|from) {library}\b", block))
    return str(found)


def by_pandas(values: dict[str, Any]) -> None:
    assert values["responses"].shape[0] == 42
    worst = values["worst"]
    assert worst.index.tolist() == ["sample-0", "sample-1"] and worst.tolist() == [0.25, 0.25]
    tokens = values["tokens"]
    assert len(tokens) == 21 * 6 and "".join(tokens["token_texts"][:6]) == TEXT
    assert tokens["mismatch"].tolist()[:3] == [0.0, 0.125, 0.25]


def by_duckdb(values: dict[str, Any]) -> None:
    answers = values["answers"]
    assert answers["step"].tolist() == list(range(1, 8)) and answers["answers"].tolist() == [6] * 7
    boxes = values["boxes"]
    assert boxes.iloc[0].to_dict() == {"sample_id": "sample-0", "x1": 1.0, "x2": 3.0}


def by_datasets(values: dict[str, Any]) -> None:
    found = values["responses"]
    assert len(found) == 42 and found[0]["text"] == TEXT
    assert found[0]["boxes"] == [{"label": "", "x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}]
    assert len(values["wrong"]) == 14


def by_us(values: dict[str, Any]) -> None:
    assert values["table"].num_rows == 6


@pytest.mark.parametrize(
    ("library", "check"),
    [
        ("pandas", by_pandas),
        ("duckdb", by_duckdb),
        ("datasets", by_datasets),
        ("syngrpo.responses.response_reading", by_us),
    ],
)
def test_the_examples_of_the_page(
    library: str,
    check: Callable[[dict[str, Any]], None],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(library)
    (run / "runs").mkdir()
    (run / "runs" / "mine").symlink_to(run)
    half = run / "responses" / ".unfinished-steps-00000008-00000009.parquet"
    half.write_bytes(b"PAR1")  # what is just being written is not read
    monkeypatch.chdir(run)
    monkeypatch.setenv("HF_HOME", str(run / "cache"))
    values: dict[str, Any] = {}
    exec(example(library), values)
    check(values)
