import os
from pathlib import Path

import pytest

from syngrpo.sample import InputError
from syngrpo.synthesis import spill as module
from syngrpo.synthesis.spill import Spill


def drain(spill: Spill) -> list[dict]:
    records = []
    while (pending := spill.pending()).records:
        records += pending.records
        spill.acknowledge(pending.offset)
    return records


def test_records_come_out_in_order_and_once(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill.jsonl")
    spill.append([{"n": 0}, {"text": 'new\nline "ä" \u2028'}])
    spill.append([{"n": 1}])
    assert drain(spill) == [{"n": 0}, {"text": 'new\nline "ä" \u2028'}, {"n": 1}]
    assert spill.backlog() == 0
    assert drain(spill) == []


def test_what_was_not_acknowledged_comes_again_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "spill.jsonl"
    first = Spill(path)
    first.append([{"n": 0}, {"n": 1}])
    pending = first.pending()
    first.append([{"n": 2}])
    first.acknowledge(pending.offset)
    first.append([{"n": 3}])
    first.pending()
    first.close()
    with path.open("ab") as file:
        file.write(b'{"n": 4')  # the write that the crash cut off
    assert drain(Spill(path)) == [{"n": 2}, {"n": 3}]


def test_chunks_smaller_than_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 7)
    path = tmp_path / "spill.jsonl"
    spill = Spill(path)
    records = [{"text": "x" * n} for n in range(40)]
    spill.append(records)
    assert drain(spill) == records
    spill.append(records[:3])
    spill.close()
    with path.open("ab") as file:
        file.write(b"y" * 20)
    assert drain(Spill(path)) == records[:3]


def test_an_acknowledged_file_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 100)
    path = tmp_path / "spill.jsonl"
    spill = Spill(path)
    spill.append([{"text": "x" * 200}])
    assert len(drain(spill)) == 1
    assert path.stat().st_size == 0
    spill.append([{"n": 1}])
    spill.close()
    assert drain(Spill(path)) == [{"n": 1}]


def test_a_crash_between_emptying_and_its_mark_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spill.jsonl"
    spill = Spill(path)
    spill.append([{"n": 0}])
    drain(spill)
    spill.close()
    os.truncate(path, 0)
    spill = Spill(path)
    spill.append([{"n": 1}])
    assert drain(spill) == [{"n": 1}]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill.jsonl")
    with pytest.raises(InputError, match="in use by another trainer"):
        Spill(tmp_path / "spill.jsonl")
    spill.close()
    Spill(tmp_path / "spill.jsonl").close()


def test_a_full_disk_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    (tmp_path / "spill.jsonl").symlink_to("/dev/full")
    spill = Spill(tmp_path / "spill.jsonl")
    with pytest.raises(OSError, match="No space left"):
        spill.append([{"n": 0}])
    assert spill.backlog() == 0
