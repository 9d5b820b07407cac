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

from syngrpo.rooms.dataset import rooms_scene
from syngrpo.rooms.descriptions import random_description
from syngrpo.rooms.questions import RecQuestion, rec_questions
from syngrpo.rooms.palette import THING_COLOURS
from syngrpo.rooms.scenes import LABELS, Scene
from syngrpo.rooms.starter.build import GRID, IMAGE_SIZE, LARGEST_NUMBER
from syngrpo.sample import Box

MAX_OBJECTS = 6
IGNORED = -100
BACKGROUND = len(LABELS)
COLOURS = tuple(THING_COLOURS)
THINK_WORDS = ["top", "middle", "bottom", "left", "centre", "right"]


@dataclass(frozen=True)
class Mixture:
    """Shares of the annotators whose answers are taught; they sum to 1.

    ``careful`` writes the exact box; ``sloppy`` a box that is loose, shifted by up to ``jitter`` of
    the object's size; ``wrong`` the exact box of a random object of the scene.
    """

    careful: float = 1.0
    sloppy: float = 0.0
    wrong: float = 0.0
    jitter: float = 0.45
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


def _jittered(box: Box, amount: float, rng: np.random.Generator) -> Box:
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    dx1, dx2 = rng.uniform(-amount, amount, 2) * w
    dy1, dy2 = rng.uniform(-amount, amount, 2) * h
    return (
        max(x1 + dx1, 0.0),
        max(y1 + dy1, 0.0),
        min(x2 + dx2, float(IMAGE_SIZE)),
        min(y2 + dy2, float(IMAGE_SIZE)),
    )


def write_response(
    scene: Scene,
    boxes: Sequence[Box],
    question: RecQuestion,
    mixture: Mixture,
    rng: np.random.Generator,
) -> tuple[str, int]:
    """One annotator's response to a question, and the object it truly means (-100: a mistake)."""
    kind = rng.choice(3, p=[mixture.careful, mixture.sloppy, mixture.wrong])
    index = question.target if kind < 2 else int(rng.integers(len(boxes)))
    box = boxes[index]
    thought = write_thought(scene, index, box)
    if kind == 1:
        box = _jittered(box, mixture.jitter, rng)
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
        split: str = "broad",
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
        scene, rendered, asked = None, None, []
        while not asked:
            scene, rendered = rooms_scene(self.split, int(rng.integers(2**62)), IMAGE_SIZE)
            asked = rec_questions(scene)
        boxes = [tuple(float(v) for v in box) for box in rendered.boxes]
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
