"""Images that evolve for TRL's ``GRPOTrainer``: its dataset and its rewards.

    images = EvolvingImages(client, groups_per_step=8, coordinates="0-1000")
    GRPOTrainer(model, images.rewards(), args, images.dataset()).train()

Each process of the trainer makes one ``EvolvingImages``; ``client`` is None but in the main one.
The dataset draws in the main process and sends the samples to the others. Once the last reward of a
step is known, the accuracies and responses go to the main process, which reports them.

So the images evolve, from the policy's own descriptions. Their reward needs
``trl_trainer.SynGRPOTrainer``, because ``GRPOTrainer`` cannot take a reward that comes later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list, gather_object
from datasets import IterableDataset

from syngrpo.data_server.client import (
    DataClient,
    DrawnSample,
    ModelCoordinates,
    Settled,
    WrittenResponse,
    shared_draw,
)
from syngrpo.data_server.drawn_sample import FrameOf, SampleAccess
from syngrpo.method.response import format_reward, parse_response
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle

REMEMBERED_STEPS = 8
"""The samples of this many steps stay in memory: the trainer draws ahead of scoring."""

_open: dict[int, EvolvingImages] = {}
_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """One response of this process: the sample, its accuracy, and the response if it is one of
    those whose description is offered."""

    sample_id: str
    accuracy: float
    written: WrittenResponse | None


class EvolvingImages:
    """The dataset and the rewards of one process.

    ``groups_per_step`` is the number of different prompts of a generation batch. ``coordinates``
    are those in which the model writes boxes, or a function that returns them for a sample.
    ``prompt_style`` is "brief" for a model that knows the response format.
    """

    def __init__(
        self,
        client: DataClient | None,
        groups_per_step: int,
        *,
        coordinates: ModelCoordinates | FrameOf = "pixels",
        prompt_style: PromptStyle = "full",
    ) -> None:
        self.client = client
        self.groups_per_step = groups_per_step
        self._coordinates = coordinates
        self._style = prompt_style
        self._drawn: dict[str, DrawnSample] = {}
        self._number = next(_numbers)
        _open[self._number] = self

    def dataset(self) -> IterableDataset:
        """Return the endless dataset. Its rows have ``prompt``, ``images``, ``sample_id``, ``task``
        and ``family``.

        The trainer needs ``max_steps``, ``shuffle_dataset=False`` (a batch is in random order
        already; shuffling would draw a thousand samples ahead), no loader workers, and
        ``accelerator_config={"dispatch_batches": False}``.
        """
        # datasets takes a hash of the arguments, so they must be plain.
        return IterableDataset.from_generator(_rows, gen_kwargs={"number": self._number})

    def rewards(self) -> list[Callable[..., list[float]]]:
        """Return the rewards: accuracy and format. The second also reports the step."""
        return [self.accuracy, self.format_and_report]

    def conversation(self, sample: SampleAccess) -> list[dict[str, str]]:
        """Return the prompt of a sample, without its picture."""
        return [{"role": "user", "content": sample.prompt(self._style)}]

    def accuracy(
        self, completions: Sequence[Any], sample_id: Sequence[str] | None = None, **_: Any
    ) -> list[float]:
        """Return the accuracy of each response in [0, 1]. Raises InputError for rows of another
        dataset, such as one for evaluation."""
        if sample_id is None:
            raise InputError(
                "the rewards know the samples of EvolvingImages.dataset() alone; leave "
                "eval_dataset out, and measure a checkpoint with syngrpo evaluate"
            )
        return [
            self._accuracy(self._sample(name), text_of(completion))
            for name, completion in zip(sample_id, completions, strict=True)
        ]

    def format(self, completions: Sequence[Any], **_: Any) -> list[float]:
        """Return 1 for each well-formed response, else 0."""
        return [format_reward(parse_response(text_of(one))) for one in completions]

    def format_and_report(
        self,
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        sample_id: Sequence[str],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float]:
        """Return 1 for each well-formed response, else 0, and report the step: its accuracies, and
        the descriptions to be painted. They get no reward."""
        accuracies = self.accuracy(completions, sample_id)
        rows = [
            ScoredRow(name, accuracy, _unscored(text_of(completion), ids))
            for name, accuracy, completion, ids in zip(
                sample_id, accuracies, completions, completion_ids, strict=True
            )
        ]
        self.end_step(rows)
        if log_metric is not None:
            for name, value in self.metrics().items():
                log_metric(name, value)
        return self.format(completions)

    def end_step(self, rows: Sequence[ScoredRow]) -> list[Settled]:
        """Report the responses of all processes to the client, and return the descriptions whose
        reward is known now, in every process the same. All processes call this together."""
        everything: list[ScoredRow] = gather_object(list(rows))
        settled: list[Settled] = []
        if self.client is not None:
            groups: dict[str, list[ScoredRow]] = {}
            for row in everything:
                groups.setdefault(row.sample_id, []).append(row)
            for name, group in groups.items():
                self.client.observe(self._sample(name), [row.accuracy for row in group])
            for name, group in groups.items():
                written = [row.written for row in group if row.written is not None]
                self.client.submit(self._sample(name), written)
            settled = self.client.outcomes()
        return share(settled)

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the client in the main process, nothing in the others."""
        return self.client.stats().metrics() if self.client is not None else {}

    def is_parent(self, sample_id: str, max_depth: int) -> bool:
        """Return whether images are painted from a sample."""
        return self._sample(sample_id).sample.depth < max_depth

    def close(self) -> None:
        """Forget the samples. The client stays open."""
        _open.pop(self._number, None)
        self._drawn.clear()

    def _draw(self) -> list[DrawnSample]:
        drawn = shared_draw(self.client, self.groups_per_step, share)
        for sample in drawn:
            self._drawn.pop(sample.id, None)
            self._drawn[sample.id] = sample
        while len(self._drawn) > REMEMBERED_STEPS * self.groups_per_step:
            del self._drawn[next(iter(self._drawn))]
        return drawn

    def _sample(self, name: str) -> DrawnSample:
        found = self._drawn.get(name)
        if found is None:
            raise InputError(
                f"sample {name} was drawn more than {REMEMBERED_STEPS} steps ago or by another "
                "dataset; use the rewards with the dataset of the same EvolvingImages"
            )
        return found

    def _accuracy(self, sample: DrawnSample, text: str) -> float:
        return sample.scored(parse_response(text).answer, self._coordinates).accuracy

    def row(self, sample: DrawnSample) -> dict[str, Any]:
        """Return the row of the dataset for a sample."""
        return {
            "prompt": self.conversation(sample),
            "images": [sample.picture()],
            "sample_id": sample.id,
            "task": sample.task,
            "family": sample.family,
        }


def text_of(completion: Any) -> str:
    """Return the text of a completion, plain or as a conversation."""
    if isinstance(completion, str):
        return completion
    content = completion[0]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def share(value: Any) -> Any:
    """Return the main process's value in every process."""
    return broadcast_object_list([value])[0]


def _rows(number: int) -> Iterator[Mapping[str, Any]]:
    images = _open[number]
    while True:
        for sample in images._draw():
            yield images.row(sample)


def _unscored(text: str, token_ids: Sequence[int]) -> WrittenResponse:
    """Return a response that gets no reward later: its log-probabilities are unknown, and any token
    stands for its scene."""
    ids = np.asarray(token_ids, np.int64)
    return WrittenResponse(text, ids, np.full(ids.shape, np.nan, np.float32), ids == ids)
