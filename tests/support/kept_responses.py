"""Made-up responses for the tests of ``responses/``, and the rows that a run has kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from syngrpo.pool.store import Pool
from syngrpo.responses.response_files import response_files
from syngrpo.responses.response_rows import KeptResponse, KeptTokens
from syngrpo.responses.response_writer import ResponseWriter
from syngrpo.sample import Sample

TEXT = "<think>a cup</think><answer>[1, 2, 3, 4]</answer>"


def texts_of(ids: np.ndarray) -> list[str]:
    """Token n wrote the nth part of TEXT."""
    parts = ["<think>", "a cup", "</think>", "<answer>[1, 2,", " 3, 4]</answer>", ""]
    return [parts[number] for number in ids]


def made_up(step: int, group: int = 0, response: int = 0, **changed: Any) -> KeptResponse:
    values: dict[str, Any] = {
        "step": step,
        "group_index": group,
        "response_index": response,
        "policy_version": step - 1,
        "sample_id": f"sample-{group}",
        "parent": None if group % 2 else "sample-9",
        "dataset": "cups",
        "task": "rec",
        "question": "the cup “left”",
        "truth": "[1.0, 2.0, 3.0, 5.0]",
        "transformed": False,
        "text": TEXT,
        "answer": "[1, 2, 3, 4]",
        "prediction": "[1.0, 2.0, 3.0, 4.0]",
        "boxes": [("", 1.0, 2.0, 3.0, 4.0)],
        "points": [],
        "description": None,
        "accuracy": 0.25 * response,
        "format": 1.0,
        "advantage": 0.5 - response,
        "diversity": 0.125 * group,
        "entropy": 0.75,
        "length": 6,
        "finished": True,
        "in_loss": True,
        "rewards": {"brevity": None if response else 0.5},
        "tokens": tokens() if group == 0 else None,
    }
    return KeptResponse(**values | changed)


def tokens() -> KeptTokens:
    ids = np.arange(6, dtype=np.int64)
    numbers = ids.astype(np.float32) / 8
    return KeptTokens(ids, numbers, -numbers, numbers - 1, -2 * numbers)


def step_of(step: int, groups: int = 2, size: int = 3) -> list[KeptResponse]:
    return [made_up(step, group, response) for group in range(groups) for response in range(size)]


def write_steps(directory: Path, *steps: int, flush_every: int = 2) -> None:
    """Write made-up steps, ``flush_every`` to a file."""
    writer = ResponseWriter(directory, texts_of, ["brevity"])
    for number, step in enumerate(steps, start=1):
        writer.add(step_of(step))
        if number % flush_every == 0:
            writer.flush()
    writer.close()


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    """All rows that a run has kept, in the order of its files."""
    files = response_files(run_dir / "responses")
    return [row for file in files for row in pq.read_table(file.path).to_pylist()]


def write_answers(run_dir: Path, steps: Sequence[int], groups: int = 4, size: int = 8) -> None:
    """Made-up answers to samples of the pool of a run: boxes near the truth and far from it, with
    a description and all tokens. A whole step is in a file."""
    rng = np.random.default_rng(5)
    pool = Pool.open(run_dir)
    samples = [one.sample for one in pool.samples("synthetic")][:groups]
    pool.close()
    writer = ResponseWriter(run_dir / "responses", texts_of, [])
    for step in steps:
        rows = []
        for place, sample in enumerate(samples):
            for number in range(size):
                box = np.asarray(sample.objects[0].box) + rng.normal(0, 4 * number + 1, 4)
                rows.append(_answer(step, place, number, sample, box.round(1).tolist()))
        writer.add(rows)
        writer.flush()
    writer.close()


def _answer(
    step: int, group: int, number: int, sample: Sample, box: Sequence[float]
) -> KeptResponse:
    return made_up(
        step,
        group,
        number,
        sample_id=sample.id,
        parent=sample.parent,
        task=sample.task,
        question=sample.question,
        dataset=sample.dataset,
        truth=json.dumps(sample.answer),
        prediction=json.dumps(list(box)),
        boxes=[("", *box)],
        accuracy=max(0.0, 1 - number / 8),
        description="a red wall, thick fog, far away" if number % 2 else None,
        tokens=tokens(),
        rewards={},
    )
