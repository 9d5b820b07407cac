"""What the writer of responses leaves on the disk, also when it cannot write."""

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from kept_responses import TEXT, made_up, rows_of, step_of, texts_of, write_steps
from service_process import until
from small_disk import run_on_a_small_disk

from syngrpo.responses import response_writer
from syngrpo.responses.response_files import remove_responses_after, response_files
from syngrpo.responses.response_rows import parts_of_tokens
from syngrpo.responses.response_writer import ResponseWriter
from syngrpo.sample import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def test_every_value_is_read_as_it_was_given(tmp_path: Path) -> None:
    write_steps(tmp_path / "responses", 7)
    first, second = rows_of(tmp_path)[:2]
    given = made_up(7)
    assert len(rows_of(tmp_path)) == 6
    for name in ("step", "sample_id", "parent", "question", "truth", "text", "answer", "length"):
        assert first[name] == getattr(given, name)
    assert first["boxes"] == [{"label": "", "x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}]
    assert first["points"] == [] and first["description"] is None
    assert (first["reward/brevity"], second["reward/brevity"]) == (0.5, None)
    assert first["token_texts"] == texts_of(np.arange(6)) and "".join(first["token_texts"]) == TEXT
    assert first["token_advantages"] == [-1.0, -0.875, -0.75, -0.625, -0.5, -0.375]
    assert first["token_logp_training"][2] == -0.5
    assert rows_of(tmp_path)[-1]["token_texts"] is None


def test_steps_share_a_file_until_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "LATEST_S", 1e9)
    monkeypatch.setattr(response_writer, "STEPS_A_FILE", 3)
    write_steps(tmp_path / "responses", *range(1, 9), flush_every=5)
    ranges = [(file.first, file.last) for file in response_files(tmp_path / "responses")]
    assert ranges == [(1, 3), (4, 5), (6, 8)]  # 5: flushed
    assert [row["step"] for row in rows_of(tmp_path)] == [s for s in range(1, 9) for _ in range(6)]


def test_a_step_is_written_at_once_when_the_last_file_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "LATEST_S", 0.0)
    write_steps(tmp_path / "responses", 1, 2, flush_every=5)
    assert len(response_files(tmp_path / "responses")) == 2


def test_a_step_that_took_long_is_written_without_waiting_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "LATEST_S", 0.2)
    writer = ResponseWriter(tmp_path / "responses", texts_of, ["brevity"])
    time.sleep(0.25)
    writer.add(step_of(1))
    until(lambda: len(response_files(tmp_path / "responses")) == 1, "the first file")
    time.sleep(0.25)
    writer.add(step_of(2))
    until(lambda: len(response_files(tmp_path / "responses")) == 2, "the second file")
    writer.close()


def test_the_responses_of_a_long_text_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "LATEST_S", 1e9)
    writer = ResponseWriter(tmp_path / "responses", texts_of)
    for step in (1, 2, 3):
        writer.add([made_up(step, 1, text="x" * (response_writer.CHARACTERS_A_FILE // 2))])
    writer.close()
    ranges = [(file.first, file.last) for file in response_files(tmp_path / "responses")]
    assert ranges == [(1, 2), (3, 3)]


def test_what_is_past_a_step_is_removed_with_half_written_files(tmp_path: Path) -> None:
    folder = tmp_path / "responses"
    write_steps(folder, 1, 2, 3, 4, 5, 6)
    before = rows_of(tmp_path)
    (folder / ".unfinished-steps-00000007-00000008.parquet").write_bytes(b"PAR1 half")
    (folder / "notes.txt").write_text("mine")
    for _ in range(2):  # safe to repeat
        remove_responses_after(folder, 3)
        assert names(folder) == [
            "notes.txt",
            "steps-00000001-00000002.parquet",
            "steps-00000003-00000003.parquet",
        ]
        assert rows_of(tmp_path) == [row for row in before if row["step"] <= 3]
    remove_responses_after(folder, 0)
    assert names(folder) == ["notes.txt"]
    remove_responses_after(tmp_path / "missing", 0)


def test_a_file_with_damaged_pages_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 2, 3, 4, flush_every=4)
    (file,) = response_files(tmp_path)
    content = bytearray(file.path.read_bytes())
    content[4:400] = bytes(396)  # the footer is whole
    file.path.write_bytes(content)
    remove_responses_after(tmp_path, 2)
    assert response_files(tmp_path) == []


def test_a_damaged_file_past_the_step_is_removed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "responses"
    write_steps(folder, 1, 2)
    (only,) = response_files(folder)
    only.path.write_bytes(only.path.read_bytes()[:-50])
    remove_responses_after(folder, 1)
    assert names(folder) == [] and "cannot be read" in messages(caplog)[0]


def test_what_cannot_be_removed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steps(tmp_path, 1)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=r"cannot be removed from .*Permission denied"):
        remove_responses_after(tmp_path, 0)


def test_the_oldest_files_go_when_there_are_too_many_bytes_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_steps(tmp_path / "one", 1, 2)
    size = response_files(tmp_path / "one")[0].path.stat().st_size
    folder = tmp_path / "responses"
    writer = ResponseWriter(folder, texts_of, ["brevity"], max_bytes=2.5 * size)
    for step in range(1, 11):
        writer.add(step_of(step))
        if step % 2 == 0:
            writer.flush()
    writer.close()
    assert [(file.first, file.last) for file in response_files(folder)] == [(7, 8), (9, 10)]
    assert writer.take_lost() == 0
    (line,) = messages(caplog)
    assert "takes more than logging.responses.max_gb" in line


def test_a_folder_that_cannot_be_written_is_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "responses"
    folder.write_text("a file where the folder should be")
    writer = ResponseWriter(folder, texts_of, ["brevity"])
    for step in (1, 2):
        writer.add(step_of(step))
        writer.flush()
    assert writer.take_lost() == 12 and writer.take_lost() == 0
    (line,) = messages(caplog)
    assert "6 responses of step 1 and later cannot be kept" in line and "\n" not in line
    folder.unlink()
    writer.add(step_of(3))
    writer.close()
    assert {row["step"] for row in rows_of(tmp_path)} == {3} and writer.take_lost() == 0


SMALL = """
import sys
from pathlib import Path
import numpy as np
from kept_responses import made_up, rows_of, texts_of
from syngrpo.responses.response_writer import ResponseWriter
folder = Path(sys.argv[1])
writer = ResponseWriter(folder / "responses", texts_of)
noise = np.random.default_rng(0)
for step, size in ((1, 1_000), (2, 1_000_000), (3, 1_000)):
    text = noise.bytes(size).hex()
    writer.add([made_up(step, 1, text=text)])
    writer.flush()
    print(step, writer.take_lost(), len(list((folder / "responses").iterdir())))
print([row["step"] for row in rows_of(folder)])
"""


def test_a_full_disk_leaves_no_half_file_and_what_fits_is_written(tmp_path: Path) -> None:
    paths = os.pathsep.join(sys.path)
    command = ["env", f"PYTHONPATH={paths}", sys.executable, "-c", SMALL, str(tmp_path)]
    done = run_on_a_small_disk(tmp_path, "400k", command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 0 1", "2 1 1", "3 0 2", "[1, 3]"]
    assert "the disk is full" in done.stderr


def test_a_value_that_has_no_place_in_a_file_ends_nothing(tmp_path: Path) -> None:
    writer = ResponseWriter(tmp_path / "responses", texts_of)
    writer.add([made_up(1, text="a lone half of a pair: \ud800")])
    writer.flush()
    writer.add([made_up(2)])
    writer.close()
    assert writer.take_lost() == 1 and [row["step"] for row in rows_of(tmp_path)] == [2]


def test_training_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(response_writer, "LATEST_S", 0.0)
    writes_again = threading.Event()
    write_table = pq.write_table

    def hang(*args: Any, **options: Any) -> None:
        assert writes_again.wait(60)
        write_table(*args, **options)

    monkeypatch.setattr(pq, "write_table", hang)
    writer = ResponseWriter(tmp_path / "responses", texts_of)
    for step in range(1, 8):
        writer.add(step_of(step))  # returns although nothing is written
    writes_again.set()
    writer.close()
    assert [file.first for file in response_files(tmp_path / "responses")] == [1, 2, 3, 4]
    assert writer.take_lost() == 18 and "slower than training" in messages(caplog)[0]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["<think>a", "</think>", "<answer>b</answer>"], ["think", "think", "answer"]),
        (["<think>a</think><ans", "wer>b", "</answer>", ""], ["answer"] * 3 + ["other"]),
        (["<scene>", "", "x", "</scene>", " ", ""], ["scene"] * 4 + ["other"] * 2),
        (["no tags", "<answer>cut off", " here"], ["other", "answer", "answer"]),
        ([], []),
    ],
)
def test_tokens_know_their_part_of_the_response(texts: list[str], expected: list[str]) -> None:
    assert parts_of_tokens(texts) == expected
