"""Only responses whose descriptions are submitted describe new surroundings."""

from pathlib import Path

import pytest
import torch
from watched_trainer import Step, watched_trainer

from syngrpo.method.response import parse_response

DESCRIBED = "</scene>"


def described(step: Step) -> list[list[bool]]:
    return [[DESCRIBED in response.text for response in group.responses] for group in step.scored]


@pytest.mark.parametrize(
    ("name", "describing", "first"),
    [
        ("syn-grpo", "submitted", 2),
        ("syn-grpo", "all", 4),
        ("grpo", "submitted", 0),
        ("grpo", "all", 4),
        ("random-scene", "submitted", 0),
        ("noisy-rollout", "submitted", 0),
    ],
)
def test_the_first_responses_describe_and_the_others_end_after_the_answer(
    tmp_path: Path, name: str, describing: str, first: int
) -> None:
    changed = {"method__name": name, "method__describing": describing}
    with watched_trainer(tmp_path, method__descriptions_per_group=2, **changed) as trainer:
        step = trainer.watched_step()
    told = described(step)
    assert all(len(group) == 4 for group in told)
    assert not any(one for group in told for one in group[first:])
    share = [one for group in told for one in group[:first]]
    assert not share or sum(share) / len(share) > 0.7
    for group in step.scored:
        for place, response in enumerate(group.responses):
            whole = parse_response(response.text, describes=place < first)
            assert float(group.format[place]) == float(whole.well_formed)
            if place >= first and whole.well_formed:
                assert response.text.endswith("</answer>") and response.finished
    assert step.record["reward/format"] > 0.7
    if first:
        assert step.record["description/words"] > 3
    else:
        assert step.record["description/words"] is None


def test_the_answers_are_those_of_responses_that_all_describe(tmp_path: Path) -> None:
    """The words after an answer cannot change it: up to there, the tokens are the same."""
    steps = []
    for describing in ("all", "submitted"):
        with watched_trainer(tmp_path / describing, method__describing=describing) as trainer:
            steps.append(trainer.watched_step())
    for whole, cut in zip(*(step.scored for step in steps), strict=True):
        assert whole.accuracies == cut.accuracies
        for plain, response in zip(whole.responses, cut.responses, strict=True):
            length = len(response.token_ids)
            assert torch.equal(plain.token_ids[:length], response.token_ids)
    assert steps[1].record["tokens_per_s"] > 0


def test_a_response_without_description_is_well_formed_without_a_scene() -> None:
    answer = "<think>a</think> <answer>1</answer>"
    assert parse_response(answer, describes=False).well_formed
    assert not parse_response(answer).well_formed
    for bad in ("<answer>1</answer>", "<think>a</think><answer> </answer>", f"{answer} more"):
        assert not parse_response(bad, describes=False).well_formed


def test_no_response_describes_where_no_image_is_painted_from(tmp_path: Path) -> None:
    with watched_trainer(
        tmp_path, pool__synthetic_ratio=0.5, method__descriptions_per_group=2
    ) as trainer:
        steps = [trainer.watched_step() for _ in range(2)]
    groups = [group for step in steps for group in step.scored]
    assert {group.synthetic for group in groups} == {True, False}
    reports = [report for step in steps for report in step.reports]
    for group, report in zip(groups, reports, strict=True):
        assert group.prompt.going_on == (0 if group.synthetic else 2)
        assert report.parenthood == ("too deep" if group.synthetic else "parent")
        if group.synthetic:
            assert not any(DESCRIBED in response.text for response in group.responses)
    assert steps[1].record["reward/format"] > 0.7
