"""Reading the end of a log, and what is before it, against the whole log."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from syngrpo.dashboard.attempts import log_messages
from syngrpo.dashboard.attempts.log_messages import LogEnd, LogFilter, LogMessage, messages_before
from syngrpo.workflow.run_directory import RunDirectory


def line(number: int, level: str = "INFO", text: str = "") -> str:
    return f"2026-11-29 14:49:06,464 {level} syngrpo.workflow.run: {text or f'message {number}'}\n"


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "log.txt"
    path.write_bytes(content.encode())
    return path


def all_before(path: Path, wanted: LogFilter, number: int) -> list[LogMessage]:
    """All messages, read in parts from the end of the file."""
    found: list[LogMessage] = []
    place = path.stat().st_size
    while place > 0:
        messages, earlier = messages_before(path, place, wanted, number)
        assert earlier < place and len(messages) <= number
        found, place = [*messages, *found], earlier
    return found


@pytest.mark.parametrize("block", [64, 300, 1 << 20])
def test_every_message_is_found_once_whatever_the_size_of_a_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_messages, "BLOCK", block)
    monkeypatch.setattr(log_messages, "_LONGEST", 100 * block)
    rng = random.Random(0)
    texts = [
        rng.choice(["short", "ü" * rng.randint(1, 300), "two\nlines", "Traceback:\n  x\n\n  y"])
        for _ in range(200)
    ]
    path = written(tmp_path, "".join(line(n, text=text) for n, text in enumerate(texts)))
    found = all_before(path, LogFilter(), 7)
    assert [message.text for message in found] == texts
    assert {(one.level, one.module, one.time) for one in found} == {
        ("INFO", "syngrpo.workflow.run", "2026-11-29 14:49:06")
    }


def test_messages_are_filtered_by_level_and_text(tmp_path: Path) -> None:
    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    path = written(tmp_path, "".join(line(n, levels[n % 4]) for n in range(400)))

    def numbers(level: str, text: str = "") -> list[int]:
        found = all_before(path, LogFilter(level, text), 30)
        return [int(one.text.split()[1]) for one in found]

    assert numbers("DEBUG") == list(range(400))
    assert numbers("WARNING") == [n for n in range(400) if n % 4 >= 2]
    assert numbers("ERROR", "MESSAGE 3") == [n for n in range(3, 400, 4) if str(n)[0] == "3"]
    assert numbers("CRITICAL") == []


def test_of_a_huge_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with path.open("wb") as file:  # 2 GB that take no room on the disk
        file.truncate(2 * 10**9)
        file.seek(0, 2)
        file.write(b"\n" + "".join(line(n) for n in range(5000)).encode())
    end = LogEnd(path)
    assert end.follow() is None and end.place == path.stat().st_size
    found, place = messages_before(path, end.place, LogFilter(), 200)
    assert [one.text for one in found] == [f"message {n}" for n in range(4800, 5000)]
    read = log_messages.BLOCK * log_messages.MOST_BLOCKS
    found, place = messages_before(path, place, LogFilter(text="nothing"), 200)
    assert found == [] and place > 2 * 10**9 - 5 * read


def test_what_is_added_is_found_when_its_line_is_complete(tmp_path: Path) -> None:
    path = written(tmp_path, line(0) + line(1)[:20])
    end = LogEnd(path)
    assert end.follow() is None
    before, _ = messages_before(path, end.place, LogFilter(), 9)
    assert [one.text for one in before] == ["message 0"]
    assert end.follow() == []
    with path.open("a") as file:
        file.write(line(1)[20:] + line(2, "ERROR", "bad\nvery bad"))
    added = end.follow()
    assert added is not None
    assert [(one.level, one.text) for one in added] == [
        ("INFO", "message 1"),
        ("ERROR", "bad\nvery bad"),
    ]
    path.write_text(line(7))  # begun anew, and shorter
    assert end.follow() is None
    assert [one.text for one in messages_before(path, end.place, LogFilter(), 9)[0]] == [
        "message 7"
    ]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        end.follow()


def test_text_of_another_form_is_shown_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, "no log at all\n" + line(1) + "\x00\xff\n")
    found = all_before(path, LogFilter("INFO"), 10)
    assert [(one.level, one.text) for one in found] == [
        ("", "no log at all"),
        ("INFO", "message 1\n\x00\xff"),
    ]
    assert all_before(written(tmp_path, ""), LogFilter(), 10) == []
    assert len(all_before(written(tmp_path, "x" * 3_000_000 + "\n"), LogFilter(), 10)) <= 3


def test_the_log_of_a_run_has_the_form_that_is_read(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "run") as run:
        run.start_log()
        logger = logging.getLogger("syngrpo.workflow.run")
        logger.warning("one")
        try:
            raise ValueError("wrong")
        except ValueError:
            logger.exception("two")
        first, second = all_before(run.log_path, LogFilter(), 10)
    assert (first.level, first.module, first.text) == ("WARNING", logger.name, "one")
    assert second.level == "ERROR" and second.text.startswith("two\nTraceback")
    assert second.text.endswith("ValueError: wrong")
