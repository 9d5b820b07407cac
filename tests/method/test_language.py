"""Which descriptions are no language, and that normal ones pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syngrpo.method.base import MethodOptions
from syngrpo.method.language import WordingLimits, distinct_words, garbled, repetition, words_of
from syngrpo.method.response import format_reward, parse_response
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.sample import EncodedImage, Sample
from syngrpo_rooms.descriptions import random_description

LIMITS = MethodOptions().wording_limits
NORMAL = [
    "brick walls",
    "A red chair, a red table, a red lamp, a red bed and a red door; all of it red.",
    "The walls are grey concrete, the floor is made of grey concrete, the light is grey and dim.",
    "a kitchen with white tiles, 2 m high, at 20 °C; £5 tins (empty) lie around — café style!",
    "Ein Büro mit grünen Wänden,\nwarmes Licht von links,\tviel Gerümpel.",
    "墙壁是白色的，地板是木头的，光线从左边照进来。",
    "कमरे की दीवारें नीली हैं",
]


@pytest.mark.parametrize("text", NORMAL)
def test_normal_descriptions_keep_to_the_default_limits(text: str) -> None:
    assert LIMITS.fault(text) is None


def test_descriptions_of_the_describers_keep_to_them_too() -> None:
    rng = np.random.default_rng(0)
    sample = Sample("s", "rec", EncodedImage(8, 8, b""), "the cup", (0, 0, 4, 4), ())
    photographs = DESCRIBERS.load("photographs")
    texts = [random_description(rng) for _ in range(500)]
    texts += [photographs.describe(sample, rng) for _ in range(500)]
    assert {LIMITS.fault(text) for text in texts} == {None}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (" ".join(f"word{n}" for n in range(61)), "too_long"),
        ("light " * 6, "repetitive"),
        ("concrete walls concrete walls concrete walls, concrete walls", "repetitive"),
        ("a dim room with a lamp. " * 3, "repetitive"),
        ("beige table \ufffd\ufffd brown", "garbled"),
        ("dim \x00\x07 light", "garbled"),
        ("a room 🛋️🛋️", "garbled"),
    ],
)
def test_what_is_no_language_has_a_name(text: str, fault: str) -> None:
    assert LIMITS.fault(text) == fault
    assert WordingLimits().fault(text) is None
    response = f"<think>t</think><answer>a</answer><scene>{text}</scene>"
    parsed = parse_response(response, LIMITS)
    assert (parsed.fault, parsed.well_formed, format_reward(parsed)) == (fault, False, 0.0)
    assert parse_response(response).well_formed  # as an evaluation reads it


def test_each_limit_is_inclusive() -> None:
    assert WordingLimits(max_words=3).fault("one two three") is None
    assert WordingLimits(max_words=2).fault("one two three") == "too_long"
    six = "a b c a b c"  # the last word ends three words that were there
    assert WordingLimits(max_repetition=1 / 6).fault(six) is None
    assert WordingLimits(max_repetition=0.16).fault(six) == "repetitive"
    assert WordingLimits(max_garbled=0.25).fault("abc\ufffd") is None


def test_a_malformed_response_has_no_fault_of_wording() -> None:
    assert parse_response("<scene>" + "light " * 9 + "</scene>", LIMITS).fault is None


@given(st.text(max_size=80))
def test_measures_are_shares(text: str) -> None:
    assert 0.0 <= repetition(words_of(text)) < 1.0
    assert 0.0 <= garbled(text) <= 1.0
    assert 0.0 < (distinct_words([text, text]) or 0.5) <= 0.5


def test_distinct_words_are_counted_over_all_texts() -> None:
    assert distinct_words(["a red wall", "A red floor"]) == 4 / 6
    assert distinct_words([]) is None and distinct_words(["..."]) is None
