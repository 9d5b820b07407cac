"""Where a thing of any class could change the answer, nothing further may be painted."""

from dataclasses import replace

import pytest

from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples


@pytest.mark.parametrize(
    ("phrase", "alone"),
    [
        ("the small one", True),
        ("the leftmost object", True),
        ("second from the left", True),
        ("the red thing", True),
        ("the small box", False),
        ("a man on the left", False),
    ],
)
def test_no_further_things_where_any_could_fit_the_phrase(phrase: str, alone: bool) -> None:
    (sample,) = rooms_samples("train", 1)
    rules = get_task("rec").constraints(replace(sample, question=phrase))
    assert rules.alone is alone


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("how many objects are there?", True),
        ("what is on the table?", True),
        ("which thing is larger?", True),
        ("how many chairs are there?", False),
        ("what colour is the cup?", False),
        ("what is the colour of the cup?", False),
        ("which is larger, the cup or the box?", False),
        ("what kind of room is this?", False),
    ],
)
def test_no_further_things_where_any_could_change_the_answer(question: str, alone: bool) -> None:
    (sample,) = rooms_samples("train", 1, task="isr")
    rules = get_task("isr").constraints(replace(sample, question=question))
    assert rules.alone is alone
