import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import run_on_a_small_disk

from syngrpo.data_server import spill as module
from syngrpo.data_server.spill import Spill
from syngrpo.sample import InputError


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
    end = first.pending().offset
    first.close()
    with path.open("r+b") as file:
        file.seek(end)
        file.write(b'{"n": 4')  # the copy that the crash cut off
    second = Spill(path)
    second.append([{"n": 5}])
    assert drain(second) == [{"n": 2}, {"n": 3}, {"n": 5}]
    second.close()
    assert drain(Spill(path)) == []


def test_records_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "spill.jsonl"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from syngrpo.data_server.spill import Spill\n"
        "spill = Spill(Path(sys.argv[1]))\n"
        "for n in range(5): spill.append([{'n': n}])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert drain(Spill(path)) == [{"n": n} for n in range(5)]


def test_the_file_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 100)
    path = tmp_path / "spill.jsonl"
    spill = Spill(path)
    records = [{"text": "x" * n} for n in range(60)]
    for record in records:
        spill.append([record])
    spill.close()
    assert drain(Spill(path)) == records


def test_a_file_that_was_handed_on_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CAPACITY", 4096)
    monkeypatch.setattr(module, "COMPACT", 1000)
    path = tmp_path / "spill.jsonl"
    spill = Spill(path)
    for n in range(200):
        spill.append([{"n": n, "text": "x" * (n % 50)}])
        assert drain(spill) == [{"n": n, "text": "x" * (n % 50)}]
    spill.append([{"n": "last"}])
    spill.close()
    assert path.stat().st_size == 4096
    assert drain(Spill(path)) == [{"n": "last"}]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill.jsonl")
    with pytest.raises(InputError, match="in use by another trainer"):
        Spill(tmp_path / "spill.jsonl")
    spill.close()
    Spill(tmp_path / "spill.jsonl").close()


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from syngrpo.data_server.spill import Spill
spill = Spill(Path(sys.argv[1]) / "spill.jsonl")
count = 0
try:
    while True:
        spill.append([{"n": count, "text": "x" * 1000}])
        count += 1
except OSError as error:
    print(error)
numbers = [record["n"] for record in spill.pending().records]
assert numbers == list(range(count)) and count > 100, numbers
"""


def test_a_full_disk_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)]
    done = run_on_a_small_disk(tmp_path, "1500k", command)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout


def test_a_backlog_is_read_in_parts(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill.jsonl")
    spill.append([{"n": n} for n in range(10)])
    line = len('{"n": 0}\n')
    first = spill.pending(3 * line + 2)
    assert first.records == [{"n": 0}, {"n": 1}, {"n": 2}]
    spill.acknowledge(first.offset)
    assert spill.pending(1).records == [{"n": 3}]  # at least one
    assert drain(spill) == [{"n": n} for n in range(3, 10)]
