from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.boxes import CoordinateFrame
from syngrpo.method.response import parse_response
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.isr import mean_relative_accuracy
from syngrpo.tasks.short_answers import normalised

ISR = get_task("isr")
IMAGE = EncodedImage(width=80, height=60, data=b"never decoded")
OBJECTS = (
    LabelledObject("chair", (10.0, 20.0, 30.0, 50.0)),
    LabelledObject("lamp", (1.0, 1.0, 9.0, 9.0)),
    LabelledObject("chair", (40.0, 20.0, 60.0, 50.0)),
)
FRAME = CoordinateFrame(96, 96, 80, 60)


def sample(answer: str | int | float, **columns: object) -> Sample:
    return Sample("s", "isr", IMAGE, "how many chairs?", answer, OBJECTS, columns=columns)


def score(text: str, answer: str | int | float) -> float:
    prediction = ISR.read(text)
    if prediction is not None:
        prediction = ISR.to_original(prediction, FRAME)
    return ISR.score(prediction, sample(answer))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        (" 3.\n", 3),
        ("3.0", 3.0),
        ("-2", -2),
        (".5", 0.5),
        ("1,200", 1200),
        ("1e2", 100.0),
        ("**3**", 3),
        ('{"answer": 3}', 3),
        ('{"count": "3"}', 3),
        ('{"reason": "I see one", "answer": 3}', 3),
        ('{"reason":"because 5","result":3}', 3),
        ('{"value": 5, "final": 3}', 3),
        ("```json\n{'answer': 3,}\n```", 3),
        ("[3]", 3),
        ('["3"]', 3),
        ("Answer: 3", 3),
        ("The answer is three.", "three"),
        ("kitchen", "kitchen"),
        ('"kitchen."', "kitchen"),
        ('{"answer": "kitchen"}', "kitchen"),
        ('{"Answer": ["living room"]}', "living room"),
        ("```\nkitchen\n```", "kitchen"),
        ("Final answer: left of", "left of"),
        ("answerable", "answerable"),
        ("it's", "it's"),
        ("1e999", "1e999"),
        ("３", 3),
        ("－３．５。", -3.5),
        ("１，２００", 1200),
        ("答案：厨房。", "厨房"),
        ("\\boxed{\\text{left}}", "left"),
        ("$\\boxed{\\mathrm{3}}$", 3),
        ("So \\boxed{\\textbf{\\text{living room}}}.", "living room"),
        ("\\boxed{{left}}", "left"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ('"{\\"answer\\": \\"kitchen\\"}"', "kitchen"),
        ("{“answer”: “kitchen”}", "kitchen"),
        ("", None),
        (" \n", None),
        ('""', None),
        ("```json\n```", None),
        ("...", None),
        ("a" * 201, None),
        ("9" * 5000, None),
    ],
)
def test_answers_are_read_in_every_usual_spelling(text: str, expected: object) -> None:
    read = ISR.read(text)
    assert read == expected and type(read) is type(expected)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (10, 10, 1.0),
        (10.8, 10, 0.9),  # error .08: .5 … .9
        (12.2, 10, 0.6),  # .22: .5 … .75
        (13.2, 10, 0.4),  # .32: .5 … .65
        (5, 10, 0.1),  # .5: .5 alone
        (15, 10, 0.1),
        (16, 10, 0.0),
        (3, 4, 0.6),  # .25: .5 … .75
        (2, 1, 0.0),
        (0, 4, 0.0),
        (-4, 4, 0.0),
        (-3, -4, 0.6),
        (0, 0, 1.0),
        (0.001, 0, 0.0),
    ],
)
def test_mean_relative_accuracy_by_hand(prediction: float, truth: float, expected: float) -> None:
    assert mean_relative_accuracy(prediction, truth) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 30))
def test_mean_relative_accuracy_is_that_of_the_published_evaluation(guess: int, truth: int) -> None:
    levels = np.linspace(0.5, 0.95, 10)
    expected = np.mean(abs(guess - truth) / truth <= 1 - levels)
    assert mean_relative_accuracy(guess, truth) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        ("4", 4, 1.0),
        ("four", 4, 1.0),
        ("Four chairs.", 4, 1.0),
        ("There are 4 chairs in the room", 4, 1.0),
        ("3", 4, 0.6),
        ("twenty", 20, 1.0),
        ("zero", 0, 1.0),
        ("1", 0, 0.0),
        ("2.5 m", 2.5, 1.0),
        ("2 or 3", 2, 0.0),  # not decided
        ("twenty-one", 21, 1.0),
        ("There are thirty chairs.", 30, 1.0),
        ("one hundred", 1, 0.0),
        ("two or three", 2, 0.0),
        ("10 000", 10000, 1.0),
        ("−3", -3, 1.0),
        ("about −3 degrees", -3, 1.0),
        ("Yes, it is.", "yes", 1.0),
        ("Yes, it is.", "no", 0.0),
        ("No, there is a table.", "no", 1.0),
        ("Yes, or no.", "yes", 0.0),
        ("yesterday", "yes", 0.0),
        ("Yes it is", "yes", 1.0),
        ("Yes there is a lamp", "yes", 1.0),
        ("Yes (a lamp)", "yes", 1.0),
        ("Yes — a lamp", "yes", 1.0),
        ("Yes\nthere is", "yes", 1.0),
        ("no there is not", "no", 1.0),
        ("Yes there is", "no", 0.0),
        ("No idea", "no", 0.0),
        ("No, I have no idea", "no", 0.0),
        ("No\nidea", "no", 0.0),
        ("yes and no", "yes", 0.0),
        ("yes and no", "no", 0.0),
        ("Yes it is, or it is not", "yes", 0.0),
        ("None", 0, 1.0),
        ("none of them", 0, 1.0),
        ("Nothing.", 0, 1.0),
        ("No chairs", 0, 1.0),
        ("There are no chairs.", 0, 1.0),
        ("No, there are no chairs in the room", 0, 1.0),
        ("No chair", 0, 1.0),
        ("There are none.", 0, 1.0),
        ("no chairs", 2, 0.0),
        ("No", 0, 0.0),
        ("No idea", 0, 0.0),
        ("No number", 0, 0.0),
        ("No more than a few chairs", 0, 0.0),
        ("No tables", 0, 0.0),
        ("No chairs, 2 tables", 0, 0.0),
        ("none or many", 0, 0.0),
        ("2 (two)", 2, 1.0),
        ("two (2)", 2, 1.0),
        ("2 (two) chairs", 2, 1.0),
        ("2 (3)", 2, 0.0),
        ("2 + 2", 2, 0.0),
        ("2 (two) or 3", 2, 0.0),
        ("many", 4, 0.0),
        ("someone", 1, 0.0),  # not the word one
        ("1e999", 4, 0.0),
        ("kitchen", "kitchen", 1.0),
        ("The  Kitchen!", "kitchen", 1.0),
        ("living-room", "Living room", 1.0),
        ("bathroom", "kitchen", 0.0),
        ("kitchen or bathroom", "kitchen", 0.0),
        ("A", "A", 1.0),  # an option, not an article
        ("B", "A", 0.0),
        ("3", "3", 1.0),
        ("3.0", "3", 1.0),
        ("three", "3", 1.0),
        ("there are 3 chairs", "3", 1.0),
        ("-3", "3", 0.0),
        (">5", "<5", 0.0),
        ("< 5", "<5", 1.0),
        ("5€", "$5", 0.0),
        ("5€", "€5", 1.0),
        ("€5", "5 €", 1.0),
        ("5 €.", "€ 5", 1.0),
        ("5.00 $", "$5", 1.0),
        ("1,000 €", "€1000", 1.0),
        ("€-5", "-5€", 1.0),
        ("€.5", "0.5€", 1.0),
        ("6€", "€5", 0.0),
        ("5", "€5", 0.0),  # the unit was asked for
        ("€5", "5", 1.0),  # it was not
        ("€5", 5, 1.0),
        ("5.0%", "5 %", 1.0),
        ("3", "three", 1.0),
        ("Three.", "three", 1.0),
        ("3 chairs", "three", 1.0),
        ("21", "Twenty-one", 1.0),
        ("four", "three", 0.4),
        ("three", "one of three", 0.0),
        ("$5.", "$5", 1.0),
        ("C", "C#", 0.0),
        ("c#", "C#", 1.0),
        ("1 5", "1.5 m", 0.0),
        ("1 5 m", "1.5 m", 0.0),
        ("2/3", "2-3", 0.0),
        ("2–3", "2-3", 1.0),
        ("2 - 3", "2-3", 1.0),
        ("5 %", "5%", 1.0),
        ("5", "5%", 0.0),
        ("smile 😁", "smile 😀", 0.0),
        ("Smile 😀!", "smile 😀", 1.0),
        ("❤", "❤️", 1.0),
        ("दान", "दिन", 0.0),
        ("😀", "😀", 1.0),
        (">", ">", 1.0),
        ("<", ">", 0.0),
        ("ＬＥＦＴ", "left", 1.0),
        ("", "kitchen", 0.0),
    ],
)
def test_scores(text: str, truth: str | int | float, expected: float) -> None:
    assert score(text, truth) == pytest.approx(expected)


def test_answers_that_say_the_same_number_count_together() -> None:
    assert len({ISR.same_as(ISR.read(text)) for text in ("3", "three", "3.0", "Three.")}) == 1
    assert ISR.same_as("three chairs") != ISR.same_as("three")


def test_normalised_forgets_case_punctuation_articles_and_space() -> None:
    assert normalised(" To the LEFT,  of an armchair. ") == "to left of armchair"
    assert normalised("the") == "the"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(allow_nan=True)))
def test_every_accepted_truth_is_readable_and_scores_one(value: str | int | float) -> None:
    try:
        truth = ISR.ground_truth(value, IMAGE, OBJECTS)
    except InputError as error:
        assert "\n" not in str(error) and str(error).startswith("answer")
        return
    one = sample(truth)
    answer = parse_response(f"<answer>{ISR.answer_text(one, FRAME)}</answer>").answer
    assert answer is not None
    assert ISR.score(ISR.read(answer), one) == 1.0


@pytest.mark.parametrize(
    "value", ["kitchen", "left of", "yes", "A", "😀", ">", 0, 3, 2.5, -1, "three", "1e999"]
)
def test_labels_and_numbers_are_truths(value: str | int | float) -> None:
    truth = ISR.ground_truth(value, IMAGE, OBJECTS, "?", {"kind": "count", "about": ["owl"]})
    assert truth == value and type(truth) is type(value)


@pytest.mark.parametrize(("text", "number"), [("3", 3), (" 1,200", 1200), ("-2.5", -2.5)])
def test_a_truth_that_is_a_text_but_reads_as_a_number_is_one(text: str, number: float) -> None:
    truth = ISR.ground_truth(text, IMAGE, OBJECTS)
    assert truth == number and type(truth) is type(number)


@pytest.mark.parametrize(
    ("value", "objects", "columns", "message"),
    [
        (None, OBJECTS, {}, "the row has no answer"),
        (True, OBJECTS, {}, "answer True is neither"),
        (["kitchen"], OBJECTS, {}, "answer .* is neither"),
        ("", OBJECTS, {}, "answer '' is not a finite number or a text"),
        ("...", OBJECTS, {}, "answer '...' is not"),
        ("x" * 201, OBJECTS, {}, "answer .* at most 200 characters"),
        ("a</answer>", OBJECTS, {}, "answer .* is not"),
        ("<|im_end|>", OBJECTS, {}, "answer .* is not"),
        (float("nan"), OBJECTS, {}, "answer nan is not a finite number"),
        (float("inf"), OBJECTS, {}, "answer inf is not a finite number"),
        (10**400, OBJECTS, {}, "answer .* is not a finite number"),
        ("kitchen", (), {}, "objects is empty"),
        ("kitchen", OBJECTS, {"kind": 3}, "columns.kind is 3"),
        ("kitchen", OBJECTS, {"about": "chair"}, "columns.about is 'chair'"),
        ("kitchen", OBJECTS, {"about": [1]}, "columns.about is"),
    ],
)
def test_what_is_no_truth_is_refused(
    value: object, objects: tuple[LabelledObject, ...], columns: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ISR.ground_truth(value, IMAGE, objects, "?", columns)
    assert "\n" not in str(caught.value)


def test_synthesis_keeps_counts_and_relations_and_the_type_of_the_room() -> None:
    count = ISR.constraints(sample(2, kind="count", about=["chair", "owl"]))
    assert count.keep == (0, 1, 2)
    assert count.forbidden_labels == ("chair", "lamp", "owl")
    assert count.phrase is None
    room = ISR.constraints(sample("kitchen", kind="room_type"))
    assert room.phrase == "kitchen"
    assert ISR.constraints(sample("red", kind="attribute")).phrase is None
    asked = replace(sample("kitchen"), question="What kind of room is this?")
    assert ISR.constraints(asked).phrase == "kitchen"
    assert "same kind of room" in ISR.prompt(asked, "full")
    assert ISR.constraints(replace(asked, columns={"kind": "my own"})).phrase == "kitchen"
    for answer, question in (("yes", "Is this a kitchen?"), ("no", "Is it an office?")):
        one = replace(sample(answer, kind="room_type"), question=question)
        assert ISR.constraints(one).phrase is None and ISR.constraints(one).keep == ()


@pytest.mark.parametrize(
    "question",
    [
        "What room are we in?",
        "In which room is the chair?",
        "What kind of a room is this?",
        "What type of scene is this?",
        "Which room does the picture show?",
    ],
)
def test_a_type_of_room_that_is_asked_for_stays(question: str) -> None:
    constraints = ISR.constraints(replace(sample("kitchen"), question=question))
    assert constraints.phrase == "kitchen" and constraints.keep == (0, 1, 2)


@pytest.mark.parametrize(
    "question",
    [
        "Is it day or night?",
        "Is this a kitchen?",
        "Is it in the living room?",
        "What hangs on the wall?",
        "How many chairs stand at the window?",
        "Is the room bright?",
        "Is it raining outside?",
        "Is the chair light or dark?",
        "Is the room a kitchen?",
        "Does this look like a kitchen?",
        "Are we in a kitchen?",
        "Is it in the kitchen?",
        "What is the size of this room (in square meters)?",
        "Is the room tidy?",
        "Was this picture taken inside or outside?",
        "Is this a street?",
        "Is it afternoon?",
        "What colour is the sky?",
        "What is the ground made of?",
    ],
)
def test_nothing_is_painted_from_a_question_about_the_surroundings(question: str) -> None:
    assert ISR.constraints(replace(sample("yes"), question=question)).keep == ()


@pytest.mark.parametrize(
    "question",
    [
        "How many chairs are there?",
        "How many chairs are in the kitchen?",
        "How many chairs are in this room?",
        "Is the dark red chair left of the light blue lamp?",
        "Is the lamp on or off?",
        "Which is larger, the lamp or the left chair?",
    ],
)
def test_a_question_about_objects_keeps_them_all(question: str) -> None:
    assert ISR.constraints(replace(sample("yes"), question=question)).keep == (0, 1, 2)


@pytest.mark.parametrize(
    ("label", "about_it", "about_the_room"),
    [
        ("window", "How many windows are there?", "Is there a door?"),
        ("wall clock", "Which wall clock is larger?", "What colour is the wall?"),
        ("night stand", "How many night stands are there?", "Is it night?"),
        ("ceiling fan", "Is the ceiling fan white?", "Is the ceiling white?"),
        ("light switch", "Is the light switch white?", "Is the light on?"),
        ("office chair", "Is the office chair red?", "Is this an office?"),
    ],
)
def test_a_labelled_part_of_the_room_stays_and_its_namesake_does_not(
    label: str, about_it: str, about_the_room: str
) -> None:
    thing = LabelledObject(label, (40.0, 20.0, 60.0, 50.0))
    asked = replace(sample("yes", about=["door", "wall"]), objects=(thing,))
    assert ISR.constraints(replace(asked, question=about_it)).keep == (0,)
    assert ISR.constraints(replace(asked, question=about_the_room)).keep == ()


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("How many vases are there?", ("vases",)),
        ("How many of the red vases are on the table?", ("vases",)),
        ("How many vases are there in this room?", ("vases",)),
        ("Is there another small cat on the sofa?", ("cat",)),
        ("Are there both a dog and a cat?", ("dog", "cat")),
        ("Do you see any cats?", ("cats",)),
        ("Count the cats.", ("cats",)),
        ("Are there more cups than bowls?", ("cups", "bowls")),
    ],
)
def test_what_a_question_counts_is_not_described(question: str, words: tuple[str, ...]) -> None:
    asked = replace(sample(0), question=question)
    assert ISR.constraints(asked).forbidden_words == words


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where is the chair?", "on the grass"),
        ("Where is the lamp?", "kitchen"),
        ("What is behind the chair?", "window"),
        ("Where are we?", "beach"),
    ],
)
def test_nothing_is_painted_where_the_answer_is_a_part_of_the_surroundings(
    question: str, answer: str
) -> None:
    assert ISR.constraints(replace(sample(answer), question=question)).keep == ()


def test_a_kind_of_kitchen_appliance_is_no_type_of_room() -> None:
    question = "What kind of kitchen appliance is next to the lamp?"
    assert ISR.constraints(replace(sample("microwave"), question=question)).phrase is None


def test_full_prompt_teaches_the_format_and_does_not_tell_the_answer() -> None:
    one = sample("kitchen", kind="count")
    prompt = ISR.prompt(one, "full")
    example = parse_response(prompt[prompt.index("<think>") : prompt.index("</scene>") + 8])
    assert example.well_formed
    assert one.question in prompt
    assert "kitchen" not in prompt and "lamp" not in prompt
    assert "same kind of room" not in prompt
    room = replace(one, columns={"kind": "room_type"})
    assert "same kind of room" in ISR.prompt(room, "full")
    assert "kitchen" not in ISR.prompt(room, "full")
    assert ISR.prompt(one, "brief") == one.question


@pytest.mark.parametrize(
    ("question", "answer", "columns", "chance"),
    [
        ("which?", "red", {"choices": ["red", "green", "blue"]}, 1 / 3),
        ("which?", "A", {"choices": ["A. a red cup", "B. a lamp", "C. none", "D. both"]}, 1 / 4),
        ("how many?", 2, {"choices": [1, 2, 3, 4]}, (1 + 0.1 + 0.1) / 4),
        ("which?", "red", {"choices": "red, green"}, 0.25),  # no list: not used
        ("is there a cup?", "yes", {}, 0.5),
        ("Is it left or right of the sofa?", "Right", {}, 0.5),
        ("which is larger, the cup or the dining table?", "dining table", {}, 0.5),
        ("is it bright or wide?", "right", {}, 0.25),  # within another word
        ("what colour is the cup?", "red", {}, 0.25),
        ("how many cups are there?", 0, {}, 0.1),
        ("how far is the wall in cm?", 400, {}, 0.0),
    ],
)
def test_the_chance_of_a_guess(question: str, answer: str | int, columns: dict, chance: float):
    one = replace(sample(answer, **columns), question=question)
    assert ISR.chance(one) == pytest.approx(chance)


def test_a_guess_of_a_number_that_is_nearly_right_counts_in_part() -> None:
    guesses = [mean_relative_accuracy(guess, 5) for guess in range(10)]
    assert ISR.chance(sample(5)) == pytest.approx(np.mean(guesses)) and max(guesses) == 1
