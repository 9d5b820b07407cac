"""Syn-GRPO in TRL: ``SynGRPOTrainer``, a ``GRPOTrainer`` that also rewards descriptions.

What it changes, in the order of a step:

1. The dataset is ``trl_data.EvolvingImages``, and accuracy and format are its first two rewards.
2. Advantages have one value for each token: those of accuracy on all tokens outside of the scene,
   those of format and of further rewards on all. Each reward is normalised by itself.
3. When the responses are scored, the main process reports them to the client. It gets back the
   descriptions of earlier steps whose reward is known.
4. The loss of these is added to the first micro-batch of the step: responses of their own, with
   ρ on the tokens of their scene (``settled_loss``).

Everything else is TRL's: sampling, the loss of the responses, KL, optimizer, logs. Its KL term has
one weight, ``beta``, for all tokens. Descriptions wear out without one, so ``beta`` should be 0.04.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import apply_chat_template, prepare_multimodal_messages
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from syngrpo.adapters.reward_advantages import response_advantages
from syngrpo.adapters.shared_images import ScoredRow, share
from syngrpo.adapters.trainer_checkpoints import keep_state, load_weights, restore_state
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.adapters.trl_data import EvolvingImages
from syngrpo.data_server.client import (
    DataClient,
    ModelCoordinates,
    Settled,
    WrittenResponse,
)
from syngrpo.data_server.drawn_sample import FrameOf
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
        _settle_arguments(args, len(reward_funcs), options.format_weight)
        self._completion_ids: list[list[int]] = []
        self._rewards = torch.empty(0)
        self._settled: list[Settled] = []
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

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """Keep what ``GRPOTrainer`` computes, for advantages by reward and token."""
        rewards: Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        self._rewards, self._completion_ids = rewards, completion_ids_list
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        written = self._written(output, inputs)
        first = self.accelerator.process_index * len(inputs)
        rows = [
            ScoredRow(one["sample_id"], float(accuracy), response)
            for one, accuracy, response in zip(
                inputs, self._rewards[first : first + len(inputs), 0], written, strict=True
            )
        ]
        settled = self.images.end_step(rows)
        self._settled = settled[self.accelerator.process_index :: self.accelerator.num_processes]
        for name, value in self.images.metrics().items():
            self._metrics["train"][name].append(value)
        output["advantages"] = self._token_advantages(first, output["completion_ids"])
        return output

    def _token_advantages(self, first: int, completion_ids: Tensor) -> Tensor:
        """Return the advantages of the local responses, (B, T). ``first`` is the place of the first
        of them among those of all processes."""
        by_response = response_advantages(
            self._rewards.cpu().numpy(), self.num_generations, self.method, self.reward_weights
        )
        parts: list[Part] = ["answer", *["response"] * (by_response.shape[1] - 1)]  # type: ignore[list-item]
        advantages = torch.zeros(completion_ids.shape)
        for place, ids in enumerate(self._completion_ids):
            values = by_response[first + place].tolist()
            credit = span_credit(self._scene_mask(ids), list(zip(values, parts, strict=True)))
            advantages[place, : len(ids)] = torch.from_numpy(credit)
        return advantages.to(completion_ids.device)

    def _scene_mask(self, ids: Sequence[int]) -> np.ndarray:
        unknown = [math.nan] * len(ids)
        return WrittenResponse.of(self._tokenizer, ids, unknown).scene_mask

    def _written(
        self, output: dict[str, Any], inputs: Sequence[dict[str, Any]]
    ) -> list[WrittenResponse | None]:
        """Return those local responses whose description may be submitted, with their
        log-probabilities under the policy that sampled them; None for the others."""
        wanted = self.method.written_descriptions
        limits = self.method.options.wording_limits
        places: list[int] = []
        taken: dict[str, int] = {}
        for place, (one, ids) in enumerate(zip(inputs, self._completion_ids, strict=True)):
            name = one["sample_id"]
            if taken.get(name, 0) == wanted or not self.images.is_parent(name, self._max_depth):
                continue
            response = WrittenResponse.of(self._tokenizer, ids, [math.nan] * len(ids))
            if parse_response(response.text, limits).well_formed:
                taken[name] = taken.get(name, 0) + 1
                places.append(place)
        written: list[WrittenResponse | None] = [None] * len(inputs)
        if places:
            for place, scores in zip(places, self._sampling_logps(output, places), strict=True):
                ids = self._completion_ids[place]
                known = scores[: len(ids)].tolist()
                written[place] = WrittenResponse.of(self._tokenizer, ids, known)
        return written

    def _sampling_logps(self, output: dict[str, Any], places: list[int]) -> Tensor:
        """Return the log-probabilities of these local responses when they were sampled, (n, T):
        those of vLLM or of TRL if there are some, else computed now, before any update."""
        for name in ("sampling_per_token_logps", "old_per_token_logps"):
            if name in output:
                return output[name][places].cpu()
        split = split_pixel_values_by_grid(output)
        size = len(output["prompt_ids"])
        chosen = {
            name: _rows_of(value, places)
            for name, value in split.items()
            if not isinstance(value, Tensor) or (value.ndim and len(value) == size)
        }
        rows = unsplit_pixel_values_by_grid(chosen)
        ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], 1)
        mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], 1)
        fields = {name: value for name, value in rows.items() if name not in _NO_FIELDS}
        with torch.no_grad():
            scores, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                mask,
                rows["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                **fields,
            )
        return scores.cpu()

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        if self._settled and self.model.training:
            settled, self._settled = self._settled, []
            loss = loss + self._settled_loss(settled, inputs)
        return loss

    def _settled_loss(self, settled: Sequence[Settled], inputs: dict[str, Any]) -> Tensor:
        """Return the loss of settled descriptions on the scale of TRL's loss of ``inputs``."""
        device = self.accelerator.device
        mask = inputs["completion_mask"]
        rows = mask.size(0) * self.current_gradient_accumulation_steps
        tokens: float | Tensor
        if self.loss_type == "dapo":
            window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
            tokens = inputs["num_items_in_batch"] / self.accelerator.num_processes * window
        elif self.loss_type == "bnpo":
            tokens = mask.sum() * self.current_gradient_accumulation_steps
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


_NO_FIELDS = frozenset(
    (
        *("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages"),
        *("ref_per_token_logps", "importance_sampling_ratio", "tool_mask"),
    )
)
"""Entries of TRL's output that are not about the picture."""


def _rows_of(value: Any, places: list[int]) -> Any:
    return value[places] if isinstance(value, Tensor) else [value[place] for place in places]


def _padded(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return pad_sequence([torch.from_numpy(one) for one in arrays], batch_first=True).to(device)


def _settle_arguments(args: GRPOConfig, rewards: int, format_weight: float) -> None:
    """Set what the trainer needs: the weights of accuracy, format and the ``rewards`` further ones,
    and how the dataset is read. Raises InputError for a wrong number of weights."""
    given = args.reward_weights or [1.0] * rewards
    if len(given) != rewards:
        raise InputError(
            f"args.reward_weights has {len(given)} weights for {rewards} reward_funcs; accuracy "
            "and format are added by the trainer"
        )
    args.reward_weights = [1.0, format_weight, *given]
    args.shuffle_dataset = False
    args.ignore_data_skip = True  # a resumed run draws anew; it must not draw to skip
    args.accelerator_config.dispatch_batches = False


def _check(args: GRPOConfig, groups: int, updates: int, method: Method) -> None:
    """Raise InputError for settings that do not go together."""
    if args.max_steps <= 0:
        raise InputError("the dataset never ends; set max_steps in GRPOConfig")
    if args.dataloader_num_workers:
        raise InputError("set dataloader_num_workers to 0: the samples are drawn by the client")
    drawn = args.generation_batch_size // args.num_generations
    if drawn != groups:
        raise InputError(
            f"a generation batch of {args.generation_batch_size} responses with "
            f"num_generations {args.num_generations} has {drawn} prompts, the client draws "
            f"{groups}; set groups_per_step of the client to {drawn}"
        )
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
    if method.options.advantage == "batch":
        raise InputError("method.advantage batch is not known here; use group, centred or rloo")
