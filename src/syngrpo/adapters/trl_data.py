"""Images that evolve for TRL's ``GRPOTrainer``: its dataset and its rewards.

    images = EvolvingImages(client, groups_per_step=8, coordinates="0-1000")
    GRPOTrainer(
        model, images.rewards(), args, images.dataset(), callbacks=[images.callback()]
    ).train()

Each process of the trainer makes one ``EvolvingImages``; ``client`` is None but in the main one.
The dataset draws in the main process and sends the samples to the others. Once the last reward of a
step is known, the accuracies and responses go to the main process, which reports them.

So the images evolve, from the policy's own descriptions. Their reward needs
``trl_trainer.SynGRPOTrainer``, because ``GRPOTrainer`` cannot take a reward that comes later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from datasets import IterableDataset
from trl import GRPOConfig

from syngrpo.adapters.shared_images import ScoredRow, SharedImages, unscored
from syngrpo.adapters.trainer_checkpoints import ClientCallback
from syngrpo.data_server.client import DataClient, DrawnSample, ModelCoordinates
from syngrpo.data_server.drawn_sample import FrameOf, SampleAccess
from syngrpo.method.response import format_reward, parse_response
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle

_open: dict[int, EvolvingImages] = {}
_numbers = itertools.count()


class EvolvingImages(SharedImages):
    """The dataset and the rewards of one process. The arguments are those of ``SharedImages``."""

    def __init__(
        self,
        client: DataClient | None,
        groups_per_step: int,
        *,
        coordinates: ModelCoordinates | FrameOf = "pixels",
        prompt_style: PromptStyle = "full",
    ) -> None:
        super().__init__(
            client, groups_per_step, coordinates=coordinates, prompt_style=prompt_style
        )
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

    def callback(self) -> ClientCallback:
        """Return a callback for the trainer, which keeps the client's state with the checkpoints
        and restores it, and the weights, when a run is resumed. Making the trainer raises
        InputError when a generation batch has another number of prompts than ``groups_per_step``.
        """
        return StockCallback(self.client, self.groups_per_step)

    def conversation(self, sample: SampleAccess) -> list[dict[str, str]]:
        """Return the prompt of a sample, without its picture."""
        return [{"role": "user", "content": sample.prompt(self.prompt_style)}]

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
            self.accuracy_of(name, text_of(completion))
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
            ScoredRow(name, accuracy, unscored(text_of(completion), ids))
            for name, accuracy, completion, ids in zip(
                sample_id, accuracies, completions, completion_ids, strict=True
            )
        ]
        self.end_step(rows)
        if log_metric is not None:
            for name, value in self.metrics().items():
                log_metric(name, value)
        return self.format(completions)

    def close(self) -> None:
        """Forget the samples. The client stays open."""
        _open.pop(self._number, None)
        super().close()

    def row(self, sample: DrawnSample) -> dict[str, Any]:
        """Return the row of the dataset for a sample."""
        return {
            "prompt": self.conversation(sample),
            "images": [sample.picture()],
            "sample_id": sample.id,
            "task": sample.task,
            "family": sample.family,
        }


class StockCallback(ClientCallback):
    """The callback of ``GRPOTrainer``: also checks the number of prompts of a generation batch."""

    def __init__(self, client: DataClient | None, groups_per_step: int) -> None:
        super().__init__(client)
        self._groups_per_step = groups_per_step

    def on_init_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        require_groups(args, self._groups_per_step)
        super().on_init_end(args, state, control, **more)


def require_groups(args: GRPOConfig, groups: int) -> None:
    """Raise InputError unless a generation batch has as many prompts as the client draws."""
    drawn = args.generation_batch_size // args.num_generations
    if drawn != groups:
        raise InputError(
            f"a generation batch of {args.generation_batch_size} responses with "
            f"num_generations {args.num_generations} has {drawn} prompts, the client draws "
            f"{groups}; set groups_per_step to {drawn}, or change gradient_accumulation_steps"
        )


def text_of(completion: Any) -> str:
    """Return the text of a completion, plain or as a conversation."""
    if isinstance(completion, str):
        return completion
    content = completion[0]["content"] if completion else None
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


def _rows(number: int) -> Iterator[Mapping[str, Any]]:
    images = _open.get(number)
    if images is None:
        raise InputError(
            "the dataset is read in another process than the one that made it, or its "
            "EvolvingImages is closed; set dataloader_num_workers to 0"
        )
    while True:
        for sample in images.draw():
            yield images.row(sample)
