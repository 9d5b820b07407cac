"""What adapters make of states and reports that are damaged, gone, or of another run; without
PyTorch and the trainers."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rooms_client import INLINE, describing, opened

from syngrpo.adapters import tried_version
from syngrpo.adapters.held_descriptions import HeldDescriptions
from syngrpo.adapters.report_rows import append_row, readable_rows
from syngrpo.adapters.slime_source import MARK, EvolvingSource
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.data_server.client import DataClient
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples


class Source(EvolvingSource):
    def open_client(self, args: Any) -> DataClient:
        return opened(args.folder)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    module = ModuleType("transformers")
    module.AutoProcessor = SimpleNamespace(from_pretrained=lambda _: None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    names = {"folder": tmp_path / "run", "save": str(tmp_path), "load": str(tmp_path)}
    found = Source(
        SimpleNamespace(**names, hf_checkpoint="", rollout_batch_size=4, n_samples_per_prompt=2)
    )
    with found.client:
        yield found


def test_a_damaged_state_of_slime_is_one_line(source: Source, tmp_path: Path) -> None:
    source.save(3)
    path = tmp_path / "rollout" / "syngrpo_3.json"
    good = path.read_text(encoding="utf-8")
    for content in (good[:40], "", "[]", "{}", json.dumps(json.loads(good) | {"client": {}})):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"syngrpo_3\.json") as told:
            source.load(3)
        assert "\n" not in str(told.value)
    path.write_text(good, encoding="utf-8")
    source.load(3)


def test_a_state_of_slime_that_is_gone_is_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source.load(-1)  # a new run
        assert not caplog.records
        source.load(7)
    assert "syngrpo_7.json; the client begins with its first step" in caplog.text


def answered(name: str, **note: Any) -> SimpleNamespace:
    return SimpleNamespace(metadata={MARK: {"sample": name} | note}, response="")


def test_responses_to_other_samples_are_one_line(source: Source) -> None:
    for sample in (answered("r-1"), SimpleNamespace(metadata=None, response="")):
        with pytest.raises(InputError, match="measure a checkpoint with syngrpo evaluate"):
            source.scored(sample)
    with pytest.raises(InputError, match="a response is to r-1, which was not drawn in the last"):
        source.end_rollout([[answered("r-1", accuracy=1.0), answered("r-1", accuracy=0.0)]])


def test_a_group_that_was_not_scored_is_drawn_again(source: Source) -> None:
    (drawn,) = source.client.draw(1)
    source._drawn[drawn.id] = drawn
    source.end_rollout([[answered(drawn.id, accuracy=1.0), answered(drawn.id)]])
    visits = {one.id: one.visits for one in source.client.draw(24)}
    assert visits[drawn.id] == 0


def test_held_descriptions_of_lost_samples_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = HeldDescriptions()
    with opened(tmp_path / "one") as client:
        while len(held) < 2:
            for sample in client.draw():
                client.observe(sample, [0.0, 1.0])
                client.submit(sample, [describing(sample, "a red wall")])
            held.add(client.outcomes())
        kept = json.loads(json.dumps(held.state_dict()))
        again = HeldDescriptions()
        again.load_state_dict(kept, client)
        assert len(again) == len(held)
    others = rooms_samples("test", 8)
    with (
        DataClient.open(tmp_path / "two", others, groups_per_step=4, synthesis=INLINE) as client,
        caplog.at_level(logging.WARNING),
    ):
        again.load_state_dict(kept, client)
    assert len(again) == 0 and "is not learned: pool" in caplog.text


def test_lines_of_killed_processes_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "host-7.jsonl"
    row = {"sample": "r-1", "text": "t", "accuracy": 1.0}
    append_row(path, row)
    with path.open("ab") as file:
        file.write(b'{"sample": "r-1", "te')  # killed here; the next process has the same number
    append_row(path, row)
    append_row(path, row)
    with caplog.at_level(logging.WARNING):
        assert list(readable_rows(path, path.read_bytes().rstrip(b"\n"))) == [row] * 3
    assert caplog.text.count("cannot be read; its response is left out") == 1


@pytest.mark.parametrize(
    ("have", "tried"), [("1.16rc1", "1.16"), ("2.0.dev0", "2.0"), ("2", "1.9")]
)
def test_versions_before_a_release_are_read(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, have: str, tried: str
) -> None:
    monkeypatch.setattr(tried_version, "version", lambda _: have)
    check_tried_version("trainer", tried)
    assert all("was tried with trainer" in str(one.message) for one in recwarn)


def test_a_trainer_run_from_its_source_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="cannot be told, because it is not installed; if a step"):
        check_tried_version("no-such-trainer", "1.2")
