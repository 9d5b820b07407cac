"""Images that evolve for ms-swift's GRPO: a plug-in with a dataset, a scheduler, rewards and a
callback, all named ``syngrpo``.

    evolve(samples, lambda: DataClient.open("runs/mine", samples, groups_per_step=8, …),
           coordinates="0-1000")               # my_plugin.py

    swift rlhf --rlhf_type grpo --model … --external_plugins my_plugin.py --dataset syngrpo \\
        --multi_turn_scheduler syngrpo --callbacks syngrpo \\
        --reward_funcs syngrpo_accuracy syngrpo_format --reward_weights 1 0.1

In the order of a run: the callback checks the options and opens the client in the main process. The
dataset has a row without content for each seed. Before a batch is generated the scheduler draws one
sample for each different row, and puts its question and picture in the place of the row. After it
the scheduler takes the description out of the loss, because it gets no reward: ms-swift cannot take
one that comes later. The accuracy reward reports the step, and the callback logs the client's
numbers and keeps its state with the checkpoints.

When ms-swift generates in the trainer, it does so from the messages of a request, not from its
``images``; so the picture is part of the message. With a rollout server the scheduler is in another
process than the rewards; that is refused.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from swift.callbacks import TrainerCallback, callbacks_map
from swift.dataset import DatasetMeta, register_dataset
from swift.dataset.dataset_meta import BaseDatasetLoader
from swift.rewards import ORM, orms
from swift.rollout.multi_turn import MultiTurnScheduler, multi_turns

from syngrpo.adapters.shared_images import ScoredRow, SharedImages
from syngrpo.adapters.trainer_checkpoints import keep_state, load_weights, restore_state
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.data_server.client import (
    DataClient,
    DrawnSample,
    ModelCoordinates,
    WrittenResponse,
)
from syngrpo.data_server.drawn_sample import FrameOf
from syngrpo.method.response import format_reward, parse_response
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import PromptStyle

TRIED = "4.6"
"""The version of ms-swift that this was tried with."""
NAME = "syngrpo"
"""The name of the dataset, the scheduler and the callback in ms-swift's options."""
_ROW = "syngrpo_row"


@dataclass(frozen=True)
class _Asked:
    """A drawn sample in a batch: its id, its question, and its picture as ms-swift sends pictures
    from the batch that is generated to the batch that is learned from: PNG in base64."""

    sample_id: str
    prompt: str
    picture: str

    @classmethod
    def of(cls, sample: DrawnSample, style: PromptStyle) -> _Asked:
        written = BytesIO()
        sample.picture().save(written, "png", compress_level=1)
        return cls(sample.id, sample.prompt(style), b64encode(written.getvalue()).decode())


@dataclass
class _Run:
    """What ``evolve`` was given, and the state of the run that goes on in this process."""

    rows: int
    open_client: Callable[[], DataClient]
    coordinates: ModelCoordinates | FrameOf
    prompt_style: PromptStyle
    images: SharedImages | None = None
    asked: dict[str, _Asked] = field(default_factory=dict)  # by request
    scored: bool = True


_run: _Run | None = None


def evolve(
    samples: Sequence[Sample],
    open_client: Callable[[], DataClient],
    *,
    coordinates: ModelCoordinates | FrameOf = "pixels",
    prompt_style: PromptStyle = "full",
) -> None:
    """Register the plug-in with ms-swift. Call this once, in the file of ``--external_plugins``.

    ``samples`` are the seeds; an epoch draws as many samples. ``open_client`` opens the client with
    these seeds; it is called in the main process alone. ``coordinates`` and ``prompt_style`` are
    those of ``SharedImages``.
    """
    global _run
    check_tried_version("ms-swift", TRIED)
    _run = _Run(len(samples), open_client, coordinates, prompt_style)
    register_dataset(DatasetMeta(dataset_name=NAME, loader=EvolvingLoader), exist_ok=True)
    multi_turns[NAME] = EvolvingScheduler
    callbacks_map[NAME] = EvolvingCallback
    orms[f"{NAME}_accuracy"] = SwiftAccuracy
    orms[f"{NAME}_format"] = SwiftFormat


class EvolvingLoader(BaseDatasetLoader):
    """Loads the dataset: one row without content for each seed."""

    def __init__(self, **_: Any) -> None:
        pass

    def load(self, *_: Any, **__: Any) -> Dataset:
        """Return the rows, which the scheduler replaces."""
        rows = [
            {"messages": [{"role": "user", "content": f"{NAME} {row}"}], _ROW: row}
            for row in range(_registered().rows)
        ]
        return Dataset.from_list(rows)


class EvolvingScheduler(MultiTurnScheduler):
    """Puts drawn samples into the requests of a batch, and their pictures into the batch that is
    learned from. Every response is one turn."""

    async def on_trajectory_start(self, requests: list[Any]) -> None:
        """Draw a sample for each different row of all processes, and replace the messages."""
        run, images = _opened()
        if not run.scored:
            raise InputError(
                f"the responses of the last step were not scored; add {NAME}_accuracy to "
                "--reward_funcs"
            )
        rows = [_row_of(request) for request in requests]
        different = list(dict.fromkeys(gather_object(rows)))
        drawn = [_Asked.of(one, run.prompt_style) for one in images.draw(len(different))]
        asked = dict(zip(different, drawn, strict=True))
        run.asked.clear()
        run.scored = False
        for request, row in zip(requests, rows, strict=True):
            run.asked[request.uuid] = asked[row]
            content = [
                {"type": "image", "image": asked[row].picture},
                {"type": "text", "text": asked[row].prompt},
            ]
            request.messages = [{"role": "user", "content": content}]

    async def on_turn_end(
        self, infer_request: Any, response_choice: Any, current_turn: int
    ) -> dict[str, Any]:
        """End the trajectory: give the picture to the batch, and take the tokens of the description
        out of the loss."""
        run, _ = _opened()
        asked = run.asked[infer_request.uuid]
        ids = list(response_choice.token_ids)
        tokenizer = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        written = WrittenResponse.of(tokenizer, ids, [math.nan] * len(ids))
        kept = (~written.scene_mask).astype(int).tolist()
        infer_request.messages[0]["content"] = f"<image>{asked.prompt}"
        result: dict[str, Any] = {
            "done": True,
            "response_token_ids": ids,
            "response_loss_mask": kept,
            "rollout_infos": {
                "images": [asked.picture],
                "sample_id": asked.sample_id,
                "response": written,
            },
        }
        if scores := self._extract_logprobs_from_choice(response_choice):
            result["rollout_logprobs"] = [
                score for score, keep in zip(scores, kept, strict=True) if keep
            ]
        return result

    async def run(self, *_: Any, **__: Any) -> Any:
        """Refuse a rollout server, which is what calls this."""
        raise InputError(
            "swift rollout has no access to the client in the trainer; leave its "
            "--multi_turn_scheduler out and train with --vllm_mode colocate or --use_vllm false"
        )


class SwiftAccuracy(ORM):
    """The accuracy of each response in [0, 1]. It also reports the step: the accuracies, and the
    descriptions to be painted, which get no reward."""

    def __call__(
        self, completions: Sequence[str], rollout_infos: Sequence[dict[str, Any]], **_: Any
    ) -> list[float]:
        run, images = _opened()
        rows = []
        for info in rollout_infos:
            name, written = info["sample_id"], info["response"]
            rows.append(ScoredRow(name, images.accuracy_of(name, written.text), written))
        images.end_step(rows)
        run.scored = True
        return [row.accuracy for row in rows]


class SwiftFormat(ORM):
    """1 for each well-formed response, else 0."""

    def __call__(
        self, completions: Sequence[str], rollout_infos: Sequence[dict[str, Any]], **_: Any
    ) -> list[float]:
        return [format_reward(parse_response(info["response"].text)) for info in rollout_infos]


class EvolvingCallback(TrainerCallback):
    """Opens the client, logs its numbers, and keeps its state in ``syngrpo.json`` of each
    checkpoint."""

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        run = _registered()
        _check(args)
        groups = args.generation_batch_size // args.num_generations
        client = run.open_client() if PartialState().is_main_process else None
        if client is not None:
            _check_client(client, args, groups)
        run.images = SharedImages(
            client, groups, coordinates=run.coordinates, prompt_style=run.prompt_style
        )

    @property
    def client(self) -> DataClient | None:
        """The client in the main process, None in the others."""
        return _opened()[1].client

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Restore the weights and the client's state when a run is resumed."""
        if args.resume_from_checkpoint is None:
            return
        checkpoint = Path(args.resume_from_checkpoint)
        load_weights(model, checkpoint)
        if self.client is not None:
            remedy = f"resume from a checkpoint that was made with --callbacks {NAME}"
            restore_state(self.client, checkpoint, remedy)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put the client's numbers into ms-swift's log of this step."""
        for name, value in _opened()[1].metrics().items():
            self.trainer._metrics["train"][name].append(value)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the client's state into the checkpoint."""
        if self.client is not None:
            keep_state(self.client, Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Send what is left, and close the client."""
        if self.client is not None:
            self.client.close()


def _registered() -> _Run:
    if _run is None:
        raise InputError(
            "no samples are registered; call syngrpo.adapters.swift_plugin.evolve in the file of "
            "--external_plugins"
        )
    return _run


def _opened() -> tuple[_Run, SharedImages]:
    run = _registered()
    if run.images is None:
        raise InputError(f"the client is not open; add --callbacks {NAME}")
    return run, run.images


def _row_of(request: Any) -> int:
    row = (request.data_dict or {}).get(_ROW)
    if row is None:
        raise InputError(
            f"the scheduler {NAME} draws the samples itself; give --dataset {NAME} alone"
        )
    return int(row)


def _check(args: Any) -> None:
    """Raise InputError for options of ms-swift that do not go together with images that evolve."""
    if args.multi_turn_scheduler != NAME:
        raise InputError(
            f"the dataset {NAME} has no questions itself; add --multi_turn_scheduler {NAME}"
        )
    if args.vllm_mode == "server":
        raise InputError(
            "a rollout server has no access to the client in the trainer; use --vllm_mode colocate"
        )
    if args.dynamic_sample:
        raise InputError(
            "dynamic_sample draws several times in a step, and was never tried; leave it out"
        )
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no":
        raise InputError(
            "an evaluation would draw from the training images; set --eval_strategy no, and "
            "measure a checkpoint with syngrpo evaluate"
        )


def _check_client(client: DataClient, args: Any, groups: int) -> None:
    """Raise InputError for a client whose numbers are not those of the trainer."""
    if client.groups_per_step != groups:
        raise InputError(
            f"a generation batch of {args.generation_batch_size} responses with num_generations "
            f"{args.num_generations} has {groups} prompts, the client draws "
            f"{client.groups_per_step}; set groups_per_step of the client to {groups}"
        )
    made = args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps
    if max(made, 1) != client.updates_per_step:
        raise InputError(
            f"each generation is used for {max(made, 1)} optimizer steps, the client counts "
            f"{client.updates_per_step}; set updates_per_step of the client to {max(made, 1)}"
        )
