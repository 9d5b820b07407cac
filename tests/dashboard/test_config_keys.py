"""Settings beside their defaults, and attempts in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from syngrpo.config import load_config
from syngrpo.config.explain import defaults
from syngrpo.dashboard.attempts.config_keys import config_keys, fitting_keys
from syngrpo.dashboard.attempts.run_attempts import run_attempts
from syngrpo.dashboard.reading.flat_config import value_text

CONFIG = """
model: {path: starter}
data: {train: [{format: rooms, task: rec, split: train, count: 20}]}
trainer: {steps: 7}
synthesis: {generator: rooms}
evaluation: {sets: {near: {format: rooms, task: rec, split: test, count: 5}}}
"""


def resolved(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    values: dict[str, Any] = yaml.safe_load(
        yaml.safe_dump(load_config(path, overrides).as_values())
    )
    return values


def test_every_default_is_that_of_config_show(tmp_path: Path) -> None:
    keys = {key.key: key for key in config_keys(resolved(tmp_path))}
    compared = 0
    for known in defaults():
        key = keys.get(known.name)
        if known.default == "must be set":
            assert key is None or key.default is None
        elif key is not None:
            assert _plain(key.default) == _plain(known.default), known.name
            assert key.description and known.description.startswith(key.description)
            compared += 1
    assert compared > 100


def _plain(default: str | None) -> str:
    """A default without the differences of notation: quotes, and tuples as lists."""
    return value_text(yaml.safe_load(default or "null")).replace('"', "'")


def test_what_differs_is_marked_and_found(tmp_path: Path) -> None:
    keys = config_keys(resolved(tmp_path, "rollout.temperature=0.5"))
    by_key = {key.key: key for key in keys}
    assert by_key["trainer.steps"].differs and by_key["trainer.steps"].default == "300"
    assert by_key["rollout.temperature"].differs
    assert not by_key["trainer.groups_per_step"].differs
    assert by_key["evaluation.sets.near.format"].default == "auto"
    assert by_key["data.train.0.count"].default is None  # an option of the format
    found = fitting_keys(keys, "TEMPERATURE", only_changed=True)
    assert [key.key for key in found] == ["rollout.temperature"]
    assert {key.key for key in fitting_keys(keys, "", True)} == {k.key for k in keys if k.differs}
    assert len(fitting_keys(keys, "", False)) == len(keys)


def test_defaults_are_those_of_the_method(tmp_path: Path) -> None:
    def clip_high(method: str) -> str | None:
        config = {"method": {"name": method, "clip_high": 0.28}}
        return config_keys(config)[1].default

    assert clip_high("grpo-clip-higher") == "0.28"
    assert clip_high("grpo") == "null" == clip_high("no such method")


def test_a_configuration_of_another_form_is_shown_as_it_is() -> None:
    odd: dict[str, Any] = {
        "trainer": [1],
        "gone": {"key": {"a": 1}},
        "method": "grpo",
        "data": {"train": {}},
    }
    keys = {key.key: (key.value, key.default) for key in config_keys(odd)}
    assert keys["trainer"][0] == "[1]" and keys["gone.key.a"] == ("1", None)
    assert keys["method"][0] == "grpo" and keys["data.train"][0] == "{}"


def test_attempts_say_which_steps_they_have_done_and_what_has_changed() -> None:
    rows: list[dict[str, Any]] = [
        {
            "time": "2026-11-29T14:46:25+00:00",
            "step": 0,
            "steps": 10,
            "host": "a",
            "device": "cuda:0",
            "processes": 4,
            "python": "3.12.1",
            "versions": {"torch": "2.11", "ray": "2.55"},
            "changes": [],
        },
        {
            "time": "2026-11-30T08:00:00+00:00",
            "step": 6,
            "steps": 12,
            "host": "b",
            "device": "cpu",
            "processes": 1,
            "python": "3.12.1",
            "versions": {"torch": "2.12"},
            "changes": [{"key": "trainer.steps", "before": 10, "now": 12}],
        },
        {"step": 9, "steps": 12, "changes": "odd", "versions": None},
    ]
    first, second, third = run_attempts(rows, 9)
    assert (first.time, first.place) == ("2026-11-29 14:46:25 UTC", "a, 4 × cuda:0")
    assert (first.steps, second.steps) == ("1–6 of 10", "7–9 of 12")
    assert third.steps == "none, from 10 of 12"
    assert second.changes == (
        "trainer.steps: 10 → 12",
        "torch 2.11 → 2.12",
        "ray 2.55 → not installed",
    )
    assert first.changes == () and run_attempts([], None) == []


def test_an_attempt_has_kept_the_steps_that_no_later_one_has_done_again() -> None:
    rows = [{"step": step, "steps": 200} for step in (0, 100, 50)]
    assert [one.steps for one in run_attempts(rows, 120)] == [
        "1–50 of 200",
        "none, from 101 of 200",
        "51–120 of 200",
    ]
    unknown = [{"step": 0, "steps": 200}, {"steps": 200}]
    assert run_attempts(unknown, 120)[0].steps == "1–120 of 200"
