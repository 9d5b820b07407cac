"""What the starter is taught: batches of rendered scenes with questions and written answers.

A *lesson* is one scene and a few questions of all tasks, laid out as one packed row: the picture
once, then one segment a question (question, assistant turn, response). Nothing is ever reused:
every batch is rendered afresh from its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerFast

from syngrpo.sample import Box
from syngrpo_rooms.detection import DetectionQuestion, detection_question
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.questions import RecQuestion, rec_questions
from syngrpo_rooms.reasoning import ReasoningQuestion, reasoning_questions
from syngrpo_rooms.render import render
from syngrpo_rooms.scenes import LABELS, Scene, sample_scene
from syngrpo_rooms.starter.annotators import NOTHING, Mixture, Pieces, Question, write_response
from syngrpo_rooms.starter.build import GRID, IMAGE_SIZE
from syngrpo_rooms.surroundings import Split

MAX_OBJECTS = 6
IGNORED = NOTHING
BACKGROUND = len(LABELS)
COLOURS = tuple(THING_COLOURS)
ASKED = ("rec", "rec", "ovd", "isr")
"""Tasks of the questions of one scene."""

Asked = TypeVar("Asked", RecQuestion, ReasoningQuestion)


@dataclass
class LessonBatch:
    """N scenes; T is the number of tokens after the picture of the longest row.

    images uint8 (N, H, W, 3); tokens int64 (N, T) padded; part int64 (N, T), which segment (1, 2,
    …) a token belongs to, 0 for padding; labels int64 (N, T), the next token where it is to be
    learned, else -100; points int64 (N, T), the object which the next token is about, else -100;
    boxes float (N, 6, 4) xyxy in [0, 1] with label, colour, large int64 (N, 6); cover float (N, 6,
    cells), the share of each visual token's cell that the object's visible pixels fill.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    part: torch.Tensor
    labels: torch.Tensor
    points: torch.Tensor
    boxes: torch.Tensor
    label: torch.Tensor
    colour: torch.Tensor
    large: torch.Tensor
    cover: torch.Tensor


class Lessons(IterableDataset):
    """Endless LessonBatches of one split, deterministic in (seed, worker)."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        mixture: Mixture,
        *,
        split: Split = "broad",
        scenes: int = 48,
        asked: Sequence[str] = ASKED,
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.mixture = mixture
        self.split = split
        self.scenes = scenes
        self.asked = asked
        self.seed = seed

    def __iter__(self) -> Iterator[LessonBatch]:
        worker = get_worker_info()
        stream = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            yield self.batch(stream)

    def batch(self, rng: np.random.Generator) -> LessonBatch:
        """Renders one batch."""
        rows = [self._lesson(rng) for _ in range(self.scenes)]
        longest = max(len(row["tokens"]) for row in rows)
        padding = {"tokens": self.tokenizer.pad_token_id, "part": 0}
        stacked = {
            key: torch.full((len(rows), longest), padding.get(key, IGNORED))
            for key in ("tokens", "part", "labels", "points")
        }
        for n, row in enumerate(rows):
            for key, padded in stacked.items():
                padded[n, : len(row[key])] = torch.tensor(row[key])
        for key in ("images", "boxes", "label", "colour", "large", "cover"):
            stacked[key] = torch.from_numpy(np.stack([row[key] for row in rows]))
        return LessonBatch(**stacked)

    def _lesson(self, rng: np.random.Generator) -> dict[str, Any]:
        scene, phrases = self._scene(rng)
        rendered = render(scene)
        row: dict[str, Any] = {"tokens": [], "part": [], "labels": [], "points": []}
        for number, task in enumerate(self.asked, start=1):
            question = _choose(task, scene, phrases, rng)
            response = write_response(scene, rendered.boxes, question, self.mixture, rng)
            ids, labels, points = self._segment(ask(question), response)
            row["tokens"] += ids
            row["part"] += [number] * len(ids)
            row["labels"] += labels
            row["points"] += points
        described = _describe_objects(scene, rendered.boxes, rendered.masks)
        return {**row, "images": rendered.image, **described}

    def _segment(self, question: str, response: Pieces) -> tuple[list[int], list[int], list[int]]:
        """Tokens of one segment; what comes next, and what that is about, at every place."""
        ids = self.tokenizer.encode(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        start = len(ids)
        spoken: list[int] = []
        about: list[int] = []
        for text, index in [*response, ("<|im_end|>", IGNORED)]:
            piece = self.tokenizer.encode(text)
            spoken += piece
            about += [index] * len(piece)
        silence = [IGNORED] * (start - 1)
        return ids + spoken, [*silence, *spoken, IGNORED], [*silence, *about, IGNORED]

    def _scene(self, rng: np.random.Generator) -> tuple[Scene, list[RecQuestion]]:
        """The next scene of the split that a phrase fits."""
        while True:
            scene = sample_scene(self.split, int(rng.integers(2**53)), IMAGE_SIZE)
            if phrases := rec_questions(scene):
                return scene, phrases


def ask(question: Question) -> str:
    """The question as the tasks' brief prompt writes it."""
    if isinstance(question, RecQuestion):
        return question.phrase
    return f"detect {question.text}" if isinstance(question, DetectionQuestion) else question.text


def _choose(
    task: str, scene: Scene, phrases: Sequence[RecQuestion], rng: np.random.Generator
) -> Question:
    if task == "rec":
        return _by_kind(phrases, rng, doubled="attribute")
    if task == "ovd":
        return detection_question(scene, rng)
    return _by_kind(reasoning_questions(scene), rng)


def _by_kind(asked: Sequence[Asked], rng: np.random.Generator, doubled: str = "") -> Asked:
    """Kinds first, so that the many questions of one kind do not drown the rest."""
    kinds = sorted({question.kind for question in asked})
    weights = np.array([2.0 if kind == doubled else 1.0 for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    fitting = [question for question in asked if question.kind == kind]
    return fitting[int(rng.integers(len(fitting)))]


def _describe_objects(
    scene: Scene, boxes: Sequence[Box], masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
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
