import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_sets import write_data
from report_page import read
from tiny_models import save_tiny_qwen
from torchvision.ops import box_iou
from typer.testing import CliRunner

from syngrpo.cli.main import app
from syngrpo.evaluation import answering
from syngrpo.evaluation.answering import evaluate
from syngrpo.evaluation.bootstrap import intervals, resamples
from syngrpo.evaluation.evaluation_result import (
    append_evaluation,
    summarise,
    truncate_evaluations,
)
from syngrpo.evaluation.model_evaluation import evaluate_model, how_to_ask, named_sets
from syngrpo.evaluation.predictions import (
    Answer,
    Prediction,
    read_predictions,
    write_predictions,
)
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.rewards import Reward
from syngrpo_rooms.dataset import rooms_samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def policy(model: Path) -> Policy:
    return load_policy(model)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return rooms_samples("test", 6, size=64)


NUMBERS = itertools.count()


def prediction(
    accuracy: float, sampled: Sequence[float] = (), kind: str | None = None, task: str = "rec"
) -> Prediction:
    def answer(a: float) -> Answer:
        return Answer("", (0, 0, 1, 1) if a else None, a, well_formed=a > 0)

    diversity = 4 * float(np.var(sampled)) if sampled else 0.0
    drawn = tuple(map(answer, sampled))
    own = f"id-{next(NUMBERS)}"
    return Prediction(own, task, "q", (0, 0, 1, 1), kind, answer(accuracy), drawn, diversity)


def test_scores_equal_torchvision_iou_of_boxes_in_original_pixels(
    policy: Policy, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canned answers in model coordinates; everything behind the model is the real thing."""
    rng = np.random.default_rng(0)
    answered: dict[str, list[list[int]]] = {}

    def canned(policy, prompts, group_size, sampling, seeds):  # type: ignore[no-untyped-def]
        groups = []
        for prompt in prompts:
            texts = []
            for _ in range(group_size):
                x1, y1 = rng.integers(0, 40, 2)
                width, height = rng.integers(5, 24, 2)
                box = [int(x1), int(y1), int(x1 + width), int(y1 + height)]
                answered.setdefault(prompt.sample_id, []).append(box)
                text = f'<think>a</think><answer>{{"bbox_2d": {box}}}</answer><scene>b</scene>'
                texts.append(
                    answering.Response(torch.empty(0), torch.empty(0), torch.empty(0), text, True)
                )
            groups.append(texts)
        return groups

    monkeypatch.setattr(answering, "rollout", canned)
    result = evaluate(
        policy, samples, prompt_style="brief", max_new_tokens=4, samples_per_prompt=3, batch_size=4
    )
    best, mean, diversity = [], [], []
    for sample in samples:
        prompt = answering.encode(policy, sample, "")
        scale = torch.tensor([sample.image.width / prompt.frame.width] * 4)
        boxes = torch.tensor(answered[sample.id]) * scale
        ious = box_iou(boxes, torch.tensor([sample.answer]))[:, 0]
        best.append(float(ious[0]))
        mean.append(float(ious[1:].mean()))
        diversity.append(4 * float(ious[1:].var(correction=0)))
    assert result.metrics["greedy/accuracy"] == pytest.approx(np.mean(best), abs=1e-6)
    assert result.metrics["sampled/accuracy"] == pytest.approx(np.mean(mean), abs=1e-6)
    assert result.metrics["diversity/response"] == pytest.approx(np.mean(diversity), abs=1e-6)
    assert result.metrics["greedy/acc@0.5"] == np.mean(np.array(best) >= 0.5)
    assert result.metrics["greedy/format"] == 1 and result.metrics["greedy/unreadable"] == 0
    assert [p.greedy.accuracy for p in result.predictions] == pytest.approx(best, abs=1e-6)


def test_a_real_model_is_measured_the_same_in_any_batches_and_order(
    policy: Policy, samples: list[Sample]
) -> None:
    options = {"prompt_style": "brief", "max_new_tokens": 8, "samples_per_prompt": 2, "seed": 5}
    done: list[int] = []
    one = evaluate(policy, samples, batch_size=1, progress=done.append, **options)
    other = evaluate(policy, samples[::-1], batch_size=4, **options)
    assert done == [1] * len(samples)
    assert one.predictions == other.predictions[::-1]
    assert any(p.greedy.text for p in one.predictions)
    # Random weights write no answer: nothing is readable, and that is counted.
    assert one.metrics["greedy/unreadable"] == len(samples)
    assert one.metrics["greedy/acc@0.5"] == 0


def test_another_seed_samples_other_answers_but_the_same_greedy_ones(
    policy: Policy, samples: list[Sample]
) -> None:
    first, second = (
        evaluate(policy, samples[:2], prompt_style="brief", max_new_tokens=8, seed=seed)
        for seed in (0, 1)
    )
    texts = [[[a.text for a in p.sampled] for p in r.predictions] for r in (first, second)]
    assert texts[0] != texts[1]
    assert [p.greedy for p in first.predictions] == [p.greedy for p in second.predictions]


def test_own_rewards_are_measured_and_may_replace_the_accuracy(
    policy: Policy, samples: list[Sample]
) -> None:
    asked: list[dict[str, list[Any]]] = []

    async def length(**given: list[Any]) -> list[float | None]:
        asked.append(given)
        return [len(text) / 100 if text else None for text in given["completions"]]

    def half(completions: list[str], **columns: list[Any]) -> list[float]:
        return [0.5 if place else 1.0 for place, _ in enumerate(completions)]

    rewards = [
        Reward("length", 1.0, "answer", False, length),
        Reward("half", 1.0, "answer", True, half),
    ]
    options = {"prompt_style": "brief", "max_new_tokens": 8, "samples_per_prompt": 2}
    plain = evaluate(policy, samples, **options)
    result = evaluate(policy, samples, **options, rewards=rewards)
    texts = [[p.greedy.text, *(a.text for a in p.sampled)] for p in result.predictions]
    assert [p.greedy.text for p in plain.predictions] == [group[0] for group in texts]
    assert result.metrics["greedy/reward/length"] == pytest.approx(
        np.mean([len(group[0]) / 100 for group in texts if group[0]])
    )
    for name in ("accuracy", "reward/half"):
        assert result.metrics[f"greedy/{name}"] == 1 and result.metrics[f"sampled/{name}"] == 0.5
    assert result.metrics["greedy/acc@0.9"] == 1 and result.metrics["diversity/response"] == 0
    assert {given["sample_id"][0]: given["completions"] for given in asked} == {
        sample.id: group for sample, group in zip(samples, texts, strict=True)
    }
    assert asked[0]["prompts"] == asked[0]["question"] and len(asked[0]["ground_truth"]) == 3

    def broken(**given: list[Any]) -> list[float]:
        raise KeyError("width")

    with pytest.raises(InputError, match=rf"reward broken failed on sample {samples[0].id[:9]}"):
        evaluate(policy, samples, **options, rewards=[Reward("broken", 1, "answer", False, broken)])


def test_thresholds_and_kinds() -> None:
    result = summarise(
        [
            prediction(0.95, (1.0, 0.0), kind="attribute"),
            prediction(0.5, (0.6, 0.6), kind="relation"),
            prediction(0.8, (0.5, 0.2), kind="relation"),
            prediction(0.0, (0.0, 0.0)),
        ]
    )
    assert result.metrics["greedy/acc@0.5"] == 0.75
    assert result.metrics["greedy/acc@0.75"] == 0.5
    assert result.metrics["greedy/acc@0.9"] == 0.25
    assert result.metrics["sampled/acc@0.5"] == (0.5 + 1 + 0.5 + 0) / 4
    assert result.metrics["diversity/response"] == pytest.approx((1 + 0 + 0.09 + 0) / 4)
    assert result.metrics["greedy/unreadable"] == 1
    assert set(result.kinds) == {"attribute", "relation"}
    assert result.kinds["relation"]["greedy/acc@0.75"] == 0.5
    assert result.kinds["relation"]["samples"] == 2


def test_greedy_alone_has_no_sampled_metrics() -> None:
    result = summarise([prediction(1.0), prediction(0.0)])
    assert not [name for name in result.metrics if "sampled" in name or "diversity" in name]


def test_mixed_tasks_have_their_own_metrics_and_kinds() -> None:
    result = summarise(
        [
            prediction(0.6, kind="attribute"),
            prediction(0.2, kind="attribute"),
            prediction(1.0, kind="attribute", task="isr"),
            prediction(0.0, kind="count", task="isr"),
        ]
    )
    assert result.metrics["greedy/accuracy"] == pytest.approx(0.45)
    assert result.metrics["rec/greedy/accuracy"] == pytest.approx(0.4)
    assert result.metrics["rec/greedy/acc@0.5"] == 0.5
    assert result.metrics["isr/greedy/accuracy"] == 0.5
    assert "greedy/acc@0.5" not in result.metrics and "isr/greedy/acc@0.5" not in result.metrics
    assert (result.metrics["samples"], result.metrics["isr/samples"]) == (4, 2)
    assert (result.metrics["greedy/unreadable"], result.metrics["rec/greedy/unreadable"]) == (1, 0)
    assert set(result.kinds) == {"rec/attribute", "isr/attribute", "isr/count"}
    assert result.kinds["isr/attribute"]["greedy/accuracy"] == 1
    assert result.kind_intervals["isr/count"]["greedy/accuracy"] == (0, 0)


def test_intervals_of_a_mean_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).random((300, 2)) ** 2
    units = [str(i) for i in range(len(values))]

    def mean(counts: np.ndarray) -> np.ndarray:
        return counts @ values / counts.sum()

    ours = intervals(mean, units, [False, False], number=4000)
    for column, interval in zip(values.T, ours, strict=True):
        theirs = stats.bootstrap(
            (column,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        assert interval == pytest.approx((theirs.low, theirs.high), abs=4e-3)
    assert intervals(lambda c: np.array([0.3]), ["a"], [False]) == [(0.3, 0.3)]
    assert intervals(lambda c: np.array([np.nan]), ["a"], [False]) == [None]


def test_questions_about_one_picture_are_drawn_together() -> None:
    """Ten copies of every sample are no more evidence than one: the interval stays as wide."""
    values = np.random.default_rng(0).random(50)
    many = np.repeat(values, 10)
    units = [f"picture {i // 10}" for i in range(len(many))]
    for counts in resamples(units, 5, seed=0):
        assert counts.sum() == len(many)
        assert (counts.reshape(50, 10) == counts.reshape(50, 10)[:, :1]).all()

    def width(column: np.ndarray, units: list[str]) -> float:
        found = intervals(lambda c: np.array([c @ column / c.sum()]), units, [False])[0]
        assert found is not None
        return found[1] - found[0]

    alone = width(values, [str(i) for i in range(50)])
    assert width(many, units) == pytest.approx(alone, rel=0.1)
    assert width(many, [str(i) for i in range(500)]) < alone / 2


def test_evaluation_lines_are_appended(tmp_path: Path) -> None:
    result = summarise([prediction(1.0, (1.0, 0.0), kind="attribute")])
    path = tmp_path / "evaluation.jsonl"
    append_evaluation(path, result, 0, "test")
    append_evaluation(path, result, 40, "test")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["set"]) for row in rows] == [(0, "test"), (40, "test")]
    assert rows[0]["metrics"] == result.metrics
    assert rows[0]["intervals"]["greedy/acc@0.5"] == [1.0, 1.0]
    (name,), (sampled,) = (rows[0]["per_sample"][key] for key in ("id", "sampled/accuracy"))
    assert (name, sampled) == (result.predictions[0].id, 0.5)
    (asked,) = result.predictions
    answered = summarise([replace(asked, greedy=asked.sampled[1])])
    assert answered.record(0, "test")["samples"] == rows[0]["samples"]
    other = summarise([replace(asked, question="another")])
    assert other.record(0, "test")["samples"] != rows[0]["samples"]
    with path.open("a") as file:
        file.write('{"step": 60, "se')
    truncate_evaluations(path, 20)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0]


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
    assert len(json.loads(lines[0])["sampled"]) == 2


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
        options = {"prompt_style": "brief", "max_new_tokens": 12, "samples_per_prompt": 0}
        sets = named_sets([tmp_path / "mine.jsonl"])
        results = evaluate_model(str(path), sets, tmp_path / out, adapter=adapter, **options)
        return [prediction.greedy.text for prediction in results["mine"].predictions]

    adapted = texts(model, tmp_path / "adapter", "a")
    assert adapted == texts(tmp_path / "merged", None, "b")
    assert adapted != texts(model, None, "c")


def test_the_final_model_of_a_run_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    config = "data: {prompt_style: brief}\nrollout: {max_new_tokens: 33}\n"
    (tmp_path / "config.yaml").write_text(config)
    assert how_to_ask(str(tmp_path / "final"), None, None) == ("brief", 33)
    assert how_to_ask(str(tmp_path / "final"), "full", 7) == ("full", 7)
    assert how_to_ask(str(tmp_path / "other" / "model"), None, None) == ("full", 512)
    assert how_to_ask("starter", None, None) == ("brief", 64)
    assert how_to_ask("org/model", None, None, tmp_path / "adapter") == ("brief", 33)


def test_data_are_named_by_split_file_or_folder(samples: list[Sample], tmp_path: Path) -> None:
    write_data(samples[:2], tmp_path / "mine.v1.jsonl")
    sets = named_sets(["rooms:test", "rooms:isr:ood", tmp_path / "mine.v1.jsonl"], 2)
    assert list(sets) == ["test", "isr-ood", "mine.v1"]
    assert [s.task for s in sets["test"] + sets["isr-ood"]] == ["rec", "rec", "isr", "isr"]
    assert [s.id for s in sets["mine.v1"]] == [s.id for s in samples[:2]]
    one = named_sets([tmp_path / "mine.v1.jsonl"], keys={"limit": 1})
    assert [s.id for s in one["mine.v1"]] == [samples[0].id]


def test_bad_data_is_said_in_one_line(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rooms:cellar.*test"):
        named_sets(["rooms:cellar"], 2)
    with pytest.raises(InputError, match="task 'depth' is unknown; use one of rec"):
        named_sets(["rooms:depth:test"], 2)
    with pytest.raises(InputError, match="given already"):
        named_sets(["rooms:test", "rooms:test"], 2)
    with pytest.raises(InputError, match="no samples"):
        evaluate(policy, [], prompt_style="brief", max_new_tokens=4)


def test_predictions_are_plain_json(tmp_path: Path) -> None:
    write_predictions([prediction(0.5, (1.0,))], tmp_path / "deep" / "p.jsonl")
    path = tmp_path / "deep" / "p.jsonl"
    row = json.loads(path.read_text())
    assert row["greedy"] == {
        "text": "",
        "prediction": [0, 0, 1, 1],
        "accuracy": 0.5,
        "well_formed": True,
    }
    one = prediction(0.5, (1.0,))
    rewarded = replace(one, greedy=replace(one.greedy, rewards={"own": 0.25, "other": None}))
    write_predictions([rewarded], path)
    assert read_predictions(path) == [rewarded]
