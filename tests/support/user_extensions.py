"""A task, two formats and rewards as a user's package would hold them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syngrpo.boxes import CoordinateFrame
from syngrpo.formats import Format, Problems, ReadRequest, WritableFormat
from syngrpo.formats.image_files import ImageFolder, ImageWriter
from syngrpo.options import option
from syngrpo.sample import Box, EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import Mark, PromptStyle, Task, default_task, get_task
from syngrpo.tasks.base import NO_COLUMNS
from syngrpo.tasks.labels import checked_box


class Touching(Task):
    """A phrase → one point; right when it is inside the object. The truth is the object's box."""

    name = "touching"
    asks_for = "object"

    def prompt(self, sample: Sample, style: PromptStyle) -> str:
        return f"touch {sample.question}"

    def read(self, answer: str) -> tuple[float, float] | None:
        try:
            x, y = json.loads(answer)
            return float(x), float(y)
        except (ValueError, TypeError):
            return None

    def to_original(
        self, prediction: tuple[float, float], frame: CoordinateFrame
    ) -> tuple[float, float]:
        x, y, _, _ = frame.to_original((*prediction, *prediction))
        return x, y

    def score(self, prediction: tuple[float, float] | None, sample: Sample) -> float:
        if prediction is None:
            return 0.0
        x1, y1, x2, y2 = sample.answer
        return float(x1 <= prediction[0] <= x2 and y1 <= prediction[1] <= y2)

    def answer_text(self, sample: Sample, frame: CoordinateFrame) -> str:
        x1, y1, x2, y2 = frame.to_model(sample.answer)
        return json.dumps([(x1 + x2) / 2, (y1 + y2) / 2])

    def ground_truth(
        self,
        value: Any,
        image: EncodedImage,
        objects: Sequence[LabelledObject],
        question: str = "",
        columns: Mapping[str, Any] = NO_COLUMNS,
    ) -> Box:
        return checked_box(value, image, "answer")

    def objects_from_answer(self, answer: Any, question: str) -> list[dict[str, Any]]:
        return [{"label": question, "box": answer}]

    def marks(self, answer: Any) -> list[Mark]:
        return [Mark("", box=answer) if len(answer) == 4 else Mark("", point=answer)]


class TouchingMiddle(Touching):
    """Its truth is drawn as a point."""

    name = "touching-middle"

    def marks(self, answer: Any) -> list[Mark]:
        x1, y1, x2, y2 = answer
        return [Mark("", point=((x1 + x2) / 2, (y1 + y2) / 2))]


class TouchingIfThere(Touching):
    """The phrase may fit nothing in the picture: then the truth is None and nothing is labelled."""

    name = "touching-if-there"
    needs_objects = False

    def ground_truth(self, value: Any, *row: Any, **named: Any) -> Any:
        return None if value is None else super().ground_truth(value, *row, **named)

    def objects_from_answer(self, answer: Any, question: str) -> Any:
        return None if answer is None else super().objects_from_answer(answer, question)


class Impostor(Touching):
    """Another task whose name is taken."""

    name = "rec"


@dataclass(frozen=True)
class LinesOptions:
    """The keys of a source of lines."""

    separator: str = option(";", "between the fields of a line", min_length=1)
    skip: int = option(0, "lines to leave out at the start", ge=0)


class Lines(WritableFormat):
    """``image;phrase;x1;y1;x2;y2``, one sample a line."""

    name = "lines"
    options = LinesOptions
    default_task = default_task("object")

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".lines"

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        assert path is not None
        images = ImageFolder(*(request.images or (path.parent,)))
        task = request.task or get_task(default_task("object"))
        samples = []
        for number, line in enumerate(path.read_text().splitlines()[request.options.skip :]):
            name, phrase, *box = line.split(request.options.separator)
            image = images.open(name)
            corners = checked_box([float(one) for one in box], image, "box")
            objects = (LabelledObject(phrase, corners),)
            answer = task.ground_truth(corners, image, objects, phrase)
            sample = Sample(f"{path.stem}-{number}", task.name, image, phrase, answer, objects)
            if problems.claim(sample.id, f"{path}:{number + 1}"):
                samples.append(sample)
        return samples

    def write(self, samples: Iterable[Sample], directory: Path) -> dict[str, str]:
        images = ImageWriter(directory)
        with (directory / "data.lines").open("w") as file:
            for sample in samples:
                fields = [images.add(sample), sample.question, *map(str, sample.answer)]
                file.write(";".join(fields) + "\n")
        return images.names


@dataclass(frozen=True)
class DotsOptions:
    """The keys of a source of dots."""

    split: str = option("train", "which dots")
    count: int = option(3, "number of samples", ge=1)


class Dots(Format):
    """Generated samples: nothing is read from files."""

    name = "dots"
    options = DotsOptions
    reads_files = False

    def read(self, path: Path | None, request: ReadRequest, problems: Problems) -> list[Sample]:
        raise InputError("dots are out of stock")


def brevity(completions: list[str], **columns: Any) -> list[float]:
    """Half a point for every text below ten characters."""
    return [0.5 * (len(text) < 10) for text in completions]


async def patience(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """An asynchronous reward."""
    import asyncio

    await asyncio.sleep(0.01)
    return [float(len(prompt)) for prompt in prompts]


class Counting:
    """A reward that keeps a state."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completions: list[str], **columns: Any) -> list[float]:
        self.calls += 1
        return [float(self.calls) for _ in completions]


NO_REWARD = 3
