"""Syn-GRPO in TRL: ``SynGRPOTrainer``, a ``GRPOTrainer`` that also rewards descriptions.

What it changes, in the order of a step:

1. The dataset is ``trl_data.EvolvingImages``, and accuracy and format are its first two rewards.
2. Advantages have one value for each token: those of accuracy on all tokens outside of the scene,
   those of format and of further rewards on all. Each reward is normalised by itself.
3. When the loss has been computed for all micro-batches of a generation, the main process reports
   the responses to the client, with the log-probabilities that the loss has computed anyway. It
   gets back the descriptions of earlier steps whose reward is known.
4. The loss of these is added to the last of these micro-batches: responses of their own, with ρ on
   the tokens of their scene (``settled_loss``).

Everything else is TRL's: sampling, the loss of the responses, KL, optimizer, logs. Its KL term has
one weight, ``beta``, for all tokens. Descriptions wear out without one, so ``beta`` should be 0.04.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import apply_chat_template, prepare_multimodal_messages

from syngrpo.adapters.reward_advantages import response_advantages
from syngrpo.adapters.shared_images import ScoredRow, share
from syngrpo.adapters.trainer_checkpoints import keep_state, load_weights, restore_state
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.adapters.trl_data import EvolvingImages, require_groups
from syngrpo.data_server.client import (
    DataClient,
    ModelCoordinates,
    Settled,
    WrittenResponse,
)
from syngrpo.data_server.drawn_sample import FrameOf
from syngrpo.data_server.group_reports import different_descriptions
from syngrpo.method import METHODS
from syngrpo.method.advantages import Part, span_credit
from syngrpo.method.base import Method
from syngrpo.method.response import parse_response
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle

TRIED = "1.16"
"""The version of TRL that this was tried with."""
LOSSES = ("grpo", "dapo", "bnpo", "dr_grpo")
"""The values of ``loss_type`` for which ``settled_loss`` knows the divisor."""
IN_TILES = ("internvl", "lfm2_vl")
"""Types of models for which TRL counts tiles outside of the processor."""
UNUSED = {"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize"}
"""What TRL computes advantages by, and its defaults. ``method.advantage`` decides here."""


@dataclass(eq=False)
class _Generation:
    """The scored responses of this process to one generation batch, in their order, until they are
    reported.

    ``offered``: the places of those whose description may be submitted. ``unseen``: the places of
    those for which the loss was not computed yet.
    """

    sample_ids: list[str]
    accuracies: list[float]
    responses: list[WrittenResponse]
    offered: set[int]
    unseen: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.unseen = set(range(len(self.responses)))

    def take_logprobs(self, places: Sequence[int], logprobs: Tensor) -> None:
        """Keep the log-probabilities (B, T) of a micro-batch: the responses at these places."""
        self.unseen -= set(places)
        for place, values in zip(places, logprobs.cpu(), strict=True):
            if place in self.offered:
                response = self.responses[place]
                known = values[: len(response.token_ids)].float().numpy()
                self.responses[place] = replace(response, logprobs=known)

    def rows(self) -> list[ScoredRow]:
        return [
            ScoredRow(name, accuracy, response if place in self.offered else None)
            for place, (name, accuracy, response) in enumerate(
                zip(self.sample_ids, self.accuracies, self.responses, strict=True)
            )
        ]


class SynGRPOTrainer(GRPOTrainer):
    """``GRPOTrainer`` on images that evolve, with a reward for descriptions.

    ``data`` is the client, None but in the main process. Its ``groups_per_step`` is the number of
    different prompts of a generation batch, and its ``updates_per_step`` that of optimizer steps
    from one generation. ``reward_funcs`` are further rewards, ``args.reward_weights`` their
    weights. ``coordinates`` and ``prompt_style`` are those of ``EvolvingImages``; all other
    arguments those of ``GRPOTrainer``. Raises InputError for settings that do not go together.
    """

    def __init__(
        self,
        model: Any,
        args: GRPOConfig,
        data: DataClient | None,
        *,
        reward_funcs: Sequence[Callable[..., Any]] = (),
        coordinates: ModelCoordinates | FrameOf = "pixels",
        prompt_style: PromptStyle = "full",
        **more: Any,
    ) -> None:
        check_tried_version("trl", TRIED)
        mine = None
        if data is not None:
            rules = data.method.options, data.max_depth
            mine = (*rules, data.groups_per_step, data.updates_per_step)
        options, self._max_depth, groups, updates = share(mine)
        self.method: Method = (
            data.method
            if data is not None
            else METHODS.load(options.name)(options, max(args.max_steps, 1))
        )
        _check(args, groups, updates, self.method)
        self.images = EvolvingImages(
            data, groups, coordinates=coordinates, prompt_style=prompt_style
        )
        args = _settled_arguments(args, len(reward_funcs), options.format_weight)
        self._completion_ids: list[list[int]] = []
        self._rewards = torch.empty(0)
        self._logprobs = torch.empty(0)
        self._generation: _Generation | None = None
        super().__init__(
            model=model,
            reward_funcs=[self.images.accuracy, self.images.format, *reward_funcs],
            args=args,
            train_dataset=self.images.dataset(),
            **more,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise InputError(
                "SynGRPOTrainer was never tried with FSDP or DeepSpeed; use DDP, or train with "
                "syngrpo train and trainer.sharding: full"
            )
        if self.model.config.model_type in IN_TILES:
            raise InputError(
                f"SynGRPOTrainer cannot learn descriptions with {self.model.config.model_type}, "
                "which cuts pictures into tiles; use another model, or syngrpo train"
            )

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """Keep what ``GRPOTrainer`` computes, for advantages by reward and token."""
        rewards: Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        for name, column in zip(self.reward_func_names, rewards.isinf().any(0), strict=True):
            if column:
                raise InputError(
                    f"the reward {name} is infinite for a response; let it return a finite number, "
                    "or None where it does not apply"
                )
        self._rewards, self._completion_ids = rewards, completion_ids_list
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        first = self.accelerator.process_index * len(inputs)
        responses = [
            WrittenResponse.of(self._tokenizer, ids, [math.nan] * len(ids))
            for ids in self._completion_ids
        ]
        names = [one["sample_id"] for one in inputs]
        self._generation = _Generation(
            names,
            self._rewards[first : first + len(inputs), 0].tolist(),
            responses,
            self._offered(names, responses),
        )
        output["place"] = torch.arange(len(inputs))
        output["advantages"] = self._token_advantages(first, responses, output["completion_ids"])
        return output

    def _token_advantages(
        self, first: int, responses: Sequence[WrittenResponse], completion_ids: Tensor
    ) -> Tensor:
        """Return the advantages of the local responses, (B, T). ``first`` is the place of the first
        of them among those of all processes."""
        by_response = response_advantages(
            self._rewards.cpu().numpy(), self.num_generations, self.method, self.reward_weights
        )
        parts: list[Part] = ["answer", *["response"] * (by_response.shape[1] - 1)]  # type: ignore[list-item]
        advantages = torch.zeros(completion_ids.shape)
        for place, response in enumerate(responses):
            values = by_response[first + place].tolist()
            credit = span_credit(response.scene_mask, list(zip(values, parts, strict=True)))
            advantages[place, : len(credit)] = torch.from_numpy(credit)
        return advantages.to(completion_ids.device)

    def _offered(self, names: Sequence[str], responses: Sequence[WrittenResponse]) -> set[int]:
        """Return the places of the local responses whose description may be submitted: the first
        different, well-formed ones to each sample from which images are painted."""
        limits, wanted = self.method.options.wording_limits, self.method.written_descriptions
        places: dict[str, list[int]] = {}
        for place, (name, _) in enumerate(zip(names, responses, strict=True)):
            if self.images.is_parent(name, self._max_depth):
                places.setdefault(name, []).append(place)
        offered: set[int] = set()
        for own in places.values():
            read = ((parse_response(responses[place].text, limits), place) for place in own)
            offered |= {place for _, place in islice(different_descriptions(read), wanted)}
        return offered

    def _get_per_token_logps_and_entropies(
        self, *args: Any, **more: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Keep what ``GRPOTrainer`` computes: the log-probabilities of the responses."""
        computed = super()._get_per_token_logps_and_entropies(*args, **more)
        self._logprobs = computed[0].detach()
        return computed

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        generation = self._generation
        if generation is None or not self.model.training:
            return loss
        generation.take_logprobs(inputs["place"].tolist(), self._sampling_logprobs(inputs))
        if not generation.unseen:
            self._generation = None
            settled = self._report(generation)
            if settled:
                loss = loss + self._settled_loss(settled, inputs)
        return loss

    def _sampling_logprobs(self, inputs: dict[str, Any]) -> Tensor:
        """Return the log-probabilities of a micro-batch when it was sampled, (B, T): those of vLLM
        or of TRL if there are some. Else the loss was computed with the policy that sampled."""
        for name in ("sampling_per_token_logps", "old_per_token_logps"):
            if name in inputs:
                known: Tensor = inputs[name]
                return known
        return self._logprobs

    def _report(self, generation: _Generation) -> list[Settled]:
        """Report a generation of all processes, and return those descriptions whose reward is known
        now that this process learns from. All processes call this together."""
        settled = self.images.end_step(generation.rows())
        for name, value in self.images.metrics().items():
            self._metrics["train"][name].append(value)
        return settled[self.accelerator.process_index :: self.accelerator.num_processes]

    def _settled_loss(self, settled: Sequence[Settled], inputs: dict[str, Any]) -> Tensor:
        """Return the loss of settled descriptions on the scale of TRL's loss of ``inputs``."""
        device = self.accelerator.device
        mask = inputs["completion_mask"]
        rows = mask.size(0) * self.current_gradient_accumulation_steps
        tokens: float | Tensor
        if self.loss_type == "dapo":
            window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
            everywhere = inputs["num_items_in_batch"].clamp(min=1)
            tokens = everywhere / self.accelerator.num_processes * window
        elif self.loss_type == "bnpo":
            tokens = mask.sum().clamp(min=1) * self.current_gradient_accumulation_steps
        else:
            tokens = float(rows * self.max_completion_length)
        return settled_loss(
            self._settled_logps(settled),
            _padded([one.logprobs for one in settled], device),
            _padded([one.advantages for one in settled], device),
            _padded([one.scene_mask for one in settled], device),
            self.method.options.max_ratio,
            by_response=self.loss_type == "grpo",
            divisor=rows if self.loss_type == "grpo" else tokens,
        )

    def _settled_logps(self, settled: Sequence[Settled]) -> Tensor:
        """Return the log-probabilities of settled responses under the policy, (n, T), with
        gradient. They do not pass DDP's wrapper, because not every process has some."""
        device = self.accelerator.device
        pictures = [[one.asked.picture()] for one in settled]
        texts = [
            apply_chat_template(
                {
                    "prompt": prepare_multimodal_messages(
                        self.images.conversation(one.asked), images=of_one
                    )
                },
                self.processing_class,
                **self.chat_template_kwargs,
            )["prompt"]
            for one, of_one in zip(settled, pictures, strict=True)
        ]
        prompt = self.processing_class(
            images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt"
        ).to(device)
        fields = {k: v for k, v in prompt.items() if k not in ("input_ids", "attention_mask")}
        completions = _padded([one.token_ids for one in settled], device)
        lengths = torch.tensor([[len(one.token_ids)] for one in settled], device=device)
        written = (torch.arange(completions.shape[1], device=device) < lengths).long()
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in fields:
                kinds = fields[name]
                fields[name] = torch.cat([kinds, kinds.new_zeros(completions.shape)], 1)
        scores, _, _ = self._get_per_token_logps_and_entropies(
            self.accelerator.unwrap_model(self.model),
            torch.cat([prompt["input_ids"], completions], 1),
            torch.cat([prompt["attention_mask"], written], 1),
            completions.shape[1],
            batch_size=self.args.per_device_train_batch_size,
            num_images=[1] * len(settled),
            **fields,
        )
        return scores

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.images.client is not None:
            folder = Path(self._get_output_dir(trial=trial))
            keep_state(self.images.client, folder / f"checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        loaded = load_weights(self.model if model is None else model, Path(resume_from_checkpoint))
        if not loaded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.images.client is not None:
            remedy = "resume from a checkpoint of SynGRPOTrainer"
            restore_state(self.images.client, Path(checkpoint), remedy)


def settled_loss(
    logp: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    max_ratio: float,
    *,
    by_response: bool,
    divisor: float | Tensor,
) -> Tensor:
    """Return the loss of settled descriptions, all (n, T): the sum of −w·A·log p over the tokens of
    ``mask``, with the weight w = min(r, max_ratio), where r is the ratio of the probabilities under
    the policy and when the response was sampled, without gradient.

    With ``by_response`` the sum over each response is divided by its number of tokens. The result
    is divided by ``divisor``. ``syngrpo train`` computes the same (``workflow.loss``).
    """
    mask = mask.bool()
    logp = logp.masked_fill(~mask, 0.0)
    change = (logp.detach() - old.masked_fill(~mask, 0.0)).clamp(max=math.log(max_ratio))
    each = -change.exp() * advantages * (logp - logp.detach()).exp()
    sums = each.masked_fill(~mask, 0.0).sum(-1)
    if by_response:
        sums = sums / mask.sum(-1).clamp(min=1)
    return sums.sum() / divisor


def _padded(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return pad_sequence([torch.from_numpy(one) for one in arrays], batch_first=True).to(device)


def _settled_arguments(args: GRPOConfig, rewards: int, format_weight: float) -> GRPOConfig:
    """Return the arguments with what the trainer needs: the weights of accuracy, format and the
    ``rewards`` further ones, and how the dataset is read. Raises InputError for a wrong number of
    weights."""
    given = args.reward_weights or [1.0] * rewards
    if len(given) != rewards:
        raise InputError(
            f"args.reward_weights has {len(given)} weights for {rewards} reward_funcs; accuracy "
            "and format are added by the trainer"
        )
    args, args.accelerator_config = copy(args), copy(args.accelerator_config)
    args.reward_weights = [1.0, format_weight, *given]
    args.shuffle_dataset = False
    args.ignore_data_skip = True  # a resumed run draws anew; it must not draw to skip
    args.accelerator_config.dispatch_batches = False
    return args


def _check(args: GRPOConfig, groups: int, updates: int, method: Method) -> None:
    """Raise InputError for settings that do not go together."""
    if args.max_steps <= 0:
        raise InputError("the dataset never ends; set max_steps in GRPOConfig")
    if args.dataloader_num_workers:
        raise InputError("set dataloader_num_workers to 0: the samples are drawn by the client")
    require_groups(args, groups)
    made = args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps
    if max(made, 1) != updates:
        raise InputError(
            f"each generation is used for {max(made, 1)} optimizer steps, the client counts "
            f"{updates}; set updates_per_step of the client to {max(made, 1)}"
        )
    if args.loss_type not in LOSSES:
        raise InputError(
            f"loss_type {args.loss_type} was never tried with settled descriptions; use one of "
            f"{', '.join(LOSSES)}"
        )
    for name, usual in UNUSED.items():
        if getattr(args, name) != usual:
            raise InputError(
                f"{name} {getattr(args, name)} has no effect here; leave it {usual}: the "
                "DataClient's method.advantage (group, centred, rloo) decides"
            )
    if method.options.advantage == "batch":
        raise InputError("method.advantage batch is not known here; use group, centred or rloo")
