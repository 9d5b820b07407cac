"""What a task is: the one class that a new kind of question needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import EncodedImage, LabelledObject, Sample

PromptStyle = Literal["full", "brief"]

NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Constraints:
    """What an image synthesised from a sample must respect so that its labels stay true.

    ``keep`` are indices into ``sample.objects`` whose pixels stay; ``forbidden_labels`` are classes
    that may not appear anew; ``phrase`` is text the generator must honour, or None.
    """

    keep: tuple[int, ...]
    forbidden_labels: tuple[str, ...]
    phrase: str | None = None


class Task(Protocol):
    """Builds the prompt, reads and scores the answer, says what synthesis must respect.

    Predictions are in model coordinates until ``to_original``; everything else is in pixels of the
    original image. Ground truth (``sample.answer``) is a JSON value, apart from tuples.
    """

    name: str

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        """The text beside the image. "full" teaches the response format to any model, "brief" is
        the question alone, for a model that knows the format."""

    def read(self, answer: str) -> Any | None:
        """The text inside ``<answer>…</answer>`` → prediction in model coordinates.

        None when it cannot be read. Never raises.
        """

    def to_original(self, prediction: Any, frame: CoordinateFrame) -> Any:
        """Prediction in model coordinates → prediction in original pixels."""

    def score(self, prediction: Any | None, sample: Sample) -> float:
        """Accuracy reward in [0, 1] of a prediction in original pixels; 0 for None."""

    def respects(self, sample: Sample) -> Constraints:
        """What an image synthesised from the sample must respect."""

    def moved(self, answer: Any, right: float) -> Any:
        """The ground truth of the same question when everything labelled is ``right`` pixels
        further right."""

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        """The ground truth as the model would write it inside ``<answer>…</answer>``."""

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Any:
        """The "answer" of a row of the user's data (None: the row has none), checked, as
        ``Sample.answer``. ``question``, ``objects`` and ``columns`` are those of the same row.

        Raises InputError, whose message starts with the key that is at fault.
        """
