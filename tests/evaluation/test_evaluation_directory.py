"""An evaluation that is killed goes on; one that has changed is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_sets import write_data
from tiny_models import save_tiny_qwen

from syngrpo.evaluation import answering
from syngrpo.evaluation.evaluation_directory import model_fingerprint
from syngrpo.evaluation.evaluation_reading import read_evaluation
from syngrpo.evaluation.model_evaluation import Asking, Loading, evaluate_model, named_sets
from syngrpo.evaluation.predictions import read_predictions, write_predictions
from syngrpo.sample import InputError
from syngrpo.serving.directory_lock import lock_directory
from syngrpo.tasks.rewards import RewardOptions
from syngrpo_rooms.dataset import rooms_samples

SAMPLES = 24
ASKING = Asking(prompt_style="brief", max_new_tokens=40, samples_per_prompt=2)


def evaluated(
    model: Path, data: list[Path], out: Path, asking: Asking = ASKING, **options: Any
) -> None:
    evaluate_model(str(model), named_sets(data), out, Loading(), asking, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    halves = (rooms_samples("test", SAMPLES // 2, task=task, size=64) for task in ("rec", "isr"))
    samples = [sample for pair in zip(*halves, strict=True) for sample in pair]
    write_data(samples, folder / "mine.jsonl")
    return folder / "mine.jsonl"


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    evaluated(model, [data], out)
    return out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the samples that the model is asked, greedily."""
    ids: list[str] = []
    real = answering.rollout

    def counting(policy, prompts, group_size, *rest):  # type: ignore[no-untyped-def]
        ids.extend(p.sample_id for p in prompts if group_size == 1)
        return real(policy, prompts, group_size, *rest)

    monkeypatch.setattr(answering, "rollout", counting)
    return ids


@pytest.mark.slow
def test_after_a_kill_it_goes_on_and_ends_with_the_same(
    model: Path, data: Path, whole: Path, tmp_path: Path, asked: list[str]
) -> None:
    out, predictions = tmp_path / "out", tmp_path / "out" / "predictions-mine.jsonl"
    arguments = ["evaluate", "--model", model, "--data", data, "--out", out, "--batch-size", "1"]
    arguments += ["--prompt-style", "brief", "--max-new-tokens", "40", "--device", "cpu"]
    command = [sys.executable, "-m", "syngrpo", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--samples-per-prompt", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    while not (predictions.exists() and predictions.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = [prediction.id for prediction in read_predictions(predictions)]
    assert 3 <= len(kept) < SAMPLES
    assert not (out / "metrics.json").exists()
    with predictions.open("ab") as file:
        file.write(b'{"id": "rooms-rec-test')  # cut off in the middle of a line
    evaluated(model, [data], out, replace(ASKING, batch_size=7))
    assert len(asked) == SAMPLES - len(kept) and not set(asked) & set(kept)
    for name in ("predictions-mine.jsonl", "metrics.json", "evaluation.jsonl", "settings.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_finished_one_asks_nothing_again_and_more_samples_only_what_is_new(
    model: Path, data: Path, whole: Path, tmp_path: Path, asked: list[str]
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    evaluated(model, [data], out)
    assert asked == []
    for count in (2, 3):
        sets = named_sets(["rooms:test"], count)
        evaluate_model(str(model), sets, tmp_path / "rooms", Loading(), ASKING)
    assert len(asked) == len(set(asked)) == 3


def test_a_further_set_is_added_to_those_that_are_there(model: Path, tmp_path: Path) -> None:
    sets = named_sets(["rooms:test", "rooms:ood"], 2)
    for name in sets:
        evaluate_model(str(model), {name: sets[name]}, tmp_path / "one", Loading(), ASKING)
    evaluate_model(str(model), sets, tmp_path / "both", Loading(), ASKING)
    for name in ("metrics.json", "evaluation.jsonl", "settings.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()
    more = {"test": named_sets(["rooms:test"], 3)["test"]}
    evaluate_model(str(model), more, tmp_path / "one", Loading(), ASKING)
    predictions, _ = read_evaluation(tmp_path / "one")
    assert {name: len(ones) for name, ones in predictions.items()} == {"test": 3, "ood": 2}


@pytest.mark.parametrize("content", ["not JSON", '{"sets": ["mine"]}', '{"settings": {}}'])
def test_damaged_metrics_are_written_anew(
    model: Path, data: Path, whole: Path, tmp_path: Path, content: str
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "metrics.json").write_text(content)
    evaluated(model, [data], out)
    assert (out / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


def test_a_directory_that_another_process_evaluates_into_is_refused(
    model: Path, tmp_path: Path
) -> None:
    with lock_directory(tmp_path), pytest.raises(InputError, match="is in use by process"):
        evaluate_model(str(model), named_sets(["rooms:test"], 2), tmp_path, Loading(), ASKING)


def test_other_settings_model_or_samples_are_refused_unless_restarted(
    model: Path, data: Path, whole: Path, tmp_path: Path, asked: list[str]
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    other = save_tiny_qwen(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match=r"max_new_tokens 40, now 8; give another --out, or --res"):
        evaluated(model, [data], out, replace(ASKING, max_new_tokens=8))
    with pytest.raises(InputError, match=r"other settings: rewards None, now .*vlm-r1-format"):
        own = [RewardOptions("vlm-r1-format")]
        evaluated(model, [data], out, rewards=own)
    with pytest.raises(InputError, match="other settings: model "):
        evaluated(other, [data], out)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[2]["question"] = "something else"
    changed = data.with_name("changed") / data.name
    changed.parent.mkdir()
    shutil.copytree(data.parent / "images", changed.parent / "images")
    changed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=f"'{rows[2]['id']}', which has changed since"):
        evaluated(model, [changed], out)
    changed.write_text("".join(json.dumps(row) + "\n" for row in rows[3:]))
    with pytest.raises(InputError, match="is not in the data; give another --out, or --restart"):
        evaluated(model, [changed], out)
    assert asked == []
    assert (out / "metrics.json").exists()
    evaluated(other, [changed], out, restart=True)
    assert len(asked) == SAMPLES - 3


def test_another_picture_under_the_same_name_is_another_sample(model: Path, tmp_path: Path) -> None:
    first, second = rooms_samples("test", 2, size=64)
    for picture in (first, second):
        write_data([first], tmp_path / "one.jsonl")
        (path,) = (tmp_path / "images").iterdir()
        path.write_bytes(picture.image.read())
        if picture is second:
            with pytest.raises(InputError, match="has changed since"):
                evaluated(model, [tmp_path / "one.jsonl"], tmp_path / "out")
        else:
            evaluated(model, [tmp_path / "one.jsonl"], tmp_path / "out")


def test_predictions_come_back_as_they_were(whole: Path, tmp_path: Path) -> None:
    predictions = read_predictions(whole / "predictions-mine.jsonl")
    assert {type(p.truth) for p in predictions if p.task == "rec"} == {tuple}
    write_predictions(predictions, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (
        whole / "predictions-mine.jsonl"
    ).read_bytes()
    (tmp_path / "again.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(InputError, match=r"again.jsonl:1 is not a prediction"):
        read_predictions(tmp_path / "again.jsonl")


WRONG: list[tuple[str, Any]] = [
    *((name, value) for name in ("id", "task", "question", "image") for value in (3, None, [])),
    *(("diversity", value) for value in ("0", None, float("nan"))),
    *(("kind", value) for value in (3, [], {})),
    *(("greedy", value) for value in (None, [], {"text": "a"})),
    *(("sampled", value) for value in (None, 3, ["a"], [{"text": "a"}])),
    ("other", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_prediction_of_another_form_is_named(
    whole: Path, tmp_path: Path, name: str, value: Any
) -> None:
    first, *_ = (whole / "predictions-mine.jsonl").read_text().splitlines(keepends=True)
    file = tmp_path / "predictions.jsonl"
    file.write_text(first + json.dumps(json.loads(first) | {name: value}) + "\n")
    with pytest.raises(InputError, match=rf"{file}:2 is not a prediction; remove the line"):
        read_predictions(file)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.json", "[" * 100_000, "is not JSON"),
        ("metrics.json", "[]", "is not a JSON object"),
        ("metrics.json", '{"sets": ["mine"]}', "is damaged (sets is no object)"),
        ("metrics.json", '{"sets": {}, "settings": 3}', "is damaged (settings is no object)"),
        ("metrics.json", None, "is no file"),
        ("predictions-mine.jsonl", None, "is no file"),
        ("predictions-mine.jsonl", "[" * 100_000 + "\n", ":1 is not a prediction"),
    ],
)
def test_a_damaged_evaluation_is_told_in_one_line(
    whole: Path, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    if content is None:
        (out / name).unlink()
        os.mkfifo(out / name)
        said = "no finished evaluation" if name == "metrics.json" else said
    else:
        (out / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(said)) as told:
        read_evaluation(out)
    assert str(out) in str(told.value) and "\n" not in str(told.value)


def test_a_fingerprint_is_of_what_the_model_is_not_of_where_it_lies(
    model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    os.utime(copy / "model.safetensors", (0, 0))
    (copy / "log.jsonl").write_text("{}\n")
    assert model_fingerprint(str(copy)) == model_fingerprint(str(model))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    changed = model_fingerprint(str(copy))
    assert changed != model_fingerprint(str(model))
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert model_fingerprint(str(copy)) != changed
    assert model_fingerprint(str(model), copy) != model_fingerprint(str(model))
