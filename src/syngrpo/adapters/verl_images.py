"""Images that evolve for verl: a dataset, an agent loop, a sampler, and an advantage estimator.

    class Images(EvolvingDataset):             # my_project/images.py
        coordinates = "0-1000"

        @classmethod
        def open_client(cls, config):
            return DataClient.open("runs/mine", samples, groups_per_step=config.train_batch_size, …)

    data.custom_cls.path=pkg://my_project.images data.custom_cls.name=Images
    trainer.v1.sampler.custom_sampler.path=pkg://syngrpo.adapters.verl_images
    trainer.v1.sampler.custom_sampler.name=EvolvingReplayBuffer
    algorithm.adv_estimator=syngrpo

In the order of a step:

1. The dataset, in the trainer's process, draws the samples of a batch. One of its rows is a group
   of settled descriptions if there are enough of them.
2. The agent loop, in verl's workers, samples a response and scores it. The loss mask leaves its
   description out. A settled description is not sampled: it comes back as it was written, with ρ as
   its reward, and its loss mask is the description.
3. The sampler, in the trainer's process, takes the finished batch and reports it to the client: a
   step of the client. It keeps the settled descriptions for the dataset. It gives each of those in
   the batch a group of its own, so that no estimator compares them with each other.
4. The estimator gives a settled description ρ as its advantage, and the other responses those of
   the method: accuracy and format, each normalised by itself. The estimator ``grpo`` of verl works,
   too; it normalises their sum.

verl keeps the state of its dataset in ``data.pt`` of a checkpoint; the client's is in it.

Written for the trainer of verl 0.9 (``trainer.use_v1``) in its mode ``sync``, where every batch is
drawn as a whole and finished before the next one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import transfer_queue as tq
from torch import Tensor
from torch.utils.data import Dataset
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tensordict_utils import get_tensordict

from syngrpo.adapters.held_descriptions import HeldDescriptions
from syngrpo.adapters.reward_advantages import response_advantages
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.data_server.client import (
    DataClient,
    DrawnSample,
    ModelCoordinates,
    Settled,
    WrittenResponse,
    as_lists,
)
from syngrpo.data_server.drawn_sample import FrameOf, SampleAccess
from syngrpo.method.response import format_reward, parse_response
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle

TRIED = "0.9"
"""The version of verl that this was tried with."""
NAME = "syngrpo"
"""The name of the agent loop, of the advantage estimator, and of the column of a row's sample."""
_SETTLED = "settled-"
"""What the group of a settled description begins with."""

_current: EvolvingDataset | None = None


@dataclass(frozen=True, eq=False)
class AskedGroup:
    """What a row of the dataset asks for: the responses to a sample, or ``settled`` descriptions,
    one for each response of the group. ``format_weight`` is that of the method."""

    sample: DrawnSample | None
    settled: Sequence[Settled] = ()
    format_weight: float = 0.0


@dataclass(frozen=True, eq=False)
class ScoredResponse:
    """What the agent loop notes of a response to a sample; of a settled description it notes the id
    of its job. ``group_size`` is ``rollout.n``."""

    group_size: int
    sample_id: str
    accuracy: float
    format: float
    response: WrittenResponse


class EvolvingDataset(Dataset[dict[str, Any]]):
    """A ``data.custom_cls``. A subclass says how the client is opened.

    ``coordinates`` are those in which the model writes boxes, or a function that returns them for a
    sample; ``prompt_style`` is "brief" for a model that knows the response format. verl makes a
    second dataset for validation; it has no rows that can be read.
    """

    coordinates: ClassVar[ModelCoordinates | FrameOf] = "pixels"
    prompt_style: ClassVar[PromptStyle] = "full"

    def __init__(self, data_files: Any, tokenizer: Any, processor: Any, config: Any, **_: Any):
        global _current
        check_tried_version("verl", TRIED)
        self.config = config
        self.tokenizer = tokenizer
        self.client: DataClient | None = None
        if _current is not None and _current.config is config:
            return  # for validation
        _check(config)
        self.client = self.open_client(config)
        if self.client.groups_per_step != config.train_batch_size:
            raise InputError(
                f"data.train_batch_size is {config.train_batch_size}, the client draws "
                f"{self.client.groups_per_step}; set groups_per_step of the client to "
                f"{config.train_batch_size}"
            )
        self.held = HeldDescriptions()
        self._group_size = 0
        self._asked: dict[str, DrawnSample] = {}
        self._returned: list[Settled] = []
        _current = self

    @classmethod
    def open_client(cls, config: Any) -> DataClient:
        """Return the client of the run. ``config`` is verl's section ``data``."""
        raise NotImplementedError("write a subclass of EvolvingDataset with open_client")

    @classmethod
    async def process_multi_modal_info(cls, messages: list[dict[str, Any]], **more: Any) -> Any:
        """Return the pictures of messages, as verl's own dataset does."""
        return await RLHFDataset.process_multi_modal_info(messages, **more)

    def __len__(self) -> int:
        """The number of seeds, by which verl counts epochs."""
        return self.client.pool_stats().seed if self.client is not None else 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Draw a batch. Its last row is a group of settled descriptions if there are enough."""
        if self.client is None:
            raise InputError(
                "validation would draw from the training images; set "
                "trainer.val_before_train=False and trainer.test_freq=-1, and measure a checkpoint "
                "with syngrpo evaluate"
            )
        if len(indices) != self.config.train_batch_size:
            raise InputError(
                "verl fetches single prompts, but a step is drawn as a whole; leave out "
                "algorithm.filter_groups and trainer.v1.sampler.sync_refill_failed_groups"
            )
        self._forget()
        self._returned = self.held.take(self._group_size) if self._group_size else []
        groups = [AskedGroup(None, self._returned)] if self._returned else []
        drawn = self.client.draw(len(indices) - len(groups))
        self._asked = {sample.id: sample for sample in drawn}
        weight = self.client.method.options.format_weight
        asked = [AskedGroup(sample, format_weight=weight) for sample in drawn] + groups
        return [self._row(index, one) for index, one in zip(indices, asked, strict=True)]

    def end_step(self, batch: Any) -> dict[str, float]:
        """Report a batch of verl's trajectories to the client, and return numbers for the log."""
        assert self.client is not None
        found = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        notes = [fields[NAME] for fields in list(found["extra_fields"])]
        fresh, settled = _split(batch.keys, notes)
        if settled:
            here = set(settled.values())
            self._returned = [one for one in self._returned if one.pending.job_id not in here]
            own = np.array([f"{_SETTLED}{key}" for key in settled], dtype=object)
            _put(batch, list(settled), {"uid": own})
        if fresh:
            weight = self.client.method.options.format_weight
            rewards = [_two_rewards(note, weight) for note in fresh.values()]
            nested = torch.nested.as_nested_tensor(rewards, layout=torch.jagged)
            _put(batch, list(fresh), {"rm_scores": nested})
        numbers = self._report(fresh.values())
        self._forget()
        return numbers

    def _report(self, notes: Iterable[ScoredResponse]) -> dict[str, float]:
        """Report the responses of a step, and keep the descriptions that it settles."""
        assert self.client is not None
        groups: dict[str, list[ScoredResponse]] = {}
        for note in notes:
            groups.setdefault(note.sample_id, []).append(note)
        groups = {name: group for name, group in groups.items() if len(group) > 1}
        for name, group in groups.items():
            self.client.observe(self._asked[name], [one.accuracy for one in group])
        for name, group in groups.items():
            self.client.submit(self._asked[name], [one.response for one in group])
            self._group_size = group[0].group_size
        self.held.add(self.client.outcomes())
        return self.client.stats().metrics() | {"synthesis/held": len(self.held)}

    def state_dict(self) -> dict[str, Any]:
        """Return the client's state, for verl's checkpoint of its data loader."""
        if self.client is None:
            return {}
        return {
            "client": as_lists(self.client.state_dict()),
            "held": self.held.state_dict(),
            "group_size": self._group_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        if self.client is not None and state:
            self.client.load_state_dict(state["client"])
            self.held.load_state_dict(state["held"], self.client)
            self._group_size = state["group_size"]

    def _forget(self) -> None:
        """Keep the settled descriptions of the last batch that did not come back."""
        self.held.put_back(self._returned)
        self._returned = []
        self._asked = {}

    def _row(self, index: int, asked: AskedGroup) -> dict[str, Any]:
        """Return a row as verl's own dataset makes it. The picture is in ``asked`` alone."""
        shown = asked.sample if asked.sample is not None else asked.settled[0].asked
        return {
            "raw_prompt": [{"role": "user", "content": shown.question}],
            "agent_name": NAME,
            "data_source": shown.task,
            "index": index,
            "dummy_tensor": torch.zeros(1, dtype=torch.uint8),
            NAME: asked,
        }


@register(NAME)
class EvolvingAgentLoop(SingleTurnAgentLoop):
    """Samples one response to a drawn sample, and scores it."""

    async def run(
        self, sampling_params: dict[str, Any], priority: int = 0, **row: Any
    ) -> AgentLoopOutput:
        """Return the response, or the settled description of this place in its group."""
        asked: AskedGroup = row[NAME]
        if asked.sample is None:
            return await self._returned(asked.settled[row["session_id"]])
        sample = asked.sample
        output: AgentLoopOutput = await super().run(
            sampling_params, priority=priority, raw_prompt=self._messages(sample)
        )
        if output.response_logprobs is None:
            raise InputError(
                "verl gave no log-probabilities; set "
                "actor_rollout_ref.rollout.calculate_log_probs=True"
            )
        written = WrittenResponse.of(self.tokenizer, output.response_ids, output.response_logprobs)
        parsed = parse_response(written.text)
        accuracy = sample.scored(parsed.answer, self.dataset_cls.coordinates).accuracy
        scored = ScoredResponse(
            self.rollout_config.n, sample.id, accuracy, format_reward(parsed), written
        )
        output.response_mask = [
            int(kept and not scene)
            for kept, scene in zip(output.response_mask, written.scene_mask, strict=True)
        ]
        output.reward_score = accuracy + asked.format_weight * scored.format
        output.extra_fields = output.extra_fields | {
            NAME: asdict(scored),
            "reward_extra_info": {"accuracy": accuracy, "format": scored.format},
        }
        return output

    async def _returned(self, settled: Settled) -> AgentLoopOutput:
        messages = self._messages(settled.asked)
        pictures = await self.process_multi_modal_info(messages)
        version = settled.pending.policy_version
        return AgentLoopOutput(
            prompt_ids=await self.ct_build_initial_tokens(messages, images=pictures["images"]),
            response_ids=settled.token_ids.tolist(),
            response_mask=settled.scene_mask.astype(int).tolist(),
            response_logprobs=settled.logprobs.tolist(),
            routed_experts=None,
            multi_modal_data=pictures,
            mm_processor_kwargs=self._get_mm_processor_kwargs(),
            mm_processor_output=None,
            reward_score=settled.weight * settled.reward,
            num_turns=2,
            metrics={"generate_sequences": 0.0},
            extra_fields={
                "turn_scores": [],
                "tool_rewards": [],
                "min_global_steps": version,
                "max_global_steps": version,
                "reward_extra_info": {"accuracy": math.nan, "format": math.nan},
                NAME: settled.pending.job_id,
            },
        )

    def _messages(self, asked: SampleAccess) -> list[dict[str, Any]]:
        text = asked.prompt(self.dataset_cls.prompt_style)
        content = [{"type": "image", "image": asked.picture()}, {"type": "text", "text": text}]
        return [{"role": "user", "content": content}]


class EvolvingReplayBuffer(ReplayBuffer):
    """A ``trainer.v1.sampler.custom_sampler``: reports each batch that the trainer takes."""

    def __init__(self, trainer_mode: str, *args: Any, **more: Any) -> None:
        if trainer_mode != "sync":
            raise InputError(
                f"images that evolve were never tried with trainer.v1.trainer_mode={trainer_mode}, "
                "which draws single samples ahead; set it to sync"
            )
        super().__init__(trainer_mode, *args, **more)

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, Any]:
        """Return the batch of verl's own sampler, and the client's numbers beside its metrics."""
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if partition_id == "train":
            metrics = {**metrics, **_dataset().end_step(batch)}
        return batch, metrics


@register_adv_est(NAME)
def method_advantages(
    token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[str], **_: Any
) -> tuple[Tensor, Tensor]:
    """``algorithm.adv_estimator``: return the advantages of the tokens, (B, T), twice: verl wants
    returns, too.

    ``token_level_rewards`` (B, T) hold the weighted format of a response at its first token and its
    accuracy at the last (``EvolvingDataset.end_step``). ``index`` names the group of each.
    """
    client = _dataset().client
    assert client is not None
    weight = client.method.options.format_weight
    rewards = token_level_rewards.double().cpu().numpy()
    form, total = rewards[:, 0], rewards.sum(axis=1)
    advantages = np.zeros(len(rewards), np.float32)
    places: dict[str, list[int]] = {}
    for place, name in enumerate(index):
        if str(name).startswith(_SETTLED):
            advantages[place] = total[place]
        else:
            places.setdefault(str(name), []).append(place)
    for group in places.values():
        both = np.stack([total[group] - form[group], form[group] / (weight or 1.0)], axis=1)
        by_reward = response_advantages(both, len(group), client.method, (1.0, weight))
        advantages[group] = by_reward.sum(axis=1)
    spread = torch.from_numpy(advantages).to(response_mask.device)[:, None] * response_mask
    return spread, spread


def _dataset() -> EvolvingDataset:
    if _current is None:
        raise InputError(
            "no dataset draws samples; set data.custom_cls to a subclass of "
            "syngrpo.adapters.verl_images.EvolvingDataset"
        )
    return _current


def _split(
    keys: Sequence[str], notes: Sequence[dict[str, Any] | str]
) -> tuple[dict[str, ScoredResponse], dict[str, str]]:
    """Return by key the notes of the responses to samples, and the jobs of settled descriptions.

    verl has made plain values of the notes.
    """
    fresh: dict[str, ScoredResponse] = {}
    settled: dict[str, str] = {}
    for key, note in zip(keys, notes, strict=True):
        if isinstance(note, str):
            settled[key] = note
        else:
            response = WrittenResponse(**note["response"])
            fresh[key] = ScoredResponse(**note | {"response": response})
    return fresh, settled


def _put(batch: Any, keys: Sequence[str], fields: dict[str, Any]) -> None:
    """Write fields of some trajectories of a batch."""
    tq.kv_batch_put(keys=list(keys), partition_id=batch.partition_id, fields=get_tensordict(fields))


def _two_rewards(note: ScoredResponse, format_weight: float) -> Tensor:
    """Return the rewards of the tokens of a response, (L,), as ``method_advantages`` reads them."""
    rewards = torch.zeros(len(note.response.token_ids))
    if len(rewards):
        rewards[-1] += note.accuracy
        rewards[0] += format_weight * note.format
    return rewards


def _check(config: Any) -> None:
    """Raise InputError for options of verl's section ``data`` that do not go together with images
    that evolve."""
    if config.get("dataloader_num_workers", 0):
        raise InputError(
            "set data.dataloader_num_workers=0: the samples are drawn in the trainer's process"
        )
    drawn = config.get("gen_batch_size", None) or config.train_batch_size
    if drawn != config.train_batch_size:
        raise InputError(
            f"data.gen_batch_size is {drawn}, but a batch is drawn as a whole; leave it out"
        )
