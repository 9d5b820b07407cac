"""vLLM in this process and on its device: the trainer's, or a rollout server's.

In a trainer every process has an engine of its own, for its own prompts. Before a rollout the
weights go straight from the trained model into the engine's; no checkpoint is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.rollout.native import Response
from syngrpo.rollout.sampled import Sampled, count_of, require_room, respond
from syngrpo.rollout.sampling import Sampling
from syngrpo.rollout.weight_stream import checkpoint_pieces
from syngrpo.sample import InputError

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: weights are handed over, not sent
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one RolloutWorker knows, on every device
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer's threads stay where they are
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What vLLM reads from the environment; the user's own values go first."""

BLOCK = 32
"""Tokens in a block of keys and values. A group shares its prompt's full blocks; what is left of
the prompt, and its last token in any case, every response computes itself."""

STEP_TOKENS = 8192
"""Tokens in one of vLLM's forward passes, at most; a prompt is never cut, whatever its length."""

VISION_BASE = 10_000.0
"""The base of the vision tower's rotary angles in all published models, and always in vLLM."""


class VllmEngine:
    """An ``Engine``, and a rollout function: called as ``policy.rollout.rollout``, it means the
    same.

    Prompt, weights and seed decide the result, through other random numbers than our own rollout's.
    Log-probabilities and entropies are those of the sampling distribution in vLLM's own forward
    pass. Of ``policy`` the shapes count here, its weights come later. ``cache_gib`` is the memory
    for keys and values, ``max_length`` the tokens of a prompt and its response, at most. Raises
    InputError when vLLM is not installed.
    """

    def __init__(self, policy: Policy, cache_gib: float = 4.0, max_length: int = 8192) -> None:
        context = policy.base.config.text_config.max_position_embeddings
        self.max_length = min(max_length, context)
        self._engine = _start(policy, round(cache_gib * 2**30), self.max_length)
        self._added = 0
        self._entropies: dict[tuple[int, int], list[float]] = {}
        base = policy.base.config.vision_config.rope_parameters["rope_theta"]
        if base != VISION_BASE:
            self._engine.collective_rpc("set_vision_base", args=(base,))

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        group_size: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ) -> list[list[Response]]:
        """``group_size`` responses a prompt, by the policy's weights of now.

        Raises InputError for a prompt that leaves no room for ``sampling.max_new_tokens``.
        """
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        for prompt in prompts:
            require_room(policy, prompt, sampling, self.max_length, "rollout.vllm_max_length")
        self.take_weights(
            (name, tensor) for piece in checkpoint_pieces(policy) for name, tensor in piece.items()
        )
        self.begin(policy, sampling.temperature)
        count = count_of(sampling, group_size)
        numbers = [
            self.add(policy, prompt, sampling, count, seed)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        groups: dict[int, list[Sampled]] = {}
        while len(groups) < len(numbers):
            groups |= self.step()
        return [respond(policy, groups[number], group_size) for number in numbers]

    def take_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See ``Engine``. What vLLM remembers by the old weights is forgotten."""
        self._engine.collective_rpc("take_weights", args=(weights,))
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM still works on a prompt, its weights cannot be exchanged")

    def begin(self, policy: Policy, temperature: float) -> None:
        self._entropies = {}
        self._engine.collective_rpc("begin_rollout", args=(policy.banned, temperature))

    def add(self, policy: Policy, prompt: Prompt, sampling: Sampling, count: int, seed: int) -> int:
        from syngrpo.rollout.vllm_inputs import multimodal_input, sampling_params

        self._added += 1
        name = str(self._added)
        params = sampling_params(policy, sampling, count, seed)
        self._engine.add_request(name, multimodal_input(policy, prompt, name), params)
        return self._added

    def step(self) -> dict[int, list[Sampled]]:
        finished = self._engine.step()
        if not finished:
            return {}
        (entropies,) = self._engine.collective_rpc("take_entropies")
        for name, values in entropies.items():
            self._entropies.setdefault(_place(name), []).extend(values)
        return {
            (number := int(group.request_id)): [
                _sampled(one, self._entropies.pop((number, one.index))) for one in group.outputs
            ]
            for group in finished
        }

    def drop(self, numbers: Iterable[int]) -> None:
        self._engine.abort_request([str(number) for number in numbers])

    def close(self) -> None:
        """Frees the engine's memory; among several processes the end of the process does, because
        vLLM would take their process group down with it."""
        if _alone():
            self._engine.engine_core.shutdown()


def require_vllm() -> None:
    """Raises InputError when vLLM is not installed."""
    if find_spec("vllm") is None:
        raise InputError("vLLM is not installed; run: pip install 'syngrpo[vllm]'")


def _start(policy: Policy, cache_bytes: int, max_length: int) -> Any:
    """vLLM's engine for models of this shape; its weights come later."""
    require_vllm()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import EngineArgs, LLMEngine

    options = EngineArgs(
        model=policy.base.name_or_path,
        dtype=str(policy.base.dtype).removeprefix("torch."),
        load_format="dummy",
        generation_config="vllm",
        max_model_len=max_length,
        block_size=BLOCK,
        kv_cache_memory_bytes=cache_bytes,
        gpu_memory_utilization=0.01,  # means nothing then, but has to be free
        enable_prefix_caching=True,
        # One row of logits is one sampled token, for RolloutWorker.
        enable_chunked_prefill=False,
        async_scheduling=False,
        max_num_batched_tokens=max(STEP_TOKENS, max_length),
        enforce_eager=policy.device.type == "cpu",
        logprobs_mode="raw_logprobs",
        limit_mm_per_prompt={"image": 1, "video": 0},
        skip_mm_profiling=True,
        mm_processor_cache_gb=0,
        mm_device_do_normalize=False,
        worker_extension_cls="syngrpo.rollout.vllm_worker.RolloutWorker",
        distributed_executor_backend="uni" if _alone() else "external_launcher",
        disable_log_stats=True,
    )
    return LLMEngine.from_engine_args(options)


def _alone() -> bool:
    """Whether this process is the run's only one; vLLM makes a process group of one by itself."""
    return not dist.is_initialized() or dist.get_world_size() == 1


def _place(name: str) -> tuple[int, int]:
    """The number of the prompt and the index of the response; vLLM calls response 2 to prompt 7
    ``2_7-`` and something random, and the only response to prompt 7 just ``7-`` and so on."""
    response, _, prompt = name.partition("-")[0].rpartition("_")
    return int(prompt), int(response or 0)


def _sampled(output: Any, entropies: list[float]) -> Sampled:
    ids = list(output.token_ids)
    logprobs = [row[token].logprob for row, token in zip(output.logprobs, ids, strict=True)]
    if len(entropies) != len(ids):
        raise RuntimeError(f"vLLM sampled {len(ids)} tokens from {len(entropies)} distributions")
    return Sampled(torch.tensor(ids), torch.tensor(logprobs), torch.tensor(entropies))
