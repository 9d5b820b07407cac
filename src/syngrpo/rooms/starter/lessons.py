"""What the starter is taught: batches of rendered scenes with questions and written answers.

A *lesson* is one scene and a few of its questions, laid out as one packed row: the picture once,
then one segment a question (question, assistant turn, response). Nothing is ever reused: every
batch is rendered afresh from its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from syngrpo.boxes import clip
from syngrpo.rooms.descriptions import random_description
from syngrpo.rooms.palette import THING_COLOURS
from syngrpo.rooms.questions import RecQuestion, rec_questions
from syngrpo.rooms.render import render
from syngrpo.rooms.scenes import LABELS, Scene, sample_scene
from syngrpo.rooms.starter.build import GRID, IMAGE_SIZE, LARGEST_NUMBER
from syngrpo.rooms.surroundings import Split
from syngrpo.sample import Box

MAX_OBJECTS = 6
IGNORED = -100
BACKGROUND = len(LABELS)
COLOURS = tuple(THING_COLOURS)
THINK_WORDS = ["top", "middle", "bottom", "left", "centre", "right"]


Shares = tuple[float, float, float]
"""Of careful, loose and wrong annotators; they sum to 1."""


@dataclass(frozen=True)
class Mixture:
    """Whose answers are taught, about large and about small things.

    A *careful* annotator writes the exact box; a *loose* one leaves a margin on every side, a share
    of the box's width or height drawn from ``margin``; a *wrong* one boxes a random thing of the
    room. As in real annotation, small things get the less careful ones, so that the likeliest
    answer is often not the best one a model knows.
    """

    large: Shares = (1.0, 0.0, 0.0)
    small: Shares = (1.0, 0.0, 0.0)
    margin: tuple[float, float] = (0.30, 0.36)
    scenes: bool = False
    """Whether responses carry a scene description."""


@dataclass
class LessonBatch:
    """N scenes of Q questions each; S is the longest segment.

    images uint8 (N, H, W, 3); segments int64 (N, Q, S) padded; labels int64 (N, Q, S), the next
    token where it is to be learned, else -100; target int64 (N, Q), the object asked for, -100 when
    the answer is somebody else's mistake; boxes float (N, 6, 4) xyxy in [0, 1] with label, colour,
    large int64 (N, 6); cover float (N, 6, cells), the share of each visual token's cell that the
    object's visible pixels fill.
    """

    images: torch.Tensor
    segments: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor
    boxes: torch.Tensor
    label: torch.Tensor
    colour: torch.Tensor
    large: torch.Tensor
    cover: torch.Tensor


def write_box(box: Box) -> str:
    """The answer text of a box, in whole pixels of the picture the model sees."""
    numbers = [str(min(max(round(v), 0), LARGEST_NUMBER)) for v in box]
    return '{"bbox_2d": [' + ", ".join(numbers) + "]}"


def write_thought(scene: Scene, index: int, box: Box) -> str:
    """What the object is and where it roughly stands."""
    third = IMAGE_SIZE / 3
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    across = THINK_WORDS[3 + min(int(x / third), 2)]
    down = THINK_WORDS[min(int(y / third), 2)]
    thing = scene.things[index]
    return f"{thing.colour} {thing.label}, {down} {across}"


def _loose(box: Box, margin: tuple[float, float], rng: np.random.Generator) -> Box:
    x1, y1, x2, y2 = box
    across, down = rng.uniform(*margin, 2) * (x2 - x1, y2 - y1)
    return clip((x1 - across, y1 - down, x2 + across, y2 + down), IMAGE_SIZE, IMAGE_SIZE)


def write_response(
    scene: Scene,
    boxes: Sequence[Box],
    question: RecQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> tuple[str, int]:
    """One annotator's response to a question, and the object it truly means (-100: a mistake)."""
    large = scene.things[question.target].size == "large"
    kind = rng.choice(3, p=mixture.large if large else mixture.small)
    index = question.target if kind < 2 else int(rng.integers(len(boxes)))
    box = boxes[index]
    thought = write_thought(scene, index, box)
    if kind == 1:
        box = _loose(box, mixture.margin, rng)
    text = f"<think>{thought}</think><answer>{write_box(box)}</answer>"
    if mixture.scenes:
        text += f"<scene>{random_description(rng)}</scene>"
    return text, question.target if kind < 2 else IGNORED


class Lessons(IterableDataset):
    """Endless LessonBatches of one split, deterministic in (seed, worker)."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        mixture: Mixture,
        *,
        split: Split = "broad",
        scenes: int = 48,
        questions: int = 3,
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.mixture = mixture
        self.split = split
        self.scenes = scenes
        self.questions = questions
        self.seed = seed

    def __iter__(self) -> Iterator[LessonBatch]:
        worker = get_worker_info()
        stream = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            yield self.batch(stream)

    def batch(self, rng: np.random.Generator) -> LessonBatch:
        """Renders one batch."""
        rows = [self._lesson(rng) for _ in range(self.scenes)]
        longest = max(len(ids) for row in rows for ids, _ in row["segments"])
        pad = self.tokenizer.pad_token_id
        segments = torch.full((len(rows), self.questions, longest), pad)
        labels = torch.full_like(segments, IGNORED)
        for n, row in enumerate(rows):
            for q, (ids, start) in enumerate(row["segments"]):
                tokens = torch.tensor(ids)
                segments[n, q, : len(ids)] = tokens
                labels[n, q, start - 1 : len(ids) - 1] = tokens[start:]
        stacked = {
            key: torch.from_numpy(np.stack([row[key] for row in rows]))
            for key in ("images", "target", "boxes", "label", "colour", "large", "cover")
        }
        return LessonBatch(segments=segments, labels=labels, **stacked)

    def _lesson(self, rng: np.random.Generator) -> dict:
        scene, asked = self._scene(rng)
        rendered = render(scene)
        boxes = rendered.boxes
        segments, target = [], []
        for question in choose_questions(asked, self.questions, rng):
            response, meant = write_response(scene, boxes, question, self.mixture, rng)
            head = f"{question.phrase}<|im_end|>\n<|im_start|>assistant\n"
            ids = self.tokenizer.encode(head)
            start = len(ids)
            segments.append((ids + self.tokenizer.encode(response + "<|im_end|>"), start))
            target.append(meant)
        return {"images": rendered.image, "segments": segments, "target": np.array(target)} | (
            _describe_objects(scene, boxes, rendered.masks)
        )

    def _scene(self, rng: np.random.Generator) -> tuple[Scene, list[RecQuestion]]:
        """The next scene of the split that anything can be asked about."""
        while True:
            scene = sample_scene(self.split, int(rng.integers(2**53)), IMAGE_SIZE)
            if asked := rec_questions(scene):
                return scene, asked


def choose_questions(
    asked: Sequence[RecQuestion], count: int, rng: np.random.Generator
) -> list[RecQuestion]:
    """Kinds first, so that the many attribute questions do not drown the rest."""
    by_kind = {kind: [q for q in asked if q.kind == kind] for kind in {q.kind for q in asked}}
    kinds = sorted(by_kind)
    weights = np.array([2.0 if kind == "attribute" else 1.0 for kind in kinds])
    drawn = rng.choice(len(kinds), count, p=weights / weights.sum())
    return [by_kind[kinds[k]][int(rng.integers(len(by_kind[kinds[k]])))] for k in drawn]


def _describe_objects(scene: Scene, boxes: Sequence[Box], masks: Sequence[np.ndarray]) -> dict:
    box = np.zeros((MAX_OBJECTS, 4), dtype=np.float32)
    label, colour, large = (np.full(MAX_OBJECTS, IGNORED) for _ in range(3))
    cover = np.zeros((MAX_OBJECTS, GRID * GRID), dtype=np.float32)
    cell = IMAGE_SIZE // GRID
    for i, thing in enumerate(scene.things):
        box[i] = np.array(boxes[i]) / IMAGE_SIZE
        label[i] = LABELS.index(thing.label)
        colour[i] = COLOURS.index(thing.colour)
        large[i] = int(thing.size == "large")
        cover[i] = masks[i].reshape(GRID, cell, GRID, cell).mean(axis=(1, 3)).reshape(-1)
    return {"boxes": box, "label": label, "colour": colour, "large": large, "cover": cover}
