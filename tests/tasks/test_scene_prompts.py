"""What the prompts of the style "full" say about the surroundings that a model may ask for."""

import re

import pytest

from syngrpo.painting.describers import photographs
from syngrpo.painting.prompt import ROOM_TYPES, strip_classes
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.base import full_prompt
from syngrpo.tasks.short_answers import NUMBER_WORDS
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.palette import ROOM_COLOURS

COMMON_CLASSES = """person people man woman car bicycle bus train truck boat bench bird cat dog
    horse cow tree flower plant chair table sofa couch bed lamp mirror vase clock book bottle cup
    bowl door window picture ball stool desk shelf cabinet box crate barrel sign light"""
AXES = (photographs.DISTANCES, photographs.POSITIONS, photographs.BRIGHTNESSES, photographs.AIRS)


def prompts(task: str, count: int = 8) -> list[tuple[Sample, str]]:
    samples = rooms_samples("train", count, task=task)
    return [(sample, get_task(task).prompt(sample, "full")) for sample in samples]


def examples(prompt: str) -> list[str]:
    """The two scenes that a prompt gives as examples."""
    found = re.search(r' Like "([^"]+)" or "([^"]+)"\.', prompt)
    assert found is not None
    return list(found.groups())


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_prompts_say_everything_that_a_description_can_ask_for(task: str) -> None:
    for _, prompt in prompts(task):
        scene = prompt[prompt.index("In <scene>") :]
        for value in (value for axis in AXES for value in axis):
            assert value[0] in scene  # the phrase that the painter knows
        for word in ("materials", "patterns", "colours", "what else stands around"):
            assert word in scene
        assert ("outdoors" in scene and "weather" in scene) == (task != "isr")


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_examples_are_short_and_balanced_and_the_same_whatever_the_sample_is(task: str) -> None:
    ((one, other),) = {tuple(examples(prompt)) for _, prompt in prompts(task)}
    for axis in AXES:
        said = [
            [number for number, value in enumerate(axis) if value[0] in text]
            for text in (one, other)
        ]
        assert all(len(numbers) == 1 for numbers in said) and said[0] != said[1]
    for text in (one, other):
        assert 8 <= len(text.split()) <= 20
        assert strip_classes(text, COMMON_CLASSES.split()) == text


def test_examples_of_isr_hold_no_room_type_no_number_no_colour_and_no_thing() -> None:
    ((one, other),) = {tuple(examples(prompt)) for _, prompt in prompts("isr")}
    answers = [*ROOM_TYPES, *NUMBER_WORDS, *ROOM_COLOURS, "black", "silver", "teal"]
    for text in (one, other):
        assert strip_classes(text, answers) == text
        assert not re.search(r"\d|stand", text)


def test_isr_forbids_whatever_changes_a_count() -> None:
    for _, prompt in prompts("isr"):
        assert "never bring in" in prompt and "anything that changes a count" in prompt
        assert "in a completely different room" in prompt and "the new room around" in prompt


def test_a_task_of_the_user_allows_any_place_unless_it_says_indoors() -> None:
    texts = {name: name for name in ("ask", "think", "answer", "explain", "keep", "stay")}
    anywhere = full_prompt(**texts)
    room = full_prompt(**texts, indoors=True)
    assert "place, indoors or outdoors" in anywhere and "room" not in anywhere
    assert "the room, with materials" in room and "place" not in room and "outdoors" not in room
