"""The part of vLLM rollouts that runs beside the model, inside vLLM's worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from syngrpo.policy.distribution import scaled_logits


class RolloutWorker:
    """Methods that vLLM's worker gets in addition (its ``worker_extension_cls``).

    vLLM then samples from exactly our distribution: what it takes for logits are already
    log-probabilities, divided by the temperature, banned tokens ruled out. So the log-probabilities
    it reports are ours too, and those of the full distribution also where ``top_p`` < 1.
    """

    model_runner: Any
    vllm_config: Any
    reload_weights: Callable[..., None]
    _plain_logits: Callable[[torch.Tensor], torch.Tensor] | None = None

    def take_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replaces all weights by those of a checkpoint, in place."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        self.reload_weights(weights_iterator=iter(weights))
        for layer in self.model_runner.get_model().modules():
            # A head tied to the embedding gets no weights, so vLLM keeps its packed copy of the
            # old ones (on the CPU, where it packs).
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)

    def begin_rollout(self, banned: torch.Tensor, temperature: float) -> None:
        """Sets what holds for all that is sampled until the next call."""
        model = self.model_runner.get_model()
        if self._plain_logits is None:
            self._plain_logits = model.compute_logits
            model.compute_logits = self._log_probabilities
        self._banned, self._temperature = banned.to(self.model_runner.device), temperature
        self._entropies: list[tuple[list[str], torch.Tensor]] = []

    def take_entropies(self) -> dict[str, list[float]]:
        """vLLM's name of a response → the entropies in nats before each of its tokens that were
        sampled since the last call."""
        entropies: dict[str, list[float]] = {}
        for names, values in self._entropies:
            for name, value in zip(names, values.tolist(), strict=True):
                entropies.setdefault(name, []).append(value)
        self._entropies = []
        return entropies

    def set_vision_base(self, base: float) -> None:
        """The base of the vision tower's rotary angles; vLLM takes it to be 10,000."""
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
        """float32 (R, V), one row for each running response, instead of the model's logits."""
        assert self._plain_logits is not None
        logits = scaled_logits(self._plain_logits, hidden, self._banned, self._temperature)
        logprobs = logits.log_softmax(-1)
        # Every row samples one token: no prompt is cut into chunks (see vllm_engine).
        names = list(self.model_runner.input_batch.req_ids)
        self._entropies.append((names, -(logprobs.exp() * logprobs).sum(-1)))
        return logprobs
