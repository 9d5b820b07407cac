"""Makes the training data of the starter: batches of rendered scenes with questions and responses.

A *row* is one scene with a few questions of all tasks: the picture once, then one *segment* for
each question (the question, the start of the assistant's turn, the response). Each row is a newly
drawn scene, so no scene is used twice. A share of them is seen from anywhere,
in any light and with decoys around (``views``).
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
from syngrpo_rooms.closed_questions import ReasoningQuestion, reasoning_questions
from syngrpo_rooms.object_questions import (
    DetectionQuestion,
    RecQuestion,
    detection_question,
    rec_questions,
)
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.room_renderer import render
from syngrpo_rooms.scenes import LABELS, Scene, sample_scene
from syngrpo_rooms.starter.annotators import (
    NOTHING,
    Mixture,
    Pieces,
    SceneQuestion,
    named_classes,
    write_response,
)
from syngrpo_rooms.starter.architecture import GRID, IMAGE_SIZE
from syngrpo_rooms.surroundings import Split
from syngrpo_rooms.views import seen

MAX_OBJECTS = 6
"""Largest number of things in a scene."""
IGNORED = NOTHING
"""Label of a token that no loss counts (-100)."""
BACKGROUND = len(LABELS)
"""Class of a visual token that no thing covers."""
COLOURS = tuple(THING_COLOURS)
ASKED = ("rec", "rec", "ovd", "isr")
"""The tasks of the four questions of one row."""

Asked = TypeVar("Asked", RecQuestion, ReasoningQuestion)


@dataclass
class TrainingBatch:
    """N rows, one scene each. T is the number of tokens after the picture in the longest row.

    - ``images``: uint8 (N, H, W, 3)
    - ``tokens``: int64 (N, T), padded at the end
    - ``part``: int64 (N, T), the number of the token's segment (1, 2, …), 0 for padding
    - ``labels``: int64 (N, T), the next token where it is to be learned, else -100
    - ``points``: int64 (N, T), the index of the thing that the next token is about, else -100
    - ``boxes``: float (N, 6, 4), the boxes of the things, xyxy as shares of the image's size
    - ``label``, ``colour``, ``large``: int64 (N, 6), the things' indices into ``LABELS`` and
      ``COLOURS``, and 1 for a large or 0 for a small thing; -100 where a scene has fewer things
    - ``cover``: float (N, 6, cells), the share of each visual token's cell that the visible pixels
      of the thing fill
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


class TrainingBatches(IterableDataset):
    """An endless stream of batches with scenes of one split.

    ``scenes`` is the number of rows in a batch, and ``asked`` are the tasks of the questions in a
    row. ``seed`` and the number of the loader's worker process determine the stream.
    ``under_view`` is the share of the scenes that are seen as those of the hard splits are.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        mixture: Mixture,
        *,
        split: Split = "broad",
        scenes: int = 48,
        asked: Sequence[str] = ASKED,
        under_view: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.mixture = mixture
        self.split = split
        self.scenes = scenes
        self.asked = asked
        self.under_view = under_view
        self.seed = seed

    def __iter__(self) -> Iterator[TrainingBatch]:
        worker = get_worker_info()
        stream = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            yield self.batch(stream)

    def batch(self, rng: np.random.Generator) -> TrainingBatch:
        """Render one batch of ``scenes`` rows."""
        rows = [self._row(rng) for _ in range(self.scenes)]
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
        return TrainingBatch(**stacked)

    def _row(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return the fields of TrainingBatch for one row, not padded yet."""
        scene, phrases = self._scene(rng)
        questions = [_choose(task, scene, phrases, rng) for task in self.asked]
        if self.under_view and rng.random() < self.under_view:
            named = [label for question in questions for label in named_classes(question)]
            scene = seen(scene, int(rng.integers(2**53)), named)
        rendered = render(scene)
        row: dict[str, Any] = {"tokens": [], "part": [], "labels": [], "points": []}
        for number, question in enumerate(questions, start=1):
            response = write_response(scene, rendered.boxes, question, self.mixture, rng)
            ids, labels, points = self._segment(brief_prompt(question), response)
            row["tokens"] += ids
            row["part"] += [number] * len(ids)
            row["labels"] += labels
            row["points"] += points
        targets = _thing_targets(scene, rendered.boxes, rendered.masks)
        return {**row, "images": rendered.image, **targets}

    def _segment(self, question: str, response: Pieces) -> tuple[list[int], list[int], list[int]]:
        """Return the tokens of one segment, and for each token the next one to be learned and the
        index of the thing that this next one is about (``IGNORED`` where there is none)."""
        ids = self.tokenizer.encode(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        start = len(ids)
        written: list[int] = []
        about: list[int] = []
        for text, index in [*response, ("<|im_end|>", IGNORED)]:
            piece = self.tokenizer.encode(text)
            written += piece
            about += [index] * len(piece)
        unlearned = [IGNORED] * (start - 1)
        return ids + written, [*unlearned, *written, IGNORED], [*unlearned, *about, IGNORED]

    def _scene(self, rng: np.random.Generator) -> tuple[Scene, list[RecQuestion]]:
        """Draw a scene of the split that has at least one referring expression."""
        while True:
            scene = sample_scene(self.split, int(rng.integers(2**53)), IMAGE_SIZE)
            if phrases := rec_questions(scene):
                return scene, phrases


def brief_prompt(question: SceneQuestion) -> str:
    """Return the text of the question, as it stands in the brief prompt of its task."""
    if isinstance(question, RecQuestion):
        return question.phrase
    return f"detect {question.text}" if isinstance(question, DetectionQuestion) else question.text


def _choose(
    task: str, scene: Scene, phrases: Sequence[RecQuestion], rng: np.random.Generator
) -> SceneQuestion:
    """Draw a question of a task. ``phrases`` are the referring expressions of the scene."""
    if task == "rec":
        return _by_kind(phrases, rng, doubled="attribute")
    if task == "ovd":
        return detection_question(scene, rng)
    return _by_kind(reasoning_questions(scene), rng)


def _by_kind(asked: Sequence[Asked], rng: np.random.Generator, doubled: str = "") -> Asked:
    """Draw a kind, then a question of this kind, so that kinds with many questions are not drawn
    more often. The kind ``doubled`` is twice as likely as the others."""
    kinds = sorted({question.kind for question in asked})
    weights = np.array([2.0 if kind == doubled else 1.0 for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    fitting = [question for question in asked if question.kind == kind]
    return fitting[int(rng.integers(len(fitting)))]


def _thing_targets(
    scene: Scene, boxes: Sequence[Box], masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the fields of TrainingBatch that are about the things of one scene."""
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
