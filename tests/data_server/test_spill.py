import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from small_disk import run_on_a_small_disk

from syngrpo.data_server import spill as module
from syngrpo.data_server.spill import Spill
from syngrpo.data_server.spill_records import repair_records, require_records
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.stored_samples import DescriptionReward, Observation
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


def test_a_reader_in_between_sees_nothing_to_send_while_the_file_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends may look at any moment of ``append``."""
    monkeypatch.setattr(module, "COMPACT", 70)
    seen: list[int] = []

    class Watched(Spill):
        def acknowledge(self, offset: int) -> None:
            seen.append(self.backlog())
            super().acknowledge(offset)

    spill = Watched(tmp_path / "spill.jsonl")
    spill.append([{"n": 0}, {"n": 1}])
    assert drain(spill) == [{"n": 0}, {"n": 1}]
    spill.append([{"n": 2}])
    assert seen == [2 * len('{"n": 0}\n'), 0] and drain(spill) == [{"n": 2}]


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


def observed(sample: str, step: int = 1) -> dict[str, Any]:
    return {"observation": asdict(Observation(sample, step, 0, 0.5, 0.5))}


def asked(parent: str) -> dict[str, Any]:
    return {"job": asdict(JobRequest(parent, "a red wall", 1, "noop"))}


RECORDS = [observed("seed", step) for step in range(40)]


def written(path: Path, acknowledged: int = 0) -> int:
    """A spill file with RECORDS, the first ones of which were passed on. Return their end."""
    with closing(Spill(path)) as spill:
        spill.append(RECORDS[:acknowledged])
        spill.acknowledge(spill.pending().offset)
        spill.append(RECORDS[acknowledged:])
        return spill.pending().offset


@pytest.mark.parametrize(
    ("where", "data", "left"),
    [
        (200, b"\0" * 300, slice(10, 40)),  # records passed on already do not matter
        (1500, b"\xff" * 30, None),
        (1500, b"\0" * 200, None),
        (1500, b'"\n{"n"\n', None),
        (0, b"\xff" * 8, None),  # the head
    ],
)
def test_a_broken_file_is_told_and_repaired_with_what_can_be_read(
    tmp_path: Path, where: int, data: bytes, left: slice | None
) -> None:
    path = tmp_path / "run" / "spill.jsonl"
    path.parent.mkdir()
    written(path, acknowledged=10)
    with path.open("r+b") as file:
        file.seek(where)
        file.write(data)
    if left is None:
        with pytest.raises(InputError, match=r"spill\.jsonl is damaged: .* syngrpo pool repair"):
            Spill(path)
        (line,) = repair_records(path, tmp_path / "aside", {"seed"})
        assert "cannot be read" in line and (tmp_path / "aside" / "spill.jsonl").is_file()
    assert repair_records(path, tmp_path / "aside", {"seed"}) == []
    found = drain(Spill(path))
    kept = [record for record in RECORDS if record in found]
    assert [record for record in found if record in RECORDS] == kept
    lost = len(RECORDS[10:]) - sum(record in kept for record in RECORDS[10:])
    assert lost <= 6 and (left is None or found == RECORDS[left])


@pytest.mark.parametrize(
    ("where", "data", "told"),
    [
        (0, b"\xff" * 8, "40 waiting records can be read, 8 bytes cannot"),
        (500_000, b"no record\n", "30 waiting records can be read, 10 bytes cannot"),
        (500_000, b'x\n{"late": 1}\n', r"31 waiting records can be read, 4\d{5} bytes cannot"),
    ],
)
def test_the_size_of_the_damage_is_told(tmp_path: Path, where: int, data: bytes, told: str) -> None:
    """The zeros behind the last record are no damage."""
    path = tmp_path / "spill.jsonl"
    written(path, acknowledged=10)
    with path.open("r+b") as file:
        file.seek(where)
        file.write(data)
    with pytest.raises(InputError, match=told):
        Spill(path)


def test_a_shortened_file_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "spill.jsonl"
    end = written(path)
    os.truncate(path, end // 2)
    found = drain(Spill(path))
    assert found == RECORDS[: len(found)] and len(found) > 15


def test_records_about_lost_samples_are_left_out(tmp_path: Path) -> None:
    """The pool would refuse them, and with them every start of the run."""
    path = tmp_path / "spill.jsonl"
    lost = [observed("gone"), asked("gone")]
    kept = [observed("seed"), asked("seed")]
    # ignored by the pool if it has no such job
    kept += [{"reward": asdict(DescriptionReward("a job", 1, 0.5))}]
    with closing(Spill(path)) as spill:
        spill.append([lost[0], kept[0], lost[1], *kept[1:]])
    with pytest.raises(InputError, match=r"of 5 records .* 2 are about samples that the pool has"):
        require_records(path, lambda: {"seed"})
    (line,) = repair_records(path, tmp_path / "aside", {"seed"})
    assert "keeps 3 records" in line and "2 are about lost samples" in line
    require_records(path, lambda: {"seed"})
    assert drain(Spill(path)) == kept


PLAIN = observed("seed")["observation"]
STRANGE: list[dict[str, Any]] = [
    {},
    {"other": {}},
    {"observation": 3},
    {"observation": {"sample_id": "seed"}},
    {"observation": PLAIN | {"more": 1}},
    {"observation": PLAIN | {"step": "1"}},
    {"observation": PLAIN | {"step": 2**64}},
    {"observation": PLAIN | {"diversity": float("nan")}},
    observed("seed") | asked("seed"),
    {"job": asked("seed")["job"] | {"description": None}},
    {"reward": {"job_id": "a job"}},
]


@pytest.mark.parametrize("record", STRANGE, ids=str)
def test_records_of_another_form_are_told_and_left_out(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    """They would end every start of the run with a traceback."""
    path = tmp_path / "spill.jsonl"
    with closing(Spill(path)) as spill:
        spill.append([observed("seed"), record, asked("seed")])
    with pytest.raises(
        InputError, match=r"of 3 records .* 1 are no records of this version; to go"
    ):
        require_records(path, lambda: {"seed"})
    (line,) = repair_records(path, tmp_path / "aside", {"seed"})
    assert "keeps 2 records" in line and "1 are no records of this version" in line
    assert drain(Spill(path)) == [observed("seed"), asked("seed")]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_at_once_and_moved_away(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path, aside = tmp_path / "spill.jsonl", tmp_path / "aside"
    make(path)
    for use in (Spill, lambda path: require_records(path, set)):
        with pytest.raises(InputError, match=r"spill\.jsonl is no file; move it away"):
            use(path)
    (line,) = repair_records(path, aside, set())
    assert line.startswith("spill.jsonl is no file; moved") and (aside / "spill.jsonl").exists()
    require_records(path, set)
