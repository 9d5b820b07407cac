"""Descriptions chosen by what their words promise, and rewarded with it at once, in training."""

import sqlite3
from pathlib import Path

import numpy as np
from watched_trainer import WatchedTrainer, watched_trainer

from syngrpo.method.syn_grpo import SynGrpo
from syngrpo.painting.prompt import clean_description
from syngrpo.policy.spans import scene_token_mask
from syngrpo.workflow.update_rows import fresh_row


def taught(trainer: WatchedTrainer) -> SynGrpo:
    """Tell the method of the trainer that descriptions with an "e" in every word are best."""
    method = trainer.method
    assert isinstance(method, SynGrpo) and method.prediction is not None
    rng = np.random.default_rng(0)
    words = (
        "red",
        "green",
        "office",
        "kitchen",
        "walls",
        "dark",
        "bright",
        "far",
        "close",
        "window",
    )
    for _ in range(200):
        text = " ".join(rng.choice(words, size=6))
        method.prediction.update("rec", text, sum("e" in word for word in text.split()) / 6)
    return method


def test_the_descriptions_that_promise_most_become_jobs(tmp_path: Path) -> None:
    changed = {"method__choice": "predicted", "method__descriptions_per_group": 2}
    with watched_trainer(tmp_path, **changed) as trainer:
        method = taught(trainer)
        step = trainer.watched_step()
        database = sqlite3.connect(tmp_path / "pool.db")
        query = "SELECT s.id, j.description FROM jobs j JOIN samples s ON s.number = j.parent"
        jobs = set(database.execute(query).fetchall())
        database.close()
        chosen = [report for report in step.reports if report.sample_id in {p for p, _ in jobs}]
        assert chosen
        for report in chosen:
            texts = [one.text for one in report.descriptions]
            values = dict(zip(texts, method.predicted_rewards("rec", texts), strict=True))
            assert len(set(values.values())) > 2
            submitted = {text for parent, text in jobs if parent == report.sample_id}
            assert submitted == set(sorted(values, key=lambda t: -values[t])[:2])
        written = {
            clean_description(response.text.split("<scene>")[1].split("</scene>")[0])
            for group in step.scored
            for response in group.responses
            if "</scene>" in response.text
        }
        assert {text for _, text in jobs} <= written
        assert 0.5 < step.record["diversity/predicted"] <= 1


def test_the_promise_acts_on_the_scene_tokens_of_every_description(tmp_path: Path) -> None:
    changed = {"method__predicted_weight": 0.5, "trainer__max_grad_norm": 1e9}
    with watched_trainer(tmp_path, **changed) as trainer:
        taught(trainer)
        step = trainer.watched_step()
        tokenizer = trainer.policy.tokenizer
        for group, report in zip(step.groups, step.reports, strict=True):
            promised = trainer.predicted[report.index]
            assert set(promised) == {one.place for one in report.descriptions}
            mean = np.mean(list(promised.values()))
            row = fresh_row(group, tokenizer, trainer.method, (), promised)
            plain = fresh_row(group, tokenizer, trainer.method)
            spans = [parsed.scene_span or (0, 0) for parsed in group.parsed]
            for place, (with_it, without) in enumerate(
                zip(row.segments, plain.segments, strict=True)
            ):
                change = with_it.advantages - without.advantages
                scene = scene_token_mask(tokenizer, with_it.token_ids, spans[place]).numpy()
                expected = 0.5 * (promised[place] - mean) if place in promised else 0.0
                np.testing.assert_allclose(change[scene], expected, atol=1e-6)
                assert not change[~scene].any()


def test_until_something_can_be_predicted_the_first_descriptions_are_taken(tmp_path: Path) -> None:
    records = []
    for name, changed in {
        "first": {"method__describing": "all"},
        "predicted": {"method__choice": "predicted", "method__predicted_weight": 1.0},
    }.items():
        with watched_trainer(tmp_path / name, **changed) as trainer:
            records.append([trainer.watched_step().record for _ in range(2)])
    for plain, predicted in zip(*records, strict=True):
        assert plain["diversity/predicted"] is None
        assert predicted["diversity/predicted"] in (None, 0.0)
        for key in ("loss", "reward/accuracy", "diversity/reward", "kl", "grad_norm"):
            assert plain[key] == predicted[key], key
