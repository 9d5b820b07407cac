"""Kept responses hold what the step has sampled, scored and learned from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm_processes
from kept_responses import rows_of
from quick_runs import metrics, train_arguments
from watched_trainer import Step, WatchedTrainer, watched_trainer

from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.policy.spans import scene_token_mask
from syngrpo.responses.response_rows import KeptResponse
from syngrpo.sample import InputError
from syngrpo.tasks.rec import ReferringExpression
from syngrpo.workflow.response_credit import group_credits
from syngrpo.workflow.update_rows import fresh_row

HERE = Path(__file__).stem
REWARD = f"[{{use: '{HERE}:first_only', weight: 0.5, on: scene}}]"


def first_only(completions: list[str], **columns: Any) -> list[float | None]:
    return [1.0] + [None] * (len(completions) - 1)


class ListWriter:
    """Takes the responses that a writer would write."""

    def __init__(self) -> None:
        self.rows: list[KeptResponse] = []

    def add(self, responses: Sequence[KeptResponse]) -> None:
        self.rows += responses

    def take_lost(self) -> int:
        return 0


def kept(trainer: WatchedTrainer) -> tuple[Step, list[KeptResponse]]:
    writer: Any = ListWriter()
    trainer.keeper.writer = writer
    return trainer.watched_step(), writer.rows


def test_a_row_holds_what_was_sampled_scored_and_learned(tmp_path: Path) -> None:
    everything = {"logging__responses": "{tokens: 1}", "data__rewards": REWARD}
    with watched_trainer(tmp_path, **everything, trainer__learning_rate=0.1) as trainer:
        kept(trainer)  # the policy changes a lot, so that the second step has its own numbers
        policy, tokenizer = trainer.policy, trainer.policy.tokenizer
        before = {name: value.clone() for name, value in policy.base.state_dict().items()}
        step, rows = kept(trainer)
        policy.base.load_state_dict(before)
        assert len(rows) == 16 and {row.step for row in rows} == {2}
        for group in step.scored:
            of_group = [row for row in rows if row.group_index == group.index]
            credits = group_credits(group, trainer.method, trainer.rewards)
            expected = fresh_row(group, credits, tokenizer, trainer.method)
            scores = segment_logprobs(
                policy, [PackedRow(group.prompt, [Segment(r.token_ids) for r in group.responses])]
            )
            for place, row in enumerate(of_group):
                response, sample = group.responses[place], group.drawn.sample
                assert (row.response_index, row.policy_version) == (place, 1)
                assert (row.sample_id, row.question) == (sample.id, sample.question)
                assert (row.text, row.finished) == (response.text, response.finished)
                assert row.accuracy == group.accuracies[place] and row.in_loss
                assert row.diversity == group.diversity
                assert row.rewards == {"first_only": None if place else 1.0}
                assert json.loads(row.truth) == list(sample.answer)
                if row.prediction is not None:
                    scored = ReferringExpression().score(json.loads(row.prediction), sample)
                    assert scored == pytest.approx(row.accuracy)
                    assert [list(box) for box in row.boxes] == [["", *json.loads(row.prediction)]]
                advantages = expected.segments[place].advantages.numpy()
                span = group.parsed[place].scene_span or (0, 0)
                scene = scene_token_mask(tokenizer, response.token_ids, span).numpy()
                assert row.advantage == advantages[~scene][0] and row.tokens is not None
                np.testing.assert_array_equal(row.tokens.advantages, advantages)
                np.testing.assert_array_equal(row.tokens.ids, response.token_ids)
                np.testing.assert_array_equal(row.tokens.logp_sampling, response.logprobs)
                wanted = scores[0][place].logprobs.detach().numpy()
                # The update does not compute what it learns nothing from.
                learned, segment = row.tokens.logp_training, expected.segments[place]
                assert learned is not None or not (advantages.any() or segment.beta.any())
                if learned is not None:
                    np.testing.assert_allclose(learned, wanted, atol=1e-3)
                assert row.entropy == pytest.approx(float(np.mean(row.tokens.entropy)))


def test_a_share_of_the_groups_is_kept_and_of_these_a_share_with_tokens(tmp_path: Path) -> None:
    chosen = {"logging__responses": "{keep: 3-per-step, tokens: 0.5}"}
    with watched_trainer(tmp_path, **chosen, trainer__groups_per_step=6) as trainer:
        found = []
        for _ in range(2):
            _, rows = kept(trainer)
            groups = {row.group_index for row in rows}
            with_tokens = {row.group_index for row in rows if row.tokens is not None}
            assert len(groups) == 3 and len(rows) == 12 and len(with_tokens) == 2
            found.append(groups)
        assert found[0] != found[1]


def test_groups_that_were_refilled_are_kept_and_known_to_be_outside_of_the_loss(
    tmp_path: Path,
) -> None:
    refill = {"method__refill_zero_variance": "true", "rollout__group_size": 2}
    with watched_trainer(tmp_path, **refill, rollout__temperature=0.05) as trainer:
        step, rows = kept(trainer)
    assert {row.group_index for row in rows} == {group.index for group in step.scored}
    in_loss = {group.index for group in step.groups}
    assert 0 < len(in_loss) < len(step.scored)
    for row in rows:
        assert row.in_loss == (row.group_index in in_loss) == (row.advantage is not None)
        if row.tokens is not None and not row.in_loss:
            assert row.tokens.advantages is None and row.tokens.logp_training is None


def test_methods_that_transform_pictures_say_so(tmp_path: Path) -> None:
    for method, transformed in (("grpo", False), ("executable-transforms", True)):
        with watched_trainer(tmp_path / method, method__name=method) as trainer:
            _, rows = kept(trainer)
        assert {row.transformed for row in rows} == {transformed}


def test_a_task_that_cannot_draw_its_answers_does_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with watched_trainer(tmp_path) as trainer:
        step, _ = kept(trainer)

        def fail(*_: object) -> None:
            raise InputError("task rec failed in marks on sample one (KeyError: 'box')")

        monkeypatch.setattr("syngrpo.workflow.response_keeper.marks_of", fail)
        _, rows = kept(trainer)
    assert len(step.scored) == 4 and not any(row.boxes for row in rows)
    told = [one.getMessage() for one in caplog.records if "without boxes" in one.getMessage()]
    assert len(told) == 1


def test_training_goes_on_where_responses_cannot_be_written(tmp_path: Path) -> None:
    run, quick = tmp_path / "run", {"method__name": "grpo", "rollout__max_new_tokens": 24}
    first = warm_processes.start(tmp_path, *train_arguments(run, **quick, trainer__steps=1))
    assert first.wait() == 0, first.stderr
    assert [row["step"] for row in rows_of(run)] == [1] * 12
    (run / "responses").rename(run / "elsewhere")
    (run / "responses").write_text("no folder")
    quick |= {"trainer__steps": 4, "trainer__checkpoint_every": 1}
    again = warm_processes.start(tmp_path, *train_arguments(run, "--resume", **quick))
    assert again.wait() == 0, again.stderr
    lost = [record["responses/lost"] for record in metrics(run)]
    assert lost == [0, 0, 12, 12]  # those of step 4 are lost after its line is written
    assert (run / "log.txt").read_text().count("cannot be kept") == 1
