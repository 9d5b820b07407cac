"""The vLLM engine: samples with vLLM in this process and on its device.

The process is a trainer's or a rollout server's. Each process of a trainer has an engine of its own
for its own prompts. Before every rollout the weights are copied from the trained model into vLLM's
model; no checkpoint is written. vLLM samples from the same distribution as the native engine
(``compat_vllm.RolloutWorker``), with random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch

from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import split_family
from syngrpo.policy.model import Policy
from syngrpo.rollout.base import (
    Engine,
    Response,
    SampledTokens,
    distinct_responses,
    group_responses,
    parts_by_stop,
    require_room,
    require_seeds,
)
from syngrpo.rollout.compat_vllm import (
    is_only_process,
    multimodal_input,
    prompt_and_index,
    request_name,
    sampling_params,
    start_engine,
)
from syngrpo.rollout.rollout_options import RolloutOptions
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.weight_stream import checkpoint_pieces
from syngrpo.sample import InputError
from syngrpo.serving.timeline import traced

VISION_BASE = 10_000.0
"""The base of the vision tower's rotary angles in all published models, and always in vLLM."""


@dataclass(eq=False)
class _Unfinished:
    """A prompt of which ``count`` responses are being sampled, by vLLM's ``requests``. Those that
    are ``sampled`` have their index as key."""

    count: int
    requests: list[str] = field(default_factory=list)
    sampled: dict[int, SampledTokens] = field(default_factory=dict)


class VllmEngine(Engine):
    """vLLM as an ``Engine``, and as the ``IncrementalEngine`` of a rollout server.

    Prompt, weights and seed determine the responses, but they differ from the native engine's.
    Log-probabilities and entropies are computed from vLLM's own forward pass. The responses to a
    prompt that end at a text are a request of their own, whose seeds are those that they would have
    in one request for all.
    """

    def __init__(self, policy: Policy, options: RolloutOptions) -> None:
        """Start vLLM. Raises InputError when it is not installed, and for a model that can only be
        called whole."""
        require_vllm()
        split_family(policy)
        context = policy.base.config.text_config.max_position_embeddings
        self.max_length = min(options.vllm_max_length, context)
        cache_bytes = round(options.vllm_cache_gib * 2**30)
        self._engine = start_engine(policy, cache_bytes, self.max_length)
        self._last_number = 0
        self._entropies: dict[tuple[int, int], list[float]] = {}
        self._unfinished: dict[int, _Unfinished] = {}
        base = policy.base.config.vision_config.rope_parameters["rope_theta"]
        if base != VISION_BASE:
            self._engine.collective_rpc("set_vision_base", args=(base,))

    @classmethod
    def check(cls, options: RolloutOptions) -> None:
        super().check(options)
        require_vllm()

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        require_seeds(prompts, seeds)
        for prompt in prompts:
            require_room(policy, prompt, sampling, self.max_length, "rollout.vllm_max_length")
        self.load_weights(
            (name, tensor) for piece in checkpoint_pieces(policy) for name, tensor in piece.items()
        )
        self.begin(policy, sampling.temperature)
        count = distinct_responses(sampling, group_size)
        numbers = [
            self.add(policy, prompt, sampling, count, seed)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        groups: dict[int, list[SampledTokens]] = {}
        while len(groups) < len(numbers):
            groups |= self.step()
        in_order = [groups[number] for number in numbers]
        return group_responses(policy, prompts, in_order, group_size, sampling)

    @traced("load weights")
    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Load the new weights into vLLM and clear its prefix and encoder caches, which hold values
        of the old ones."""
        self._engine.collective_rpc("take_weights", args=(weights,))
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM still works on a prompt, so its weights cannot be replaced")

    def begin(self, policy: Policy, temperature: float) -> None:
        self._entropies = {}
        self._engine.collective_rpc("begin_rollout", args=(policy.banned, temperature))

    def add(self, policy: Policy, prompt: Prompt, sampling: Sampling, count: int, seed: int) -> int:
        self._last_number += 1
        number, image = self._last_number, str(self._last_number)
        unfinished = self._unfinished[number] = _Unfinished(count)
        for first, size, stop_at in parts_by_stop(prompt, sampling, count):
            name = request_name(number, first)
            params = sampling_params(policy, sampling, size, seed + first, stop_at)
            self._engine.add_request(name, multimodal_input(policy, prompt, image), params)
            unfinished.requests.append(name)
        return number

    def step(self) -> dict[int, list[SampledTokens]]:
        finished = self._engine.step()
        if not finished:
            return {}
        (entropies,) = self._engine.collective_rpc("take_entropies")
        for name, values in entropies.items():
            self._entropies.setdefault(prompt_and_index(name), []).extend(values)
        groups: dict[int, list[SampledTokens]] = {}
        for part in finished:
            number, first = prompt_and_index(part.request_id)
            unfinished = self._unfinished[number]
            for one in part.outputs:
                place = first + one.index
                sampled = _sampled_tokens(one, self._entropies.pop((number, place)))
                unfinished.sampled[place] = sampled
            if len(unfinished.sampled) == unfinished.count:
                del self._unfinished[number]
                groups[number] = [unfinished.sampled[place] for place in range(unfinished.count)]
        return groups

    def drop(self, numbers: Iterable[int]) -> None:
        dropped = [self._unfinished.pop(number) for number in numbers]
        self._engine.abort_request([name for one in dropped for name in one.requests])

    def close(self) -> None:
        """Free vLLM's memory, unless the run has several processes: vLLM would end their process
        group as well, so there the memory is freed when the process ends."""
        if is_only_process():
            self._engine.engine_core.shutdown()


def require_vllm() -> None:
    """Raise InputError when vLLM is not installed."""
    if find_spec("vllm") is None:
        raise InputError("vLLM is not installed; run: pip install 'syngrpo[vllm]'")


def _sampled_tokens(output: Any, entropies: list[float]) -> SampledTokens:
    ids = list(output.token_ids)
    logprobs = [row[token].logprob for row, token in zip(output.logprobs, ids, strict=True)]
    if len(entropies) != len(ids):
        raise RuntimeError(f"vLLM sampled {len(ids)} tokens from {len(entropies)} distributions")
    return SampledTokens(torch.tensor(ids), torch.tensor(logprobs), torch.tensor(entropies))
