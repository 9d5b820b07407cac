"""Our prompts and sampling rules in vLLM's words."""

from __future__ import annotations

from typing import Any

from vllm import SamplingParams
from vllm.inputs.engine import mm_input
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange
from vllm.sampling_params import RequestOutputKind

from syngrpo.policy.encode import Prompt
from syngrpo.policy.loading import Policy
from syngrpo.policy.vision import pixel_values
from syngrpo.rollout.sampling import Sampling


def multimodal_input(policy: Policy, prompt: Prompt, name: str) -> Any:
    """A prompt with its image as our processor made them: vLLM processes nothing again.

    ``name`` stands for the image in vLLM's caches, which every exchange of weights empties.
    """
    grid = prompt.image_grid_thw
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


def sampling_params(policy: Policy, sampling: Sampling, count: int, seed: int) -> SamplingParams:
    """``count`` responses; temperature and banned tokens are RolloutWorker's, for all at once."""
    return SamplingParams(
        n=count,
        temperature=float(sampling.temperature > 0),
        top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
        max_tokens=sampling.max_new_tokens,
        stop_token_ids=list(policy.stop_ids),
        ignore_eos=True,  # nothing else ends a response
        seed=seed,
        logprobs=0,  # of the sampled token alone
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
