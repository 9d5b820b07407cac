"""VLM-R1's rewards on cases worked by hand from its published rules.

The AP of one class at one threshold: each recall of 0, .01 … 1 (101 of them) gets the best
precision from there on, 0 beyond the recall that is reached; then the mean over the thresholds
.5, .55 … .95 (10 of them) and over the classes with ground truth.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.sample import InputError
from syngrpo.tasks.vlm_r1_rewards import (
    format_reward,
    format_reward_rec,
    iou_reward,
    odlength_reward,
)

BOXED = '{"bbox_2d": [1, 2, 3, 4]}'


@pytest.mark.parametrize(
    ("text", "two_parts", "with_box"),
    [
        (f"<think>t</think><answer>{BOXED}</answer>", 1, 1),
        (f"<think>t</think> \n\t<answer>{BOXED}</answer>", 1, 1),  # white space between the parts
        ("<think></think><answer></answer>", 1, 0),  # both may be empty; no box
        ("<think>t</think><answer>[1, 2, 3, 4]</answer>", 1, 0),  # a box without braces
        ('<think>t</think><answer>{"b": [1.0, 2, 3, 4]}</answer>', 1, 0),  # not whole
        ('<think>t</think><answer>{"b": [-1, 2, 3, 4]}</answer>', 1, 0),  # a sign is no digit
        ('<think>t</think><answer>{"b": [ 1, 2, 3, 4]}</answer>', 1, 0),  # space after the bracket
        (f"so: <think>t</think><answer>{BOXED}</answer>", 0, 1),  # text before
        (f"<think>t</think><answer>{BOXED}</answer>.", 0, 1),  # text behind
        (f"<think>t</think>, <answer>{BOXED}</answer>", 0, 0),  # text between
        (f"<answer>{BOXED}</answer>", 0, 0),  # no thought
        (f"<think>t</think><answer>{BOXED}", 0, 0),  # never closed
        (f"<think>t</think><answer>{BOXED}</answer><scene>s</scene>", 0, 1),  # our third part
        (f"<think>a</think><think>b</think><answer>{BOXED}</answer>", 1, 1),  # . matches tags too
        ("", 0, 0),
    ],
)
def test_format(text: str, two_parts: int, with_box: int) -> None:
    assert format_reward([text]) == [two_parts]
    assert format_reward_rec([[{"role": "assistant", "content": text}]]) == [with_box]


REC_TRUTH = "<answer> [0, 0, 10, 10] </answer>"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"bbox_2d": [0, 0, 10, 10]}', 1.0),
        ("[0, 0, 10, 10]", 1.0),  # braces are the format's business
        ("[0, 0, 10, 5]", 0.5),  # 50 / (100 + 50 - 50)
        ("[5, 0, 15, 10]", 1 / 3),  # 50 / (100 + 100 - 50)
        ("[5, 5, 15, 15]", 1 / 7),  # 25 / (100 + 100 - 25)
        ("[2, 2, 4, 4]", 0.04),  # 4 / (100 + 4 - 4)
        ("[0, 0, 20, 20]", 0.25),  # 100 / (100 + 400 - 100)
        ("[8, 8, 12, 12]", 1 / 28),  # 4 / (100 + 16 - 4)
        ("[9, 0, 19, 10]", 0.0),  # one pixel wide: 9 < 10 - 1 is false
        ("[10, 10, 20, 20]", 0.0),  # a common corner
        ("[20, 20, 30, 30]", 0.0),
        ("[10, 0, 0, 10]", 0.0),  # inverted
        ("[5, 5, 5, 5]", 0.0),  # empty
        ("[0.0, 0, 10, 10]", 0.0),  # not whole numbers
        ("[ 0, 0, 10, 10]", 0.0),  # a space after the bracket
        ("[0, 0, 10, 10, 5]", 0.0),  # five numbers
        ("[1, 2] [0, 0, 10, 10] [0, 0, 1, 1]", 1.0),  # the first of four
        ("nothing", 0.0),
    ],
)
def test_rec_accuracy(answer: str, expected: float) -> None:
    text = f"<think>t</think><answer>{answer}</answer>"
    assert iou_reward([text], [REC_TRUTH]) == pytest.approx([expected])


def test_rec_takes_the_first_answer_and_none_scores_zero() -> None:
    two = "<answer>[0, 0, 10, 5]</answer><answer>[0, 0, 10, 10]</answer>"
    assert iou_reward([two, "[0, 0, 10, 10]"], [REC_TRUTH] * 2) == pytest.approx([0.5, 0])


def thing(x1: float, y1: float, x2: float, y2: float, label: str = "cat") -> dict:
    return {"bbox_2d": [x1, y1, x2, y2], "label": label}


def fenced(value: object) -> str:
    return f"```json\n{json.dumps(value)}\n```"


CAT = thing(0, 0, 100, 100)
FAR_CAT = thing(200, 0, 300, 100)
DOG = thing(0, 200, 100, 300, "dog")
WRONG = thing(500, 500, 600, 600)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ([CAT], [CAT], 1.0),
        ([CAT, DOG], [CAT, DOG], 1.0),
        ([DOG, CAT], [CAT, DOG], 1.0),  # the order of classes does not matter
        # Recall reaches 1/2: 51 of the 101 recalls have precision 1. No penalty for few.
        ([CAT], [CAT, FAR_CAT], 51 / 101),
        # cat 1, dog 0, mean 1/2.
        ([CAT], [CAT, DOG], 0.5),
        ([WRONG], [CAT], 0.0),
        # A false positive behind the hit does not lower AP: 1; twice as many: × 1/2.
        ([CAT, WRONG], [CAT], 0.5),
        # In front of it: precision 1/2 at every recall; × 1/2.
        ([WRONG, CAT], [CAT], 0.25),
        # A duplicate is a false positive behind the hit: 1 × 1/2.
        ([CAT, CAT], [CAT], 0.5),
        # Four for one: AP 1 × 1/4.
        ([CAT, CAT, CAT, CAT], [CAT], 0.25),
        # Hit, miss, hit of two: 51 recalls at 1, 50 at 2/3; × 2/3.
        ([CAT, WRONG, FAR_CAT], [CAT, FAR_CAT], (51 + 50 * 2 / 3) / 101 * 2 / 3),
        # Miss, hit of two, as many as there are: 51 recalls at 1/2.
        ([WRONG, CAT], [CAT, FAR_CAT], 51 * 0.5 / 101),
        # IoU 0.8: a hit at .5, .55 … .8, that is at 7 of 10 thresholds.
        ([thing(0, 0, 100, 80)], [CAT], 0.7),
        # IoU 0.5, at the lowest threshold alone.
        ([thing(0, 0, 50, 100)], [CAT], 0.1),
        # IoU 0.49
        ([thing(0, 0, 49, 100)], [CAT], 0.0),
        # IoU 0.9: 9 of 10 thresholds; another class at 1. Mean 0.95.
        ([thing(0, 0, 90, 100), DOG], [CAT, DOG], 0.95),
        # An unknown label is no detection, so AP 1, but it is counted: × 1/2.
        ([CAT, thing(0, 0, 9, 9, "owl")], [CAT], 0.5),
        # In front as well, for it has no rank among the cats.
        ([thing(0, 0, 9, 9, "owl"), CAT], [CAT], 0.5),
        # Two of two, one of them unknown: recall reaches 1/2, no penalty.
        ([CAT, thing(0, 0, 9, 9, "owl")], [CAT, FAR_CAT], 51 / 101),
        # Nothing but unknown labels.
        ([thing(0, 0, 100, 100, "owl")], [CAT], 0.0),
        # Labels are compared letter by letter.
        ([thing(0, 0, 100, 100, "Cat")], [CAT], 0.0),
        # Items that are no detections still count: 1 × 1/3.
        ([CAT, "cat", {"label": "cat"}], [CAT], 1 / 3),
        ([{"bbox_2d": [0, 0, 100], "label": "cat"}], [CAT], 0.0),
        # Of more than four numbers the first four.
        ([{"bbox_2d": [0, 0, 100, 100, 7], "label": "cat"}], [CAT], 1.0),
        # Inverted in one direction: an area below 0 is out of range, no false positive; × 1/2.
        ([thing(9, 0, 0, 9), CAT], [CAT], 0.5),
        # Not in a list: its two keys are its items, none a detection.
        (CAT, [CAT], 0.0),
        # The wider box of two takes the cat first; the exact one is a duplicate then. IoU 0.625
        # at .5, .55, .6: 1. Above that the first misses and the second hits: 1/2. × 1/2.
        ([thing(0, 0, 160, 100), CAT], [CAT], (3 * 1 + 7 * 0.5) / 10 / 2),
    ],
)
def test_odlength(predicted: object, truth: list[dict], expected: float) -> None:
    text = f"<think>t</think><answer>{fenced(predicted)}</answer>"
    solution = f"<answer> {fenced(truth)} </answer>"
    assert odlength_reward([text], [solution]) == pytest.approx([expected], abs=1e-9)


SOLUTION = f"<answer> {fenced([CAT])} </answer>"
NONE = "<answer> None </answer>"


@pytest.mark.parametrize(
    ("text", "solution", "expected"),
    [
        ("<answer>None</answer>", NONE, 1.0),
        ("<answer> None\n</answer>", NONE, 1.0),
        ("None", NONE, 0.0),  # no answer at all
        (f"<answer>{fenced([CAT])}</answer>", NONE, 0.0),
        (f"<answer>{fenced([])}</answer>", NONE, 1.0),  # neither side lists anything
        ("<answer>no idea</answer>", NONE, 1.0),  # the same: nothing that could be read
        ("<answer>None</answer>", SOLUTION, 0.0),
        (f"<answer>{json.dumps([CAT])}</answer>", SOLUTION, 0.0),  # only in a fence
        ("<answer>```json\n[{]\n```</answer>", SOLUTION, 0.0),
        (f"<answer>{fenced([WRONG])} {fenced([CAT])}</answer>", SOLUTION, 1.0),  # the last fence
        (f"<answer>None</answer><answer>{fenced([CAT])}</answer>", SOLUTION, 1.0),  # last answer
    ],
)
def test_odlength_of_absent_classes_and_unreadable_answers(
    text: str, solution: str, expected: float
) -> None:
    assert odlength_reward([text], [solution]) == pytest.approx([expected], abs=1e-9)


@pytest.mark.parametrize("solution", ["", "<answer>x</answer>", f"<answer>{fenced([1])}</answer>"])
def test_a_solution_of_another_form_is_an_error(solution: str) -> None:
    with pytest.raises(InputError, match="solution"):
        iou_reward(["<answer>[0, 0, 1, 1]</answer>"], [solution])
    with pytest.raises(InputError, match="solution"):
        odlength_reward(["<answer>None</answer>"], [solution])


PARTS = ["<think>", "</think>", "<answer>", "</answer>", "```json", "```", "[", "]", "{", "}"]
PARTS += [
    '"bbox_2d": ',
    '"label": "cat"',
    ",",
    "[1, 2, 3, 4]",
    "[0,0,1e999,NaN]",
    "9" * 500,
    "None",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=4)), max_size=20).map("".join))
def test_no_completion_raises(text: str) -> None:
    for completion in (text, f"<answer>```json\n{text}\n```</answer>"):
        rewards = format_reward([completion]) + format_reward_rec([completion])
        rewards += iou_reward([completion], [REC_TRUTH])
        rewards += odlength_reward([completion] * 2, [SOLUTION, NONE])
        assert all(0.0 <= reward <= 1.0 for reward in rewards)
