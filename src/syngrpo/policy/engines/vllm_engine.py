"""Rollouts by vLLM, in the trainer's own process and on its device.

Every process of a run has an engine of its own, for its own prompts. Before a rollout the weights
go straight from the trained model into the engine's; no checkpoint is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist

from syngrpo.policy.encode import Prompt, require_context, size_of
from syngrpo.policy.engines.weights import checkpoint_weights
from syngrpo.policy.loading import Policy
from syngrpo.policy.rollout import Response
from syngrpo.policy.sampling import Sampling
from syngrpo.policy.spans import decode
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
    """A rollout function: called as ``policy.rollout.rollout``, and means the same.

    Prompt, weights and seed decide the result, through other random numbers than our own rollout's.
    Log-probabilities and entropies are those of the sampling distribution in vLLM's own forward
    pass. ``cache_gib`` is the memory for keys and values, ``max_length`` the tokens of a prompt and
    its response, at most. Raises InputError when vLLM is not installed.
    """

    def __init__(self, policy: Policy, cache_gib: float = 4.0, max_length: int = 8192) -> None:
        context = policy.base.config.text_config.max_position_embeddings
        self._max_length = min(max_length, context)
        self._engine = _start(policy, round(cache_gib * 2**30), self._max_length)
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
            self._require_room(policy, prompt, sampling.max_new_tokens)
        self.synchronise(policy)
        self._engine.collective_rpc("begin_rollout", args=(policy.banned, sampling.temperature))
        # Greedy responses to one prompt are all alike, and vLLM refuses to compute two.
        count = group_size if sampling.temperature > 0 else 1
        for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            self._add(policy, str(index), prompt, sampling, count, seed)
        outputs = self._finish()
        (entropies,) = self._engine.collective_rpc("end_rollout")
        own = _by_place(entropies)
        groups = [
            [_response(policy, one, own[index, one.index]) for one in outputs[index]]
            for index in range(len(prompts))
        ]
        return [group * (group_size // count) for group in groups]

    def synchronise(self, policy: Policy) -> None:
        """Gives vLLM the policy's weights; what it remembers by the old ones is forgotten."""
        self._engine.collective_rpc("take_weights", args=(checkpoint_weights(policy),))
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM still works on a prompt, its weights cannot be exchanged")

    def close(self) -> None:
        """Frees the engine's memory; among several processes the end of the process does, because
        vLLM would take their process group down with it."""
        if _alone():
            self._engine.engine_core.shutdown()

    def _require_room(self, policy: Policy, prompt: Prompt, max_new_tokens: int) -> None:
        size = size_of(policy, prompt)
        require_context(policy, prompt.sample_id, size, max_new_tokens)
        if size.tokens + max_new_tokens > self._max_length:
            raise InputError(
                f"the prompt of sample {prompt.sample_id} has {size.tokens} tokens, with "
                f"rollout.max_new_tokens {max_new_tokens} more than rollout.vllm_max_length "
                f"{self._max_length}; set it to {size.tokens + max_new_tokens}"
            )

    def _add(
        self,
        policy: Policy,
        name: str,
        prompt: Prompt,
        sampling: Sampling,
        count: int,
        seed: int,
    ) -> None:
        from syngrpo.policy.engines.vllm_inputs import multimodal_input, sampling_params

        params = sampling_params(policy, sampling, count, seed)
        self._engine.add_request(name, multimodal_input(policy, prompt, name), params)

    def _finish(self) -> dict[int, list[Any]]:
        """Runs until nothing is left to sample: index of a prompt → vLLM's outputs, in order."""
        outputs: dict[int, list[Any]] = {}
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                outputs[int(output.request_id)] = output.outputs
        return outputs


def _start(policy: Policy, cache_bytes: int, max_length: int) -> Any:
    """vLLM's engine for models of this shape; its weights come later."""
    if find_spec("vllm") is None:
        raise InputError("vLLM is not installed; run: pip install 'syngrpo[vllm]'")
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
        worker_extension_cls="syngrpo.policy.engines.vllm_worker.RolloutWorker",
        distributed_executor_backend="uni" if _alone() else "external_launcher",
        disable_log_stats=True,
    )
    return LLMEngine.from_engine_args(options)


def _alone() -> bool:
    """Whether this process is the run's only one; vLLM makes a process group of one by itself."""
    return not dist.is_initialized() or dist.get_world_size() == 1


def _by_place(entropies: dict[str, list[float]]) -> dict[tuple[int, int], list[float]]:
    """Entropies by the index of the prompt and of the response; vLLM calls response 2 to prompt 7
    ``2_7-`` and something random, and the only response to prompt 7 just ``7-`` and so on."""
    places = {}
    for name, values in entropies.items():
        response, _, prompt = name.partition("-")[0].rpartition("_")
        places[int(prompt), int(response or 0)] = values
    return places


def _response(policy: Policy, output: Any, entropies: list[float]) -> Response:
    ids = list(output.token_ids)
    tokens = torch.tensor(ids)
    logprobs = [row[token].logprob for row, token in zip(output.logprobs, ids, strict=True)]
    if len(entropies) != len(ids):
        raise RuntimeError(f"vLLM sampled {len(ids)} tokens from {len(entropies)} distributions")
    return Response(
        tokens,
        torch.tensor(logprobs),
        torch.tensor(entropies),
        decode(policy.tokenizer, tokens),
        ids[-1] in policy.stop_ids,
    )
