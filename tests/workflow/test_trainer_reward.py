"""The reward of a synthetic image reaches the tokens that described it, and no others."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_transformers import load_plain, plain_logprobs
from watched_trainer import Step, watched_trainer

import syngrpo.workflow.row_scores
from syngrpo.data_server.description_rewards import Settled
from syngrpo.method.diversity import response_diversity
from syngrpo.painting.prompt import clean_description
from syngrpo.policy.encode import encode
from syngrpo.policy.model import Policy
from syngrpo.pool.jobs import JobRequest
from syngrpo.workflow.groups import Group
from syngrpo.workflow.trainer import Trainer

EPSILON = 0.05
"""Added to the spread in the definition of the reward."""


SOME_CHANGE = 60.0
"""A demand on the change of the background that some new surroundings meet and some do not."""


def measured_item(step: Step) -> tuple[Settled, Group]:
    """The settled description of the largest reward whose image was rolled out in this step, and
    the group that did it."""
    groups = {group.drawn.job_id: group for group in step.scored if group.synthetic}
    items = [item for item in step.settled if item.pending.job_id in groups]
    item = max(items, key=lambda item: abs(item.reward))
    return item, groups[item.pending.job_id]


def diversities(groups: Sequence[Group]) -> list[float]:
    return [4 * float(np.var(group.accuracy.double().numpy())) for group in groups]


def brought(steps: Sequence[Step], relative: bool = False) -> list[float]:
    """What the descriptions that got their reward brought, one after the other."""
    values = []
    for step in steps:
        groups = {group.drawn.job_id: group for group in step.scored if group.synthetic}
        for item in step.settled:
            group = groups.get(item.pending.job_id)  # none: the gate refused the image
            value = diversities([group])[0] if group is not None else 0.0
            values.append(value - item.pending.parent_diversity * relative)
    return values


def moving_baseline(values: Sequence[float], decay: float) -> tuple[float, float]:
    """Mean and mean absolute deviation, weighted by decay^age; a deviation is the distance from
    the mean of everything before."""

    def mean(numbers: Sequence[float]) -> float:
        return float(np.average(numbers, weights=decay ** np.arange(len(numbers))[::-1]))

    deviations = [abs(values[i] - mean(values[:i])) for i in range(1, len(values))]
    return mean(values), mean(deviations)


def scene_tokens(policy: Policy, token_ids: torch.Tensor, text: str) -> list[int]:
    """Places of the tokens from <scene> to the end of the response."""
    start = text.index("<scene>")
    written = [
        len(policy.tokenizer.decode(token_ids[:count], skip_special_tokens=True))
        for count in range(len(token_ids) + 1)
    ]
    return [i for i in range(len(token_ids)) if written[i + 1] > start]


def watch_logprobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(token ids, log-probabilities with their gradient) of everything that an update scores."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = syngrpo.workflow.row_scores.segment_logprobs

    def watched(policy: Policy, rows: Any, *arguments: Any, **options: Any) -> Any:
        scored = original(policy, rows, *arguments, **options)
        for row, scores in zip(rows, scored, strict=True):
            for segment, score in zip(row.segments, scores, strict=True):
                score.logprobs.retain_grad()
                seen.append((segment.token_ids, score.logprobs))
        return scored

    monkeypatch.setattr(syngrpo.workflow.row_scores, "segment_logprobs", watched)
    return seen


def test_one_description_from_its_response_to_the_gradient_on_its_scene_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = watch_logprobs(monkeypatch)
    with watched_trainer(tmp_path, trainer__max_grad_norm=1e9) as trainer:
        first = trainer.watched_step()
        scored.clear()
        second = trainer.watched_step()
        item, group = measured_item(second)
        pending, method = item.pending, trainer.options.method

        # The response that wrote it …
        (writer,) = [g for g in first.scored if g.drawn.sample.id == pending.parent_id]
        token_ids, sampled = map(torch.from_numpy, (pending.token_ids, pending.logprobs))
        response = next(r for r in writer.responses if torch.equal(r.token_ids, token_ids))
        assert torch.equal(response.logprobs, sampled)
        text = response.text.split("<scene>")[1].split("</scene>")[0]
        # … the job …
        database = sqlite3.connect(tmp_path / "pool.db")
        query = "SELECT description, seed, generator, state FROM jobs WHERE id = ?"
        description, seed, generator, state = database.execute(query, (pending.job_id,)).fetchone()
        database.close()
        assert (description, state) == (clean_description(text), "admitted")
        assert JobRequest(pending.parent_id, description, seed, generator).id == pending.job_id
        # … the image in the pool, which was drawn …
        child = trainer.client.get(group.drawn.sample.id)
        assert (child.parent, child.description) == (pending.parent_id, description)
        assert np.array_equal(child.image.decode(), group.drawn.sample.image.decode())
        assert item.parent.id == child.parent
        assert pending.job_id not in trainer.client.ledger
        # … its reward …
        mean, spread = moving_baseline(brought([first, second]), method.smoothing_decay)
        (diversity,) = diversities([group])
        reward = float(np.clip((diversity - mean) / (spread + EPSILON), -2, 2))
        assert item.reward == pytest.approx(reward, abs=1e-6) and reward != 0
        # … and the gradient of the step's loss.
        scene = scene_tokens(trainer.policy, token_ids, response.text)
        assert 2 < len(scene) < len(pending.token_ids) - 2
        (logprobs,) = [scores for ids, scores in scored if torch.equal(ids, token_ids)]
        ratio = (logprobs.detach() - sampled).exp().clamp(max=method.max_ratio)
        assert not torch.allclose(ratio, torch.ones(()), atol=1e-3)  # the policy has moved on
        rows = 4 * 4
        wanted = torch.zeros(len(logprobs))
        wanted[scene] = -method.diversity_weight * reward * ratio[scene] / len(scene) / rows
        torch.testing.assert_close(logprobs.grad, wanted, rtol=1e-4, atol=0.0)
        assert_parameter_gradients_equal_plain_transformers(trainer, item, scene, tmp_path)


def assert_parameter_gradients_equal_plain_transformers(
    trainer: Trainer, item: Settled, scene: list[int], folder: Path
) -> None:
    """An update from this description alone: its gradient on every weight, and what it does."""
    policy, pending, method = trainer.policy, item.pending, trainer.options.method
    token_ids, sampled = map(torch.from_numpy, (pending.token_ids, pending.logprobs))
    policy.save(folder / "before")
    trainer.update([], [item])
    policy.save(folder / "after")
    prompt = encode(policy, item.parent, item.parent.question)
    plain = load_plain(folder / "before")
    (logprobs,) = plain_logprobs(plain, prompt, [token_ids], policy.banned)
    ratio = (logprobs.detach() - sampled).exp().clamp(max=method.max_ratio)
    gain = method.diversity_weight * item.reward * ratio * logprobs
    (-gain[scene].mean()).backward()
    for (name, ours), (other, theirs) in zip(
        policy.model.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert name == other
        scale = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4 * scale, msg=name)
    with torch.no_grad():
        (after,) = plain_logprobs(load_plain(folder / "after"), prompt, [token_ids], policy.banned)
        assert float((after - logprobs)[scene].sum()) * item.reward > 0


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("name", ["syn-grpo", "syn-grpo-no-smoothing"])
def test_the_reward_in_all_its_forms(tmp_path: Path, name: str, relative: bool) -> None:
    changed = {"method__name": name, "method__credit": "parent" if relative else "baseline"}
    with watched_trainer(tmp_path, **changed) as trainer:
        first, second = trainer.watched_step(), trainer.watched_step()
    item, group = measured_item(second)
    (value,) = diversities([group])
    (writer,) = [g for g in first.scored if g.drawn.sample.id == item.pending.parent_id]
    (of_parent,) = diversities([writer])
    assert item.pending.parent_diversity == pytest.approx(of_parent, abs=1e-6)
    decay = trainer.options.method.smoothing_decay
    now, spread = moving_baseline(brought([first, second], relative), decay)
    if name == "syn-grpo-no-smoothing":
        now, spread = 0.0, 1.0 - EPSILON
    wanted = (value - of_parent * relative - now) / (spread + EPSILON)
    assert item.reward == pytest.approx(np.clip(wanted, -2, 2), abs=1e-6)
    rewards = [item.reward for item in second.settled]
    assert second.record["diversity/reward"] == pytest.approx(np.mean(rewards))
    assert second.record["synthesis/settled"] == len(rewards)


def test_a_description_is_rewarded_with_d_of_hits_and_the_pool_keeps_d_of_accuracies(
    tmp_path: Path,
) -> None:
    changed = {"method__diversity_of": "hits", "method__credit": "parent"}
    with watched_trainer(tmp_path, rollout__group_size=8, **changed) as trainer:
        first, second = trainer.watched_step(), trainer.watched_step()
    hits = {
        group.drawn.sample.id: response_diversity((group.accuracy >= 0.5).double().tolist())
        for group in [*first.scored, *second.scored]
    }
    item, group = measured_item(second)
    steps, decay = [first, second], trainer.options.method.smoothing_decay
    values = []
    for step in steps:
        ids = {g.drawn.job_id: g.drawn.sample.id for g in step.scored if g.synthetic}
        for one in step.settled:
            child = hits[ids[one.pending.job_id]] if one.pending.job_id in ids else 0.0
            values.append(child - hits[one.pending.parent_id])
    mean, spread = moving_baseline(values, decay)
    value = hits[group.drawn.sample.id] - hits[item.pending.parent_id]
    wanted = np.clip((value - mean) / (spread + EPSILON), -2, 2)
    assert item.reward == pytest.approx(float(wanted), abs=1e-6)
    database = sqlite3.connect(tmp_path / "pool.db")
    query = (
        "SELECT s.id, o.diversity FROM observations o JOIN samples s ON s.number = o.sample "
        "WHERE o.step = 2"
    )
    observed = dict(database.execute(query))
    database.close()
    of_accuracies = {g.drawn.sample.id: g.diversity for g in second.scored}
    assert observed == pytest.approx(of_accuracies)
    assert observed != pytest.approx({name: hits[name] for name in observed})
    assert second.record["diversity/response"] == pytest.approx(np.mean([*observed.values()]))


def test_a_rejected_image_counts_as_no_diversity(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, SOME_CHANGE, trainer__groups_per_step=8) as trainer:
        steps = [trainer.watched_step() for _ in range(3)]
    measured = {report.job_id for step in steps for report in step.reports}
    rejected = [item for item in steps[-1].settled if item.pending.job_id not in measured]
    assert 0 < len(rejected) == steps[-1].record["synthesis/rejected"]
    assert len(rejected) < len(steps[-1].settled)
    mean, spread = moving_baseline(brought(steps), trainer.options.method.smoothing_decay)
    wanted = float(np.clip((0 - mean) / (spread + EPSILON), -2, 2))
    assert wanted < 0
    assert [item.reward for item in rejected] == [pytest.approx(wanted, abs=1e-6)] * len(rejected)


def test_nothing_is_learned_from_images_that_are_all_rejected(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, min_change=300.0) as trainer:
        step = trainer.watched_step()
    submitted = step.record["synthesis/submitted"]
    assert submitted > 0
    assert step.record["synthesis/rejected"] == step.record["synthesis/settled"] == submitted
    assert step.record["synthesis/admitted"] == step.record["pool/synthetic"] == 0
    assert [item.reward for item in step.settled] == [0.0] * submitted
    assert len(trainer.client.ledger) == 0


def test_descriptions_that_wait_too_long_are_dropped_and_counted(tmp_path: Path) -> None:
    never_drawn = {"pool__synthetic_ratio": 0, "method__max_staleness": 1}
    with watched_trainer(tmp_path, **never_drawn) as trainer:
        records = [trainer.watched_step().record for _ in range(4)]
    submitted = [record["synthesis/submitted"] for record in records]
    assert submitted[0] > 0
    assert [record["synthesis/stale"] for record in records] == [0, 0, *submitted[:2]]
    assert [record["synthesis/settled"] for record in records] == [0] * 4
    assert len(trainer.client.ledger) == sum(submitted[2:])
    assert trainer.client.ledger.counts.stale == sum(submitted[:2])


def test_descriptions_that_the_queue_cannot_take_are_dropped_and_counted(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, synthesis__queue_limit=1) as trainer:
        record = trainer.watched_step().record
    assert record["synthesis/submitted"] == record["pool/synthetic"] == 1
    assert record["synthesis/dropped"] > 0
    assert (
        len(trainer.client.ledger) == 1
        and trainer.client.ledger.counts.lost == record["synthesis/dropped"]
    )


def test_at_most_two_different_well_formed_descriptions_of_a_group(tmp_path: Path) -> None:
    with watched_trainer(tmp_path, rollout__group_size=8) as trainer:
        step = trainer.watched_step()
    assert any(len(report.descriptions) == 2 for report in step.reports)
    for group, report in zip(step.scored, step.reports, strict=True):
        allowed = {
            clean_description(str(parsed.scene)): response.token_ids
            for response, parsed in reversed(list(zip(group.responses, group.parsed, strict=True)))
            if parsed.well_formed
        }
        texts = [description.text for description in report.descriptions]
        assert len({text.casefold() for text in texts}) == len(texts) == min(2, len(allowed))
        for description in report.descriptions:
            assert allowed[description.text].tolist() == description.token_ids.tolist()


def test_a_description_beyond_a_limit_is_not_painted_and_costs_the_format_reward(
    tmp_path: Path,
) -> None:
    limits = {"method__max_description_words": 24, "rollout__group_size": 8}
    with watched_trainer(tmp_path, **limits) as trainer:
        step = trainer.watched_step()
    texts = [parsed.scene for group in step.scored for parsed in group.parsed if parsed.scene]
    long = [text for text in texts if len(text.replace(",", " ").split()) > 24]
    assert 0 < step.record["description/too_long"] <= len(long) < len(texts)
    assert step.record["description/repetitive"] == 0
    assert step.record["description/words"] > 8
    submitted = [one.text for report in step.reports for one in report.descriptions]
    assert submitted and all(len(text.replace(",", " ").split()) <= 24 for text in submitted)
    words = [word for text in submitted for word in text.replace(",", " ").split()]
    assert step.record["description/distinct"] == len(set(words)) / len(words)
    for group in step.scored:
        for parsed, reward in zip(group.parsed, group.format.tolist(), strict=True):
            assert not (parsed.fault and reward)


def test_a_parent_whose_image_is_lost_costs_its_descriptions_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched_trainer(tmp_path / "whole") as trainer:
        trainer.watched_step()
        whole = trainer.watched_step().settled
    lost = whole[0].parent
    with watched_trainer(tmp_path / "lost") as trainer:
        trainer.watched_step()
        assert trainer.client is not None
        image = trainer.client.get(lost.id).image.path
        assert image is not None
        image.unlink()
        second = trainer.watched_step()
    assert lost.id not in {item.parent.id for item in second.settled}
    assert f"a description of {lost.id} is not learned: image {image} does not exist" in caplog.text
