"""Images that evolve for slime: a data source, a reward, and the hooks of a rollout.

    class Source(EvolvingSource):              # my_project/data.py
        coordinates = "0-1000"

        def open_client(self, args):
            return DataClient.open("runs/mine", samples, groups_per_step=args.rollout_batch_size, …)

    --data-source-path my_project.data.Source
    --custom-rm-path syngrpo.adapters.slime_source.reward
    --rollout-all-samples-process-path syngrpo.adapters.slime_source.end_rollout
    --custom-reward-post-process-path syngrpo.adapters.slime_source.post_process_rewards

All of them run in slime's rollout process. A rollout is one step of the client. slime has one
reward for each response, and a loss mask: the answers' reward leaves the scene out by the mask. A
settled description comes back as a response that is COMPLETED already, which slime passes through:
its mask is the scene, its reward ρ. slime wants groups of ``n_samples_per_prompt``, so settled
descriptions wait until there are as many; such a group takes the place of a prompt.

Written for slime 0.3.1 (commit 624b824, August 2026), and tried against its signatures and the
fields of its ``Sample`` alone; slime itself needs GPUs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from syngrpo.adapters.client_state import load_state
from syngrpo.adapters.held_descriptions import HeldDescriptions
from syngrpo.adapters.reward_advantages import response_advantages
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
from syngrpo.method.token_spans import decoded
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write
from syngrpo.serving.wording import one_line
from syngrpo.tasks import PromptStyle

log = logging.getLogger(__name__)

MARK = "syngrpo"
"""The key in ``Sample.metadata`` for what this module notes of a response."""
REMEMBERED_ROLLOUTS = 8
"""The samples of this many rollouts stay in memory until their responses are reported."""
_PROMPT_KEYS = ("input_ids", "attention_mask")
"""What a processor returns beside the picture."""

_current: EvolvingSource | None = None


class EvolvingSource:
    """A ``--data-source-path``. A subclass says how the client is opened.

    ``coordinates`` are those in which the model writes boxes, or a function that returns them for a
    sample; ``prompt_style`` is "brief" for a model that knows the response format.
    """

    coordinates: ClassVar[ModelCoordinates | FrameOf] = "pixels"
    prompt_style: ClassVar[PromptStyle] = "full"

    def __init__(self, args: Any) -> None:
        global _current
        from transformers import AutoProcessor

        _check(args)
        self.args = args
        self.client = self.open_client(args)
        self.processor: Any = AutoProcessor.from_pretrained(args.hf_checkpoint)
        self._drawn: dict[str, DrawnSample] = {}
        self._held = HeldDescriptions()
        self._returned: list[list[Any]] = []
        self._groups = 0
        self._samples = 0
        _current = self

    def open_client(self, args: Any) -> DataClient:
        """Return the client of the run. ``args`` are slime's arguments."""
        raise NotImplementedError("write a subclass of EvolvingSource with open_client")

    def get_samples(self, num_samples: int) -> list[list[Any]]:
        """Return groups of slime's Samples: first those that slime has given back, then one of
        settled descriptions if there are enough, then new ones."""
        groups = self._returned[:num_samples]
        del self._returned[:num_samples]
        if len(groups) < num_samples and (
            settled := self._held.take(self.args.n_samples_per_prompt)
        ):
            groups.append(self._settled_group(settled))
        if missing := num_samples - len(groups):
            groups += [self._new_group(sample) for sample in self.client.draw(missing)]
        return groups

    def add_samples(self, samples: list[list[Any]]) -> None:
        """Take back groups that were not finished."""
        self._returned += samples

    def save(self, rollout_id: int) -> None:
        """Save the client's state below ``args.save``."""
        path = _state_path(self.args.save, rollout_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(self._state()))

    def load(self, rollout_id: int | None = None) -> None:
        """Restore the client's state from ``args.load``, if there is one of this rollout. Raises
        InputError when it cannot be read."""
        if self.args.load is None:
            return
        path = _state_path(self.args.load, rollout_id)
        if not path.exists():
            if rollout_id is not None and rollout_id >= 0:
                log.warning("there is no %s; the client begins with its first step", path)
            return
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            groups, samples = int(state["groups"]), int(state["samples"])
            client, held = state["client"], state["held"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read ({one_line(error)}); load an earlier rollout, or move the "
                "file away, so that the client begins with its first step"
            ) from None
        load_state(self.client, client, path)
        self._held.load_state_dict(held, self.client)
        self._groups, self._samples = groups, samples

    def __len__(self) -> int:
        """The number of seeds, by which slime counts epochs."""
        return self.client.pool_stats().seed

    def scored(self, sample: Any) -> dict[str, Any]:
        """Return the note of a response: its accuracy and format. Raises InputError for a sample of
        another source, such as one for evaluation."""
        drawn = self._drawn_by(sample)
        # The text in sample.response may end with the end token, which the format does not allow.
        parsed = parse_response(decoded(self.processor.tokenizer, np.asarray(_written_ids(sample))))
        accuracy = drawn.scored(parsed.answer, type(self).coordinates).accuracy
        return {"sample": drawn.id, "accuracy": accuracy, "format": format_reward(parsed)}

    def end_rollout(self, groups: Sequence[Sequence[Any]]) -> None:
        """Report the groups of a rollout to the client, and take the descriptions that it has
        settled. A group with a response that was not scored, because it was aborted, is left out:
        its sample is drawn again."""
        # Of a sample that was drawn again because its group was given back, the first group counts.
        fresh: dict[str, tuple[Sequence[Any], list[WrittenResponse]]] = {}
        for group in groups:
            if all("accuracy" in (one.metadata or {}).get(MARK, ()) for one in group):
                name = self._drawn_by(group[0]).id
                responses = [self._written(one) for one in group]
                _leave_out_descriptions(group, responses)
                fresh.setdefault(name, (group, responses))
        for name, (group, _) in fresh.items():
            accuracies = [one.metadata[MARK]["accuracy"] for one in group]
            self.client.observe(self._drawn[name], accuracies)
        for name, (_, responses) in fresh.items():
            self.client.submit(self._drawn.pop(name), responses)
        self._held.add(self.client.outcomes())

    def _drawn_by(self, sample: Any) -> DrawnSample:
        """Return the drawn sample that a response of slime answers."""
        name = (sample.metadata or {}).get(MARK, {}).get("sample")
        if name not in self._drawn:
            raise InputError(
                f"a response is to {name or 'a sample of another source'}, which was not drawn in "
                f"the last {REMEMBERED_ROLLOUTS} rollouts; use the reward with this data source "
                "alone, and measure a checkpoint with syngrpo evaluate"
            )
        return self._drawn[name]

    def _written(self, sample: Any) -> WrittenResponse:
        if sample.rollout_log_probs is None:
            raise InputError("slime gave no rollout_log_probs; its sampling must return them")
        ids = _written_ids(sample)
        return WrittenResponse.of(self.processor.tokenizer, ids, sample.rollout_log_probs)

    def _new_group(self, drawn: DrawnSample) -> list[Any]:
        self._drawn[drawn.id] = drawn
        while len(self._drawn) > REMEMBERED_ROLLOUTS * self.args.rollout_batch_size:
            del self._drawn[next(iter(self._drawn))]  # drawn for a group that was given up
        note = {MARK: {"sample": drawn.id}}
        made = [self._sample(drawn, dict(note)) for _ in range(self.args.n_samples_per_prompt)]
        self._groups += 1
        return made

    def _settled_group(self, taken: Sequence[Settled]) -> list[Any]:
        group = []
        for settled in taken:
            value = settled.weight * settled.reward
            sample = self._sample(settled.asked, {MARK: {"settled": value}})
            inputs = self.processor(
                text=sample.prompt, images=[settled.asked.picture()], return_tensors="pt"
            )
            ids = settled.token_ids.tolist()
            sample.tokens = inputs["input_ids"][0].tolist() + ids
            sample.multimodal_train_inputs = {
                name: value for name, value in inputs.items() if name not in _PROMPT_KEYS
            }
            sample.response = self.processor.tokenizer.decode(ids, skip_special_tokens=True)
            sample.response_length = len(ids)
            sample.rollout_log_probs = settled.logprobs.tolist()
            sample.loss_mask = settled.scene_mask.astype(int).tolist()
            sample.reward = value
            sample.status = type(sample).Status.COMPLETED
            group.append(sample)
        self._groups += 1
        return group

    def _sample(self, asked: SampleAccess, metadata: dict[str, Any]) -> Any:
        from slime.utils.types import Sample

        content = [{"type": "image"}, {"type": "text", "text": asked.prompt(self.prompt_style)}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        self._samples += 1
        return Sample(
            group_index=self._groups,
            index=self._samples - 1,
            prompt=prompt,
            multimodal_inputs={"images": [asked.picture()]},
            metadata=metadata,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "groups": self._groups,
            "samples": self._samples,
            "client": as_lists(self.client.state_dict()),
            "held": self._held.state_dict(),
        }


async def reward(args: Any, sample: Any, **_: Any) -> float:
    """``--custom-rm-path``: the accuracy of a response, and its format with the method's weight."""
    source = _source()
    note = source.scored(sample)
    sample.metadata[MARK] = note
    weight = source.client.method.options.format_weight
    return float(note["accuracy"] + weight * note["format"])


def end_rollout(args: Any, all_samples: Sequence[Sequence[Any]], data_source: Any) -> None:
    """``--rollout-all-samples-process-path``: report a rollout. ``data_source`` is the source, or
    its ``get_samples``, which is what slime 0.3.1 passes."""
    source = getattr(data_source, "__self__", data_source)
    source.end_rollout(all_samples)


def post_process_rewards(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
    """``--custom-reward-post-process-path``: return the rewards and the advantages: those of the
    method within each group, and ρ of settled descriptions as it is."""
    method = _source().client.method
    raw = [float(sample.reward) for sample in samples]
    advantages = [0.0] * len(samples)
    places: dict[int, list[int]] = {}
    for place, sample in enumerate(samples):
        note = sample.metadata[MARK]
        if "settled" in note:
            advantages[place] = float(note["settled"])
        else:
            places.setdefault(sample.group_index, []).append(place)
    for group in places.values():
        notes = [samples[place].metadata[MARK] for place in group]
        rewards = np.array([[note["accuracy"], note["format"]] for note in notes])
        weights = 1.0, method.options.format_weight
        by_reward = response_advantages(rewards, len(group), method, weights)
        for place, value in zip(group, by_reward.sum(axis=1), strict=True):
            advantages[place] = float(value)
    return raw, advantages


def _check(args: Any) -> None:
    """Raise InputError for options of slime that need more of a sample than descriptions have."""
    if getattr(args, "rollout_top_p", 1.0) != 1.0:
        raise InputError(
            "slime would need the top-p sets of settled descriptions, which are not stored; leave "
            "--rollout-top-p at 1"
        )
    if getattr(args, "use_rollout_routing_replay", False):
        raise InputError(
            "slime would need the routed experts of settled descriptions, which are not stored; "
            "leave out --use-rollout-routing-replay"
        )


def _written_ids(sample: Any) -> list[int]:
    """Return the tokens of a response, without its prompt."""
    return list(sample.tokens[len(sample.tokens) - sample.response_length :])


def _leave_out_descriptions(group: Sequence[Any], responses: Sequence[WrittenResponse]) -> None:
    """Take the descriptions of a group out of its loss masks, which may have left out tokens
    already: those that an older policy wrote."""
    for one, response in zip(group, responses, strict=True):
        kept = np.ones(len(response.scene_mask), bool) if one.loss_mask is None else one.loss_mask
        one.loss_mask = (np.asarray(kept, bool) & ~response.scene_mask).astype(int).tolist()


def _source() -> EvolvingSource:
    if _current is None:
        raise InputError(
            "no data source is open; give slime --data-source-path with a subclass of "
            "syngrpo.adapters.slime_source.EvolvingSource"
        )
    return _current


def _state_path(folder: str, rollout_id: int | None) -> Path:
    return Path(folder) / "rollout" / f"syngrpo_{rollout_id}.json"
