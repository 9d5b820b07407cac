"""Everything that depends on vLLM's internals. Checked with vLLM 0.32.0.

These are not part of vLLM's stable interface. Check each of them when the version changes:

- ``start_engine``: engine arguments that make vLLM sample one token for each row of logits;
- ``RolloutWorker``: methods added to vLLM's worker, which replace its logits and its weights;
- ``multimodal_input``: vLLM's form of a prompt whose image is preprocessed already;
- ``sampling_params``: the seed of each of several responses to a prompt;
- ``prompt_and_index``: vLLM's names of the responses to a prompt.

``vllm_engine.py`` uses them. vLLM is imported only inside functions, because it is optional.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist

from syngrpo.policy.distribution import scaled_logits
from syngrpo.policy.encode import Prompt
from syngrpo.policy.forward import pixel_values
from syngrpo.policy.model import Policy
from syngrpo.rollout.token_sampling import Sampling

ENVIRONMENT = {
    # Runs the engine in this process, because tensors are passed to it.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Selects the model runner that RolloutWorker was written for, on every device.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    # Keeps vLLM from binding the trainer's threads to cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Values of environment variables that vLLM reads, used where the user has not set them."""

BLOCK = 32
"""Tokens in a block of vLLM's cache of keys and values. The responses to a prompt share its full
blocks; the rest of the prompt, at least its last token, is computed for each response."""

STEP_TOKENS = 8192
"""Largest number of tokens in one forward pass of vLLM. It is raised to ``max_length`` if that is
more, so that no prompt is cut into chunks."""


def start_engine(policy: Policy, cache_bytes: int, max_length: int) -> Any:
    """Start vLLM's engine for a model with the shapes of this policy, and return it. Its weights
    are random."""
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
        # Not used when kv_cache_memory_bytes is set, but vLLM checks that this share is free.
        gpu_memory_utilization=0.01,
        enable_prefix_caching=True,
        # RolloutWorker assumes that every row of logits is one sampled token, so no chunks.
        enable_chunked_prefill=False,
        async_scheduling=False,
        max_num_batched_tokens=max(STEP_TOKENS, max_length),
        enforce_eager=policy.device.type == "cpu",
        logprobs_mode="raw_logprobs",
        limit_mm_per_prompt={"image": 1, "video": 0},
        skip_mm_profiling=True,
        mm_processor_cache_gb=0,
        mm_device_do_normalize=False,
        worker_extension_cls="syngrpo.rollout.compat_vllm.RolloutWorker",
        distributed_executor_backend="uni" if is_only_process() else "external_launcher",
        disable_log_stats=True,
    )
    return LLMEngine.from_engine_args(options)


def is_only_process() -> bool:
    """Return whether the run has a single process. (vLLM itself makes a process group of one.)"""
    return not dist.is_initialized() or dist.get_world_size() == 1


def multimodal_input(policy: Policy, prompt: Prompt, name: str) -> Any:
    """Return vLLM's form of a prompt whose image is preprocessed already.

    ``name`` identifies the image in vLLM's caches, which are cleared whenever weights are loaded.
    """
    from vllm.inputs.engine import mm_input
    from vllm.multimodal.inputs import (
        MultiModalFieldConfig,
        MultiModalKwargsItems,
        PlaceholderRange,
    )

    grid = prompt.image["image_grid_thw"]
    tensors = {"pixel_values": pixel_values(policy, [prompt]).cpu(), "image_grid_thw": grid}
    fields = {
        "pixel_values": MultiModalFieldConfig.flat_from_sizes("image", grid.prod(-1)),
        "image_grid_thw": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
    }
    places = (prompt.input_ids == policy.base.config.image_token_id).nonzero()[:, 0]
    return mm_input(
        prompt.input_ids.tolist(),
        MultiModalKwargsItems.from_hf_inputs(tensors, fields),
        {"image": [name]},
        {"image": [PlaceholderRange(offset=int(places[0]), length=len(places))]},
    )


def sampling_params(
    policy: Policy, sampling: Sampling, count: int, seed: int, stop_at: str | None
) -> Any:
    """Return vLLM's SamplingParams for ``count`` responses to a prompt, which end with the token
    that completes ``stop_at``, if that is not None.

    vLLM gives response i the seed ``seed + i``. Its temperature is set to 0 or 1: ``RolloutWorker``
    applies the real temperature and the banned tokens.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        n=count,
        temperature=float(sampling.temperature > 0),
        top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
        max_tokens=sampling.max_new_tokens,
        stop_token_ids=list(policy.stop_ids),
        ignore_eos=True,  # only stop_token_ids and max_tokens end a response
        seed=seed,
        logprobs=0,  # of the sampled token alone
        stop=[stop_at] if stop_at is not None else None,
        include_stop_str_in_output=True,
        detokenize=stop_at is not None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def request_name(number: int, first: int) -> str:
    """Return the name of a request for responses to the prompt with this number, of which ``first``
    is the index of the first."""
    return f"{number}.{first}"


def prompt_and_index(name: str) -> tuple[int, int]:
    """Return the number of the prompt and the index of the response that a request's name, or
    vLLM's ``name`` of a response, contains; for a request it is the index of its first response.

    vLLM calls response 2 of request ``7.4``, which is response 6 to prompt 7, ``2_7.4-`` followed
    by random characters, and the only response of that request ``7.4-`` and random characters.
    """
    within, _, request = name.partition("-")[0].rpartition("_")
    number, _, first = request.partition(".")
    return int(number), int(first) + int(within or 0)


class RolloutWorker:
    """Methods that are added to vLLM's worker (its ``worker_extension_cls``).

    They make vLLM sample from exactly the distribution that training uses: the model's logits are
    replaced by log-probabilities at the temperature, without banned tokens. So vLLM reports these
    log-probabilities, those of the full distribution also where ``top_p`` < 1.
    """

    model_runner: Any
    vllm_config: Any
    reload_weights: Callable[..., None]
    _plain_logits: Callable[[torch.Tensor], torch.Tensor] | None = None

    def take_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replace all weights in place by those of a checkpoint, given as names and tensors."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        self.reload_weights(weights_iterator=iter(weights))
        for layer in self.model_runner.get_model().modules():
            # A head that is tied to the embedding has no weights of its own in a checkpoint. On the
            # CPU vLLM packs weights, and without this it would keep its packed copy of the old
            # ones.
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)

    def begin_rollout(self, banned: torch.Tensor, temperature: float) -> None:
        """Set the banned tokens and the temperature for everything sampled until the next call."""
        model = self.model_runner.get_model()
        if self._plain_logits is None:
            self._plain_logits = model.compute_logits
            model.compute_logits = self._log_probabilities
        self._banned, self._temperature = banned.to(self.model_runner.device), temperature
        self._entropies: list[tuple[list[str], torch.Tensor]] = []

    def take_entropies(self) -> dict[str, list[float]]:
        """Return the entropies, in nats, of the distributions of the tokens that were sampled since
        the last call, by vLLM's name of each response."""
        entropies: dict[str, list[float]] = {}
        for names, values in self._entropies:
            for name, value in zip(names, values.tolist(), strict=True):
                entropies.setdefault(name, []).append(value)
        self._entropies = []
        return entropies

    def set_vision_base(self, base: float) -> None:
        """Set the base of the vision tower's rotary angles. vLLM always uses 10,000."""
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.layers.rotary_embedding import get_rope

        visual = self.model_runner.get_model().visual
        with set_current_vllm_config(self.vllm_config):
            visual.rotary_pos_emb = get_rope(
                head_size=visual.hidden_size // visual.num_heads,
                max_position=8192,
                is_neox_style=True,
                rope_parameters={"partial_rotary_factor": 0.5, "rope_theta": base},
            )

    def _log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32 (R, V) log-probabilities for R running responses. vLLM calls this instead
        of the model's own function."""
        assert self._plain_logits is not None
        logits = scaled_logits(self._plain_logits, hidden, self._banned, self._temperature)
        logprobs = logits.log_softmax(-1)
        # Every row samples one token, because no prompt is cut into chunks (see start_engine).
        names = list(self.model_runner.input_batch.req_ids)
        self._entropies.append((names, -(logprobs.exp() * logprobs).sum(-1)))
        return logprobs
