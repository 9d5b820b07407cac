"""ISR, indoor scene reasoning: a closed question about a room → a label or a number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks.answer_reading import find_objects, find_values, without_fences
from syngrpo.tasks.answer_spelling import plain_spelling
from syngrpo.tasks.base import NO_COLUMNS, Constraints, PromptStyle, Task, full_prompt
from syngrpo.tasks.labels import is_finite_number, labels_of, shown
from syngrpo.tasks.question_words import (
    asks_for_room_type,
    counted_things,
    depends_on_surroundings,
    depends_on_view,
    may_mean_any_class,
    names_colour,
    names_surroundings,
)
from syngrpo.tasks.short_answers import (
    Answer,
    as_number,
    is_same_label,
    normalised,
    only_number,
    says_none,
    truth_of,
)

KIND, ABOUT = "kind", "about"
"""Reserved columns: the kind of question, and the classes that it names, whether the image holds
them or not."""
ROOM_TYPE = "room_type"

CHOICES = "choices"
"""Column with the list of answers that a question can have. If there is one, ``chance`` uses it."""
GUESSED_NUMBERS = tuple(range(10))
"""The numbers among which somebody guesses who does not see the image."""
EITHER_OR = 0.5
"""Chance of a guess for a question that is answered by yes or no, or that names two answers."""
UNKNOWN_CHOICES = 0.25
"""Chance of a guess for any other label, as if one of four could be chosen."""

LONGEST_ANSWER = 200
"""Largest number of characters of an answer; a longer one counts as unreadable."""

_TOLERANCES: tuple[float, ...] = tuple((1 - np.linspace(0.5, 0.95, 10)).tolist())
_LEAD = re.compile(
    r"(?:(?:the\s+)?(?:final\s+)?answer\s*+(?:is\b|:|=)|答案\s*+(?:是|为|[:：]))\s*+", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\s*+\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*+\})*+\})*+)\}")
"""How models mark an answer in LaTeX. Its braces may hold others."""
_STYLED = re.compile(
    r"\\(?:text|math|mbox|operatorname|emph)[a-z]{0,6}\s*+\{([^{}]*+)\}|\A\s*+\{([^{}]*+)\}\s*+\Z"
)
"""What only says how LaTeX sets a text."""
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|>")
"""Such as <|begin_of_box|>, which GLM writes around an answer of any kind."""
_AROUND = " \t\r\n\"'`*“”‘’"
_YES_OR_NO = {"yes", "no", "true", "false"}
_ANSWER_KEYS = ("answer", "final_answer", "final", "result", "value")
"""Keys of an answer, the surest first."""


def mean_relative_accuracy(prediction: float, truth: float) -> float:
    """Return the share of the thresholds θ = .5, .55 … .95 with
    |prediction − truth| / |truth| ≤ 1 − θ.

    Source: VSI-Bench (arXiv 2412.14171), as its published evaluation computes it (the paper has <
    instead of ≤). It is not defined for a truth of 0; then the result is 1 for the prediction 0,
    else 0.
    """
    if truth == 0:
        return float(prediction == 0)
    error = abs(prediction - truth) / abs(truth)
    return sum(error <= tolerance for tolerance in _TOLERANCES) / len(_TOLERANCES)


class IndoorSceneReasoning(Task):
    """Asks a closed question. The accuracy of a number is its mean relative accuracy; that of a
    label is 1 if it is the same as the ground truth's, else 0."""

    name = "isr"
    asks_for = "question"
    hit = 1.0
    has_majority = True

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """Return the text beside the image. It does not name the labelled objects, because they can
        be the answer."""
        if style == "brief":
            return sample.question
        same = " Stay in the same kind of room." if _room_type(sample) is not None else ""
        return full_prompt(
            ask=f"Look at this picture and answer the question: {sample.question}\n"
            "It has one short answer.",
            think="what in the picture tells you the answer",
            answer="the answer",
            explain="In <answer>, write nothing but a number or a few words.",
            keep="the objects of this picture",
            things="objects",
            indoors=True,
            stay="Leave the objects as they are, and never bring in another object of their kinds "
            f"or of a kind that the question speaks of, or anything that changes a count.{same}",
        )

    def read(self, answer: str) -> Answer | None:
        """Return a number, or else a text of at most ``LONGEST_ANSWER`` characters without code
        fences, ``{"answer": …}``, ``\\boxed{…}``, special tokens, brackets, quotes, "The answer is"
        and a final dot; of labelled boxes the first label. None for an empty or a longer text."""
        text = _unwrapped(answer)
        if not text or len(text) > LONGEST_ANSWER:
            return None
        number = as_number(text)
        return text if number is None else number

    def score(self, prediction: Answer | None, sample: Sample) -> float:
        """Return the accuracy as the class describes. If the truth is a number and the prediction a
        text, the only number in the text is used; "three" is 3, and "no chairs" is 0 for a
        question about chairs."""
        if prediction is None:
            return 0.0
        return _accuracy(prediction, sample.answer, sample.question)

    def chance(self, sample: Sample) -> float:
        """Return the mean accuracy of a guess among the list ``columns.choices``; one of its
        entries is right.

        Without such a list, a number is guessed among ``GUESSED_NUMBERS``. A guess is right half of
        the time if the answer is yes or no, or if the question names it as one of two ("left or
        right of the sofa?"), and else ``UNKNOWN_CHOICES`` of the time.
        """
        choices = sample.columns.get(CHOICES)
        if isinstance(choices, list | tuple) and len(choices) > 1:
            return max(self._guessed(choices, sample), 1 / len(choices))
        if not isinstance(truth_of(sample.answer), str):
            return self._guessed(GUESSED_NUMBERS, sample)
        answer, question = normalised(str(sample.answer)), f" {normalised(sample.question)} "
        named = " or " in question and f" {answer} " in question
        return EITHER_OR if named or answer in _YES_OR_NO else UNKNOWN_CHOICES

    def _guessed(self, choices: Sequence[Any], sample: Sample) -> float:
        """Return the mean accuracy of these answers."""
        return sum(self.score(self.read(str(one)), sample) for one in choices) / len(choices)

    def constraints(self, sample: Sample) -> Constraints:
        """Keep every labelled object, and allow no new instance of a class that is labelled or that
        the question names.

        The type of the room stays if the question asks for it. Nothing is painted from a sample
        whose answer depends on the surroundings otherwise ("is it day or night?"). The view is
        fixed if the question asks where in the picture something is ("on the left?") or how far
        away, long or large it is; comparisons between objects, such as "left of" and "larger", stay
        true in every view. No further things are allowed where the question may be about an object
        of any class ("how many objects?"). The judges tolerate no new instance and no lost object,
        because questions ask for counts, places and sizes."""
        labels, room = labels_of(sample), _room_type(sample)
        repaintable = room is not None or not _is_about_surroundings(sample)
        return Constraints(
            keep=tuple(range(len(sample.objects))) if repaintable else (),
            forbidden_labels=tuple(dict.fromkeys((*labels, *sample.columns.get(ABOUT, ())))),
            forbidden_words=counted_things(sample.question),
            phrase=room,
            view="fixed" if depends_on_view(sample.question) else "free",
            names_colour=names_colour(f"{sample.question} {sample.answer}"),
            alone=may_mean_any_class(sample.question),
        )

    def same_as(self, prediction: Answer) -> str | float:
        """Return a label without case, punctuation and articles, a number as it is, also one in
        words."""
        said = truth_of(prediction)
        return normalised(said) if isinstance(said, str) else float(said)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        return str(sample.answer)

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Answer:
        """Return the answer, a text that reads as a number as that number. Check that it is a short
        text or a finite number which ``read`` gives back, that there is an object, and that the
        reserved columns are valid."""
        if value is None:
            raise InputError("the row has no answer")
        if not objects:
            raise InputError("objects is empty; label at least one, because only they are kept")
        _check_columns(columns)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"answer {shown(value)} is neither a text nor a number")
        writable = isinstance(value, str) or is_finite_number(value)
        written = self.read(str(value)) if writable else None
        tagged = isinstance(value, str) and ("<|" in value or "answer>" in value)
        if tagged or written is None or _accuracy(written, value) < 1:
            raise InputError(
                f"answer {shown(value)} is not a finite number or a text of at most "
                f"{LONGEST_ANSWER} characters that a model could give; write a plain label"
            )
        number = as_number(value) if isinstance(value, str) else value
        return value if number is None else number


def _room_type(sample: Sample) -> str | None:
    """Return the type of the room if it is the answer, else None."""
    answer = str(sample.answer)
    asked = sample.columns.get(KIND) == ROOM_TYPE or asks_for_room_type(sample.question)
    return answer if asked and normalised(answer) not in _YES_OR_NO else None


def _is_about_surroundings(sample: Sample) -> bool:
    """Return whether the answer is about what is painted anew, the type of the room included."""
    if sample.columns.get(KIND) == ROOM_TYPE:
        return True
    labels = labels_of(sample)
    asked = depends_on_surroundings(sample.question, labels)
    return asked or names_surroundings(str(sample.answer), labels)


def _accuracy(prediction: Answer, truth: Answer, question: str = "") -> float:
    truth = truth_of(truth)
    if isinstance(truth, str):
        return float(is_same_label(str(prediction), truth))
    number: float | None
    if isinstance(prediction, str):
        number = 0 if says_none(prediction, question) else only_number(prediction)
    else:
        number = prediction
    return 0.0 if number is None else mean_relative_accuracy(number, truth)


def _unwrapped(answer: str) -> str:
    text = without_fences(answer)
    spelled = plain_spelling(_SPECIAL_TOKEN.sub("", text))
    named = _value_of_answer(spelled)
    grounded = next((label for label, box in find_objects(text) if box is not None), None)
    if named is None and grounded is not None:
        return _stripped(grounded)
    boxed = _BOXED.findall(text)
    text = _stripped(_unstyled(boxed[-1]) if boxed else _SPECIAL_TOKEN.sub("", text))
    if _stripped(spelled).startswith("{") and not boxed:
        values = list(find_values(spelled))
        text = _stripped(named or _surest(values) or (values[0][1] if values else text))
    if text.startswith("[") and text.endswith("]"):
        text = _stripped(text[1:-1])
    return _stripped(_LEAD.sub("", text, count=1) if _LEAD.match(text) else text)


def _unstyled(text: str) -> str:
    """Return a text of LaTeX without commands of its style, of which three may enclose each
    other."""
    for _ in range(3):
        text = _STYLED.sub(r"\1\2", text)
    return text


def _value_of_answer(text: str) -> str | None:
    """Return the value of the key answer in a text that is a JSON object."""
    if not _stripped(text).startswith("{"):
        return None
    return next((value for key, value in find_values(text) if key.lower() == "answer"), None)


def _surest(values: Sequence[tuple[str, str]]) -> str | None:
    """Return the value of the surest key of an answer, None without any."""
    found = {key.lower(): value for key, value in reversed(values)}
    return next((found[key] for key in _ANSWER_KEYS if key in found), None)


def _stripped(text: str) -> str:
    return text.strip(_AROUND).rstrip(_AROUND + ".,;:!。，；：！").lstrip()


def _check_columns(columns: Mapping[str, Any]) -> None:
    kind, about = columns.get(KIND), columns.get(ABOUT, ())
    if kind is not None and not isinstance(kind, str):
        raise InputError(f"columns.{KIND} is {shown(kind)}, not a text")
    if not isinstance(about, list | tuple) or not all(isinstance(name, str) for name in about):
        raise InputError(f"columns.{ABOUT} is {shown(about)}, not a list of class names")
