"""What may change when a run goes on is a list; everything else is refused by its name."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from quick_runs import CONFIG, quick_config

from syngrpo.config import dump_config
from syngrpo.config.validation import dotted_keys
from syngrpo.sample import InputError
from syngrpo.workflow.resume_rules import MAY_CHANGE, changed_settings
from syngrpo.workflow.run_options import RunOptions

ASYNC = {"synthesis__mode": "async"}
TEST = "{format: rooms, split: test, count: 2}"
ROOMS = "{format: rooms, split: train, count: 24"


def begun(folder: Path, **changed: Any) -> Path:
    """The configuration file of a run that began with these settings."""
    file = folder / "config.yaml"
    file.write_text(dump_config(quick_config(**ASYNC, **changed)), encoding="utf-8")
    return file


def test_the_same_settings_are_no_change(tmp_path: Path) -> None:
    assert changed_settings(begun(tmp_path), quick_config(**ASYNC)) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model__path": str(CONFIG)}, 'model.path "starter" → "'),
        ({"model__lora": "{rank: 4}"}, "model.lora null → {"),
        ({"model__max_pixels": 4096}, "model.max_pixels null → 4096"),
        ({"method__name": "grpo"}, 'method.name "syn-grpo" → "grpo"'),
        ({"method__diversity_weight": 0.4}, "method.diversity_weight 0.5 → 0.4"),
        ({"trainer__seed": 1}, "trainer.seed 0 → 1"),
        ({"trainer__groups_per_step": 4}, "trainer.groups_per_step 3 → 4"),
        ({"trainer__updates_per_rollout": 2}, "trainer.updates_per_rollout 1 → 2"),
        ({"rollout__group_size": 5}, "rollout.group_size 4 → 5"),
        ({"data__train": f"[{ROOMS}, task: isr}}]"}, 'data.train.0.task null → "isr"'),
        ({"data__train": f"[{ROOMS}}}, {TEST}]"}, "data.train ["),
        ({"data__train": "[{path: rooms.jsonl}]"}, 'data.train.0.format "rooms" → '),
        ({"data__prompt_style": "full"}, 'data.prompt_style "brief" → "full"'),
        ({"pool__synthetic_ratio": 0.3}, "pool.synthetic_ratio 0.5 → 0.3"),
        ({"synthesis__generator": "noop"}, 'synthesis.generator "rooms" → "noop"'),
        ({"synthesis__mode": "inline"}, 'synthesis.mode "async" → "inline"'),
        ({"synthesis__gate": "{min_change: 3}"}, "synthesis.gate.min_change"),
        ({"evaluation__sets": f"{{test: {TEST.replace('2', '3')}}}"}, "sets.test.count 2 → 3"),
    ],
)
def test_what_may_not_change_is_refused_by_name(
    tmp_path: Path, changed: dict[str, object], named: str
) -> None:
    file = begun(tmp_path, evaluation__sets=f"{{test: {TEST}}}")
    now = quick_config(**{**ASYNC, "evaluation__sets": f"{{test: {TEST}}}", **changed})
    with pytest.raises(InputError, match="cannot go on with other settings") as caught:
        changed_settings(file, now)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert "another --run-dir" in str(caught.value)


@pytest.mark.parametrize("place", ["evaluation.sets.val", "data.train.0"])
def test_a_key_of_a_data_format_cannot_come_or_go(tmp_path: Path, place: str) -> None:
    def with_source(keys: str) -> dict[str, str]:
        source = f"{{format: rooms, task: rec, split: train{keys}}}"
        if place == "data.train.0":
            return {"data__train": f"[{source}]"}
        return {"evaluation__sets": f"{{val: {source}}}"}

    for before, now, named in (
        (", count: 20", "", f"{place}.count 20 → null"),
        ("", ", count: 20", f"{place}.count null → 20"),
    ):
        file = begun(tmp_path, **with_source(before))
        assert changed_settings(file, quick_config(**ASYNC, **with_source(before))) == []
        with pytest.raises(InputError, match="cannot go on with other settings") as caught:
            changed_settings(file, quick_config(**ASYNC, **with_source(now)))
        assert f"{named};" in str(caught.value)


def test_what_may_change_is_listed_with_both_values(tmp_path: Path) -> None:
    changed = {
        "trainer__steps": 9,
        "trainer__learning_rate": 5e-5,
        "trainer__token_budget": 999,
        "evaluation__every": 2,
        "evaluation__sets": f"{{test: {TEST}}}",
        "logging__trackers": "[tensorboard]",
        "data__train": f"[{ROOMS}, weight: 2}}]",
    }
    changes = changed_settings(begun(tmp_path), quick_config(**ASYNC, **changed))
    assert [str(change) for change in changes] == [
        "data.train.0.weight null → 2.0",
        "trainer.steps 3 → 9",
        "trainer.learning_rate 0.0001 → 5e-05",
        "trainer.token_budget 16384 → 999",
        "evaluation.every 0 → 2",
        'evaluation.sets [] → ["test"]',
        'logging.trackers [] → ["tensorboard"]',
    ]


def test_every_key_of_the_list_is_a_key_of_the_configuration() -> None:
    keys = [*dotted_keys(), "data.train.0.weight"]
    for pattern in MAY_CHANGE:
        assert any(fnmatchcase(key, pattern) for key in keys), pattern


def test_keys_that_only_one_version_has_do_not_count(tmp_path: Path) -> None:
    file = begun(tmp_path)
    values = yaml.safe_load(file.read_text())
    del values["trainer"]["seed"], values["data"]["train"][0]["weight"]
    values["trainer"]["micro_tokens"] = 5
    file.write_text(yaml.safe_dump(values))
    assert changed_settings(file, quick_config(**ASYNC, trainer__seed=1)) == []


def http(port: int = 8000, **options: Any) -> RunOptions:
    given = {"url": f"http://localhost:{port}/v1/images/edits", **options}
    words = ", ".join(f"{key}: {value}" for key, value in given.items())
    return quick_config(**ASYNC, synthesis__generator="http", synthesis__options=f"{{{words}}}")


def test_options_of_the_generator_may_change_if_they_leave_its_pictures_as_they_are(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(http(timeout_s=60)))
    (patience,) = changed_settings(file, http(timeout_s=90))
    assert str(patience) == "synthesis.options.timeout_s 60 → 90"
    for other, named in ((http(8001), "url"), (http(timeout_s=60, multiple=16), "options")):
        with pytest.raises(InputError, match=rf"synthesis\.[a-z.]*{named} "):
            changed_settings(file, other)


def test_a_run_that_has_nothing_yet_may_change_unless_workers_may_have_painted(
    tmp_path: Path,
) -> None:
    seed = {"trainer__seed": 1}
    file = begun(tmp_path)
    with pytest.raises(InputError, match=r"trainer\.seed"):
        changed_settings(file, quick_config(**ASYNC, **seed), anew=True)
    file.write_text(dump_config(quick_config()))
    assert len(changed_settings(file, quick_config(**seed), anew=True)) == 1


@pytest.mark.parametrize("text", ["", "trainer: [", "- a list", "\x00"])
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read") as caught:
        changed_settings(file, quick_config())
    assert "\n" not in str(caught.value)
