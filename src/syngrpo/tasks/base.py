"""``Task``, the class that a new kind of question is written with, and what belongs to it.

To add a task, subclass ``Task``. Seven members have no default: ``name``, ``asks_for``, ``prompt``,
``read``, ``score``, ``answer_text`` and ``ground_truth``. The others have defaults that suit an
answer without coordinates, such as a word or a number.

The methods are called in this order: ``ground_truth`` checks the answer in the user's data,
``prompt`` writes the question to the model, ``read`` parses the model's answer, ``to_original``
converts that to pixels of the original image, and ``score`` compares the two.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import Box, EncodedImage, LabelledObject, Sample
from syngrpo.tasks.labels import labels_of

PromptStyle = Literal["full", "brief"]
AsksFor = Literal["object", "classes", "question"]

NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})
ACCURACY: Mapping[str, str] = MappingProxyType({"greedy/accuracy": "accuracy"})


@dataclass(frozen=True)
class Constraints:
    """The rules for an image that is painted from a sample, so that its labels stay true.

    ``keep``: indices into ``sample.objects`` of the objects whose pixels must stay; with none, no
    image is painted from the sample.
    ``forbidden_labels``: classes of which no new instance may appear.
    ``phrase``: text that the surroundings must agree with, such as a type of room, or None.
    ``max_phantoms``: number of new instances of forbidden classes that the judges tolerate.
    ``min_recall``: of the objects that a detector finds in the parent, the share in [0, 1] that it
    must find again in the child.
    ``phantom_score``: a detection of something painted counts as a new instance if the detector's
    score is at least this, in [0, 1].
    ``forbidden_words``: further words that are removed from a description, such as the nouns of a
    referring expression. The judges do not look for them.
    ``view``: "free" if all objects together may be seen from farther away and elsewhere in the
    image; "fixed" if the answer depends on where in the image they are or how large they look.
    ``names_colour``: whether the question or the answer names a colour, so that the light may not
    turn one colour into another.
    ``canvas``: (width, height) in pixels of the painted image; None for the parent's.
    ``alone``: whether no further things may be painted, because one of any class could change the
    answer ("the leftmost object").
    """

    keep: tuple[int, ...]
    forbidden_labels: tuple[str, ...]
    phrase: str | None = None
    max_phantoms: int = 0
    min_recall: float = 1.0
    phantom_score: float = 0.35
    forbidden_words: tuple[str, ...] = ()
    view: Literal["free", "fixed"] = "free"
    names_colour: bool = False
    canvas: tuple[int, int] | None = None
    alone: bool = False


@dataclass(frozen=True)
class Mark:
    """One part of an answer, drawn over the image: a box or a point, in pixels of the original
    image. ``label`` is written beside it; "" for none."""

    label: str
    box: Box | None = None
    point: tuple[float, float] | None = None


class SetMetrics(Protocol):
    """Metrics of a data set of N samples that are not means over the samples, such as COCO's mAP.

    ``names``: the metrics, such as "greedy/map".
    ``biased``: the metrics whose value over a bootstrap resample is too high on average.
    """

    names: tuple[str, ...]
    biased: frozenset[str]

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return the metrics, float64 (len(names),), of a selection that holds sample i
        ``counts[i]`` times.

        ``counts``: int (N,). The result is NaN where a metric is not defined.
        """


@runtime_checkable
class Task(Protocol):
    """Builds the prompt, reads and scores the answer, and says what a painted image must keep.

    Predictions are in model coordinates until ``to_original``; everything else is in pixels of the
    original image. The ground truth (``sample.answer``) is a JSON value, with tuples for lists.

    ``name``: the short name that samples and configurations use.
    ``asks_for``: the kind of question: a phrase for one object ("object"), a list of class names
    ("classes"), or any closed question ("question"). Data formats build their questions by it. If a
    format has boxes and no answers, ``ground_truth`` of a task that asks for an object gets the box
    of this object.
    ``needs_objects``: whether a sample without any labelled object is refused.
    ``thresholds``: evaluation also reports, as "acc@t", the share of answers with an accuracy of at
    least t.
    ``hit``: an answer with at least this accuracy is a hit, for ``method.diversity_of: hits`` and
    for the metrics ``pass@k`` of an evaluation.
    ``has_majority``: whether ``same_as`` says which answers are the same, so that the most frequent
    of several answers can be scored.
    ``headlines``: name → title of the metrics that reports show first, the most important first.
    ``metrics_note``: what a reader must know about these metrics, written below them; "" for
    nothing.
    """

    name: str
    asks_for: AsksFor
    needs_objects: bool = True
    thresholds: tuple[float, ...] = ()
    hit: float = 0.5
    has_majority: bool = False
    headlines: Mapping[str, str] = ACCURACY
    metrics_note: str = ""

    @abstractmethod
    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """Return the text beside the image.

        "full" explains the response format, for any model; "brief" is the question alone, for a
        model that knows the format.
        """

    @abstractmethod
    def read(self, answer: str) -> Any | None:
        """Parse the text inside ``<answer>…</answer>`` into a prediction in model coordinates.

        Returns None when the text cannot be read. Never raises.
        """

    def boxes(self, prediction: Any) -> Sequence[Box]:
        """Return the boxes of a prediction in model coordinates, to find out whether it is on
        another scale. By default those of its ``marks``."""
        return [mark.box for mark in self.marks(prediction) if mark.box is not None]

    def to_original(self, prediction: Any, frame: CoordinateFrame) -> Any:
        """Convert a prediction from model coordinates to original pixels."""
        return prediction

    @abstractmethod
    def score(self, prediction: Any | None, sample: Sample) -> float:
        """Return the accuracy reward in [0, 1] of a prediction in original pixels; 0 for None."""

    def chance(self, sample: Sample) -> float:
        """Return the expected accuracy of a guess by somebody who does not see the image, in
        [0, 1), for ``method.diversity_of: above_chance``.

        0 by default, which suits an answer that is hardly ever guessed, such as a box.
        """
        return 0.0

    def constraints(self, sample: Sample) -> Constraints:
        """Return the rules for an image that is painted from the sample.

        By default every labelled object stays, and no new instance of a labelled class may appear.
        """
        return Constraints(
            keep=tuple(range(len(sample.objects))), forbidden_labels=labels_of(sample)
        )

    def map_boxes(self, answer: Any, change: Callable[[Box], Box]) -> Any:
        """Return the ground truth with ``change(box)`` in the place of every box in it.

        It is called when the labelled objects come to lie elsewhere in a new image.
        """
        return answer

    @abstractmethod
    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """Write the ground truth as the model would write it inside ``<answer>…</answer>``."""

    @abstractmethod
    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Any:
        """Check the answer of a row of the user's data and return it as ``Sample.answer``.

        It must accept what it returned, and return the same: samples that are sent to a data server
        or read from an exported pool are checked again.
        ``value`` is None when the row has no answer. ``question``, ``objects`` and ``columns`` are
        those of the same row. Raises InputError for an answer that is not valid; the message starts
        with the wrong key.
        """

    def objects_from_answer(self, answer: Any, question: str) -> list[dict[str, Any]] | None:
        """Return the objects of a row that has an answer and no ``objects``: a list of dicts with
        ``label`` and ``box``, unchecked; None when the answer gives no objects.

        ``answer`` is the unchecked value of the row. Raises InputError when the row has none.
        """
        return None

    def set_metrics(self, truths: Sequence[Any], predictions: Sequence[Any]) -> SetMetrics | None:
        """Return the metrics over a whole data set, None when the task has none.

        ``truths`` and ``predictions`` hold the N ground truths and the N greedy predictions in
        original pixels, None for an answer that cannot be read. For a metric that ranks the
        samples, their order here is the rank.
        """
        return None

    def marks(self, answer: Any) -> list[Mark]:
        """Return the marks that draw an answer over the image; none for an answer without a place
        in it.

        ``answer`` is a ground truth or a prediction in original pixels, never None.
        """
        return []

    def same_as(self, prediction: Any) -> Hashable:
        """Return a value that is equal for predictions that say the same. Called if
        ``has_majority``; a task whose answers are hardly ever equal, such as boxes, has none."""
        return str(prediction)

    def words(self, answer: Any) -> str:
        """Write an answer (a ground truth or a prediction in original pixels) in a few words."""
        return str(answer)


CORNERS = "x1, y1 is the top-left and x2, y2 the bottom-right corner"

_FULL = """\
{ask} Afterwards picture {keep} in a completely different {place}.
Reply with these three parts, one after the other, and with nothing else:
<think>{think}</think>
<answer>{answer}</answer>
<scene>the new {place} around the {things}</scene>
{explain} In <scene>, say in one or two sentences the {place}{where}, with materials, patterns and \
colours; how the objects are seen: close up, midway or far away, on the left, in the middle or on \
the right; the light: brightly lit, half dark or almost dark; the air: in clear air, in haze or in \
thick fog{weather}; what else stands around. Like {examples}. {stay}\
"""

# Examples name no usual label class and no number, those of a room also no colour and no kind of
# room: each of these can be an answer.
_ANYWHERE = {
    "place": "place",
    "where": ", indoors or outdoors",
    "weather": ", or the weather",
    "examples": '"a quarry of yellow stone, far away on the left, half dark, in haze, boulders '
    'stand around" or "a hall with teal walls, close up on the right, brightly lit, in clear air"',
}
_INDOORS = {
    "place": "room",
    "where": "",
    "weather": "",
    "examples": '"plaster walls, a slate floor, far away on the left, half dark, in haze" or '
    '"brick walls, close up on the right, brightly lit, in clear air"',
}


def full_prompt(
    *,
    ask: str,
    think: str,
    answer: str,
    explain: str,
    keep: str,
    stay: str,
    things: str = "labelled objects",
    indoors: bool = False,
) -> str:
    """Return a prompt of the style "full", which explains the three parts of a response.

    ``ask`` is the question; ``think`` and ``answer`` describe the contents of these two parts;
    ``explain`` says how to write the answer; ``keep`` and ``things`` name the objects that keep
    their pixels; ``stay`` says what must not be added; ``indoors`` says that the new surroundings
    must be a room. None of them may reveal the answer.
    """
    return _FULL.format(
        ask=ask,
        think=think,
        answer=answer,
        explain=explain,
        keep=keep,
        stay=stay,
        things=things,
        **(_INDOORS if indoors else _ANYWHERE),
    )
