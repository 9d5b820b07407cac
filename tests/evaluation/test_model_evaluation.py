"""What ``syngrpo evaluate`` does: a model and data sets in, files out."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from data_sets import write_data
from PIL import Image
from report_page import read
from tiny_models import save_tiny_qwen
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.evaluation.compare import compare
from syngrpo.evaluation.model_evaluation import (
    Asking,
    Loading,
    evaluate_model,
    final_of_run,
    how_to_ask,
    named_sets,
)
from syngrpo.evaluation.trained_with import TRAINED_WITH
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.sample import InputError, Sample
from syngrpo_rooms.dataset import rooms_samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return rooms_samples("test", 6, size=64)


def test_the_command_writes_metrics_and_predictions(
    model: Path, samples: list[Sample], tmp_path: Path
) -> None:
    write_data(samples[:2], tmp_path / "mine.jsonl")
    arguments = ["evaluate", "--model", model, "--data", tmp_path / "mine.jsonl"]
    arguments += ["--data", "rooms:ood", "--count", 2, "--out", tmp_path / "out"]
    arguments += ["--max-new-tokens", 4, "--samples-per-prompt", 2]
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert "mine (2)" in done.output and "evaluate ood" in done.output
    assert str(tmp_path / "out" / "report.html") in done.output
    html, _ = read(tmp_path / "out" / "report.html")
    assert str(model) in html
    rows = [json.loads(s) for s in (tmp_path / "out/evaluation.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == ["mine", "ood"]
    lines = (tmp_path / "out/predictions-mine.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [s.id for s in samples[:2]]
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["sets"]["ood"]["metrics"] == rows[1]["metrics"]
    assert rows[0]["tasks"] == rows[1]["tasks"] == ["rec"]
    assert metrics["settings"]["max_new_tokens"] == 4
    assert metrics["conditions"]["transformers"] == version("transformers")
    assert metrics["conditions"]["max_pixels"] > metrics["conditions"]["min_pixels"] > 0
    assert len(json.loads(lines[0])["sampled"]) == 2


def test_data_are_read_as_the_options_say_and_the_results_record_it(
    model: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    row = {"id": "a", "task": "rec", "image": "a.png", "question": "the cup"}
    for name, box in (("shares", [0.5, 0.5, 0.5, 0.5]), ("pixels", [16, 12, 48, 36])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row | {"answer": box}))

    def evaluated(name: str, out: str, *more: str) -> str:
        arguments = ["evaluate", "--model", model, "--data", tmp_path / f"{name}.jsonl", *more]
        arguments += ["--out", tmp_path / out, "--max-new-tokens", 2, "--samples-per-prompt", 0]
        done = CliRunner().invoke(app, list(map(str, arguments)))
        return done.output + str(done.exception)

    options = ("--boxes", "cxcywh", "--option", "coordinates=0-1", "--option", "exif=stored")
    assert "--option coordinates=0-1" in evaluated("shares", "none")
    evaluated("shares", "shares", *options)
    (tmp_path / "shares.jsonl").write_text((tmp_path / "pixels.jsonl").read_text())
    evaluated("shares", "pixels")
    truths = [
        json.loads((tmp_path / out / "predictions-shares.jsonl").read_text())["truth"]
        for out in ("shares", "pixels")
    ]
    assert truths == [[16.0, 12.0, 48.0, 36.0]] * 2
    settings = json.loads((tmp_path / "shares" / "metrics.json").read_text())["settings"]
    assert settings["data.boxes"] == "cxcywh" and settings["data.coordinates"] == "0-1"
    assert settings["data.exif"] == "stored" and settings["coordinates"] is None
    with pytest.raises(InputError) as refused:
        compare([tmp_path / "shares", tmp_path / "pixels"])
    assert "data.boxes cxcywh (shares), as usual in the format (pixels)" in str(refused.value)


def test_another_temperature_changes_the_sampled_answers_and_is_named(
    model: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / "warm", tmp_path / "cool"]
    found = []
    for out, temperature in zip(outs, (1, 0.05), strict=True):
        arguments = ["evaluate", "--model", model, "--data", "rooms:test", "--count", 3]
        arguments += ["--out", out, "--max-new-tokens", 8, "--temperature", temperature]
        done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        lines = (out / "predictions-test.jsonl").read_text().splitlines()
        found.append([json.loads(line) for line in lines])
    warm, cool = found
    assert [one["greedy"] for one in warm] == [one["greedy"] for one in cool]
    assert [one["sampled"] for one in warm] != [one["sampled"] for one in cool]
    with pytest.raises(InputError, match=r"temperature 1\.0 \(warm\), 0\.05 \(cool\)"):
        compare(outs)


def test_an_adapter_answers_as_the_merged_model_does(
    model: Path, samples: list[Sample], tmp_path: Path
) -> None:
    trained = load_policy(model, lora=LoraOptions(rank=4, alpha=8))
    torch.manual_seed(0)
    for name, parameter in trained.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    trained.model.save_pretrained(tmp_path / "adapter")
    trained.save(tmp_path / "merged")
    write_data(samples[:3], tmp_path / "mine.jsonl")

    def texts(path: Path, adapter: Path | None, out: str) -> list[str]:
        asking = Asking(prompt_style="brief", max_new_tokens=12, samples_per_prompt=0)
        sets = named_sets([tmp_path / "mine.jsonl"])
        results = evaluate_model(str(path), sets, tmp_path / out, Loading(adapter), asking)
        return [prediction.greedy.text for prediction in results["mine"].predictions]

    adapted = texts(model, tmp_path / "adapter", "a")
    assert adapted == texts(tmp_path / "merged", None, "b")
    assert adapted != texts(model, None, "c")


def test_the_final_model_of_a_run_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 1e-5\n")  # of another program
    (tmp_path / "final").mkdir()
    settings = '{"data": {"prompt_style": "brief"}, "rollout": {"max_new_tokens": 33}}'
    (tmp_path / "final" / TRAINED_WITH).write_text(settings)
    assert how_to_ask(str(tmp_path / "final"), None, None) == ("brief", 33)
    assert how_to_ask(str(tmp_path / "final"), "full", 7) == ("full", 7)
    assert how_to_ask(str(tmp_path / "other" / "model"), None, None) == ("full", 512)
    assert how_to_ask("starter", None, None) == ("brief", 64)
    assert how_to_ask("org/model", None, None, tmp_path / "final" / "adapter") == ("brief", 33)
    assert how_to_ask(str(tmp_path / "base"), None, None) == ("full", 512)


def test_a_run_directory_stands_for_its_final_model(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("data: {}\n")
    run = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"run is a run directory without final, .* --resume$"):
        final_of_run(run)
    (tmp_path / "run" / "final").mkdir()
    assert final_of_run(run) == str(tmp_path / "run" / "final")
    for model in (str(tmp_path / "run" / "final"), "starter", "org/model"):
        assert final_of_run(model) == model


def test_data_are_named_by_split_file_or_folder(samples: list[Sample], tmp_path: Path) -> None:
    write_data(samples[:2], tmp_path / "mine.v1.jsonl")
    sets = named_sets(["rooms:test", "rooms:isr:ood", tmp_path / "mine.v1.jsonl"], 2)
    assert list(sets) == ["test", "isr-ood", "mine.v1"]
    assert [s.task for s in sets["test"] + sets["isr-ood"]] == ["rec", "rec", "isr", "isr"]
    assert [s.id for s in sets["mine.v1"]] == [s.id for s in samples[:2]]
    one = named_sets([tmp_path / "mine.v1.jsonl"], keys={"limit": 1})
    assert [s.id for s in one["mine.v1"]] == [samples[0].id]


def test_generated_data_have_a_task_and_a_limit(samples: list[Sample], tmp_path: Path) -> None:
    (of_task,) = named_sets(["rooms:test"], 2, {"task": "ovd"}).values()
    assert [sample.task for sample in of_task] == ["ovd", "ovd"]
    for limit, number in ((1, 1), (9, 2)):
        assert len(named_sets(["rooms:test"], 2, {"limit": limit})["test"]) == number
    both = named_sets(["rooms:test", "rooms:isr:ood"], 1, {"task": "ovd"})
    assert [one.task for found in both.values() for one in found] == ["ovd", "isr"]
    write_data(samples[:1], tmp_path / "mine.jsonl")
    assert len(named_sets(["rooms:test", tmp_path / "mine.jsonl"], 1, {"images": [tmp_path]})) == 2


@pytest.mark.parametrize("key", ["format", "images", "split", "columns"])
def test_a_key_that_no_data_set_uses_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"^--{key} is for data in files; leave it out for rooms"):
        named_sets(["rooms:test"], 1, {key: "ood"})
    with pytest.raises(InputError, match=r"^--option exif is for data in files; leave it out for"):
        named_sets(["rooms:test"], 1, {"exif": "stored"})
    with pytest.raises(InputError, match=r"^--task isr: the task is already named by rooms:ovd:te"):
        named_sets(["rooms:ovd:test"], 1, {"task": "isr"})


def test_bad_data_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"rooms:cellar.*test"):
        named_sets(["rooms:cellar"], 2)
    with pytest.raises(InputError, match="task 'depth' is unknown; use one of rec"):
        named_sets(["rooms:depth:test"], 2)
    with pytest.raises(InputError, match="given already"):
        named_sets(["rooms:test", "rooms:test"], 2)
