"""Every method and loss trains, writes every metric, and leaves a model that others can load."""

from pathlib import Path
from typing import Any

import pytest
import torch
from plain_transformers import load_plain
from quick_runs import CONTRACT, metrics, quick_config
from rich.console import Console
from transformers import AutoModelForImageTextToText, AutoProcessor
from watched_trainer import watched_trainer

from syngrpo.cli.train import run_training
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"method__loss": "dapo"},
    "grpo-clip-higher": {"trainer__updates_per_rollout": 2, "model__freeze_vision": "true"},
    "noisy-rollout": {},
    "random-scene": {"method__loss": "dr_grpo"},
    "syn-grpo-no-smoothing": {"method__refill_zero_variance": "true"},
    "syn-grpo": {"model__lora": "{rank: 4, alpha: 8}", "method__beta": 0.1},
}


def run(folder: Path, **changed: Any) -> list[dict[str, Any]]:
    run_training(quick_config(**changed), folder, resume=False, console=Console(quiet=True))
    return metrics(folder)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_says_what_it_did(tmp_path: Path, name: str) -> None:
    records = run(tmp_path, method__name=name, trainer__steps=2, **METHODS[name])
    assert [record["step"] for record in records] == [1, 2]
    for record in records:
        assert record.keys() >= set(CONTRACT)
        assert {key for key in CONTRACT if record[key] is None} <= {
            "diversity/response_synthetic",
            "diversity/baseline",
            "diversity/reward",
            "kl",
        }
        assert 0 <= record["reward/accuracy"] <= 1 and 0 < record["reward/format"] <= 1
        assert record["pool/seed"] == 24 and record["time/step_s"] > 0
    first, second = records
    synthesises = name not in ("grpo", "grpo-clip-higher", "noisy-rollout")
    rewards = name.startswith("syn-grpo")
    assert (first["synthesis/submitted"] > 0) == synthesises
    assert (second["pool/synthetic"] > 0) == synthesises
    assert (second["diversity/response_synthetic"] is not None) == synthesises
    assert (second["synthesis/settled"] > 0) == rewards
    assert (second["diversity/reward"] is not None) == rewards
    assert (second["diversity/baseline"] is not None) == rewards
    assert (second["kl"] is not None) == (name == "syn-grpo")
    assert_final_model_is_changed_and_answers(tmp_path / "final")


def assert_final_model_is_changed_and_answers(folder: Path) -> None:
    """As any user of transformers would load it."""
    model, processor = load_plain(folder), AutoProcessor.from_pretrained(folder)
    before = load_plain(STARTER_DIR).state_dict()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(after[key], before[key]) for key in before)
    (sample,) = rooms_samples("test", 1)
    content = [{"type": "image"}, {"type": "text", "text": sample.question}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=[chat], images=[sample.image.decode().copy()], return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert tokens.shape[1] > inputs["input_ids"].shape[1]


def test_frozen_vision_stays_as_it_was(tmp_path: Path) -> None:
    run(tmp_path, method__name="grpo", trainer__steps=1, model__freeze_vision="true")
    before, after = (
        AutoModelForImageTextToText.from_pretrained(path).state_dict()
        for path in (STARTER_DIR, tmp_path / "final")
    )
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and not any(".visual." in key for key in changed)


@pytest.mark.parametrize("top_p", [1.0, 1e-4])
def test_groups_of_equal_answers_are_refilled_and_leave_the_update(
    tmp_path: Path, top_p: float
) -> None:
    changed = {"method__refill_zero_variance": "true", "rollout__group_size": 2}
    with watched_trainer(tmp_path, rollout__top_p=top_p, **changed) as trainer:
        step = trainer.watched_step()
    first, refilled = step.scored[:4], step.scored[4:]
    useful = [group for group in first if len(set(group.accuracy.tolist())) > 1]
    assert len(refilled) == len(first) - len(useful)
    assert [group.index for group in refilled] == list(range(4, 4 + len(refilled)))
    assert step.groups == useful + refilled
    if top_p == 1e-4:  # the most probable token alone: all responses are equal
        assert not useful


def test_a_refill_draws_other_samples_and_keeps_nothing_of_those_left_out(tmp_path: Path) -> None:
    changed = {"method__refill_zero_variance": "true", "rollout__top_p": 1e-4}
    seeds = rooms_samples("train", 8)
    with watched_trainer(tmp_path, seeds=seeds, method__name="grpo", **changed) as trainer:
        step = trainer.watched_step()
        assert trainer.learner.keeps_prompts
    assert len(step.groups) == 4 and len(step.scored) == 8
    assert {group.drawn.sample.id for group in step.scored} == {seed.id for seed in seeds}
    assert not any(group.prompt.kept for group in step.scored)
