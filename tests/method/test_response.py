import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.method.response import format_reward, parse_response

WELL_FORMED = r"\s*<think>.*</think>\s*<answer>.*\S.*</answer>\s*<scene>.*\S.*</scene>\s*"
GOOD = "<think>it is red</think>\n<answer>[1, 2, 3, 4]</answer> <scene>brick walls</scene>\n"
TAGS = [f"<{slash}{name}>" for name in ("think", "answer", "scene") for slash in ("", "/")]


def test_well_formed_response_gives_its_parts_and_the_span_of_the_scene() -> None:
    parsed = parse_response(GOOD)
    assert (parsed.think, parsed.answer, parsed.scene) == (
        "it is red",
        "[1, 2, 3, 4]",
        "brick walls",
    )
    assert parsed.well_formed and format_reward(parsed) == 1.0
    assert parsed.scene_span is not None
    assert GOOD[slice(*parsed.scene_span)] == "<scene>brick walls</scene>\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no tags at all",
        "well, " + GOOD,
        GOOD + "!",
        GOOD + GOOD,
        GOOD.replace("</think>", ""),
        GOOD.replace("</scene>", ""),
        GOOD.replace("brick walls", " \n"),
        GOOD.replace("[1, 2, 3, 4]", ""),
        GOOD.replace("it is red", "<think>"),
        "<answer>a</answer><think>t</think><scene>s</scene>",
        "<think>t</think><scene>s</scene><answer>a</answer>",
        "<think>t</think><answer>a<scene>s</scene></answer>",
        "<think>t</think>, <answer>a</answer><scene>s</scene>",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    parsed = parse_response(text)
    assert not parsed.well_formed and format_reward(parsed) == 0.0


def test_parts_of_a_malformed_response_are_still_read() -> None:
    parsed = parse_response("so: <answer>[1, 2, 3, 4]</answer> and <scene>cut o")
    assert (parsed.think, parsed.answer, parsed.scene) == (None, "[1, 2, 3, 4]", None)
    assert parsed.scene_span == (38, 50)


@pytest.mark.parametrize(
    ("text", "scene", "part"),
    [
        ("<think>then a <scene> part</think><answer>a</answer>", None, None),
        ("<think>then a <scene> part</think><answer>a</answer><scene>s</scene>", "s", None),
        ("<think>a <scene>t</scene> <answer>a</answer><scene>s</scene>", "s", None),
        ("<think>a <scene>t</scene>, so", None, None),
        ("a <scene>t</scene></think><answer>a</answer><scene>s</scene>", "s", None),
        ("<think>t</think><scene>s <answer>a</answer>", None, "<scene>s "),
        ("<think>t</think><scene>s <answer>a</answer></scene>", None, "<scene>s "),
        ("<scene>s</scene><think>t</think><answer>a</answer>", "s", None),
        ("<answer>a</answer><scene>s</scene></scene>", "s", "<scene>s</scene></scene>"),
        ("<scene>s</scene>, t</scene> <answer>a</answer>", "s", "<scene>s</scene>, t</scene> "),
    ],
)
def test_a_description_is_outside_of_the_other_parts(
    text: str, scene: str | None, part: str | None
) -> None:
    parsed = parse_response(text)
    found = text[slice(*parsed.scene_span)] if parsed.scene_span else None
    assert parsed.scene == scene
    assert found == (part or (scene and f"<scene>{scene}</scene>"))


def test_a_response_that_is_not_to_describe_has_no_description() -> None:
    text = "<think>then <scene>s</scene></think><answer>a</answer>"
    parsed = parse_response(text, describes=False)
    assert parsed.well_formed and parsed.scene is None and parsed.scene_span is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>a</answer><answer>b</answer>", "b"),
        ("<think>perhaps <answer>a</answer></think><answer>b</answer><scene>s</scene>", "b"),
        ("<think>perhaps [1, 2, 3, 4]</think><answer>b</answer>", "b"),
        ("<think>perhaps <answer>a</answer></think>", "a"),
        ("<think>t</think><answer>[1, 2, 3, 4], [5, 6", "[1, 2, 3, 4], [5, 6"),
        ("<think>t</think><answer>a<scene>s</scene>", "a"),
        ("<answer>a</answer><answer>b", "a"),
        ("[1, 2, 3, 4]", "[1, 2, 3, 4]"),
        ("<think>it is [5, 6, 7, 8]</think> [1, 2, 3, 4] <scene>s</scene>", " [1, 2, 3, 4] "),
        ("<think>it is [5, 6, 7, 8], so", None),
        ("<think>t</think><scene>s</scene>", None),
        ("", None),
    ],
)
def test_a_damaged_answer_is_read_and_gets_no_format_reward(text: str, answer: str | None) -> None:
    parsed = parse_response(text)
    assert parsed.answer == answer
    assert not parsed.well_formed and format_reward(parsed) == 0.0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=8)), max_size=14).map("".join))
def test_reading_never_raises_and_spans_fit(text: str) -> None:
    parsed = parse_response(text)
    if parsed.scene_span is not None:
        scene = text[slice(*parsed.scene_span)]
        assert scene.startswith("<scene>")
        assert parsed.scene is None or scene.startswith(f"<scene>{parsed.scene}</scene>")
        assert "<answer>" not in scene and "</think>" not in scene
    if parsed.well_formed:
        whole = text[: text.index("<scene>")] + text[slice(*parsed.scene_span or (0, 0))]
        assert text.strip() == whole.strip()
        assert parsed.answer and parsed.scene


PIECES = st.lists(st.one_of(st.sampled_from(TAGS), st.sampled_from([" ", "\n", "a"])), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES.map("".join), min_size=7, max_size=7), st.booleans())
def test_a_response_is_well_formed_if_a_plain_pattern_says_so(
    between: list[str], clean: bool
) -> None:
    text = between[0] + "".join(tag + more for tag, more in zip(TAGS, between[1:], strict=True))
    if clean:
        text = "".join(piece for piece in re.split(r"(<[^>]*>)", text) if piece not in TAGS)
        text = f"{TAGS[0]}{text}{TAGS[1]}{TAGS[2]}{text}{TAGS[3]} {TAGS[4]}{text}{TAGS[5]}"
    once = all(text.count(tag) == 1 for tag in TAGS)
    expected = once and re.fullmatch(WELL_FORMED, text, re.DOTALL) is not None
    assert parse_response(text).well_formed == expected
