"""Tries out a model that is called whole when it is loaded, before training begins.

Two small images are encoded and computed as the update and the rollout will do it, and the outputs
are compared with those of the plain model. So a model that needs anything else is refused with one
line when it is loaded, and not in the middle of a run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from syngrpo.policy.encode import Prompt, encode, size_of
from syngrpo.policy.families.generic import token_kinds
from syngrpo.policy.model import Policy
from syngrpo.policy.padded import PaddedDecoder, padded_states
from syngrpo.sample import EncodedImage, InputError, Sample

SIZES = ((64, 48), (56, 120))
"""Width and height of the two images in pixels."""
TOLERANCE = {torch.float32: 1e-3}
"""Largest difference of logits, as a share of the largest logit, by type of the weights."""
HALF_TOLERANCE = 0.03
"""The same for all other types."""


@torch.no_grad()
def try_out(policy: Policy, source: str) -> None:
    """Raise InputError when the model called ``source`` cannot be trained, or when its processor
    has no chat template with a place for an image."""
    model_type = policy.base.config.model_type
    other = "choose another model, or write a family for it (docs/families.md)"
    if not (policy.processor.chat_template or policy.tokenizer.chat_template):
        raise InputError(
            f"model {source} ({model_type}) has no chat template; use its instruction-tuned version"
        )
    prompts = [encode(policy, trial_sample(*size), "?") for size in SIZES]
    if not all(size_of(policy, prompt).image for prompt in prompts):
        raise InputError(
            f"the chat template of model {source} ({model_type}) has no place for an image; {other}"
        )
    try:
        problem = _difference(policy, prompts)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if problem:
        raise InputError(f"model {source} ({model_type}) cannot be trained ({problem}); {other}")


def trial_sample(width: int, height: int) -> Sample:
    """Return a sample with an image of smooth colours."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 2, columns * 2, (rows + columns) % 256], axis=-1)
    image = EncodedImage.from_pixels(pixels.astype(np.uint8))
    return Sample(f"trial-{width}x{height}", "", image, "", None, ())


def _difference(policy: Policy, prompts: list[Prompt]) -> str | None:
    """Return a text that says where a padded batch or decoding differs from the plain model, None
    if neither does."""
    banned = set(policy.banned.tolist())
    usable = [token for token in prompts[0].input_ids.tolist() if token not in banned]
    response = torch.tensor(usable[:3])
    head = policy.base.get_output_embeddings()
    states = padded_states(policy, policy.base, prompts, [[response], [response]])
    batched = head(states).float().view(2, 3, -1)
    training = policy.model.training
    policy.model.eval()
    try:
        decoder = PaddedDecoder(policy, prompts, 2, 2)
        first = head(decoder.states).float()
        second = head(decoder.append(response[:1].to(policy.device).expand(4))).float()
        decoded = torch.stack([first[::2], second[::2]], dim=1)
        plain = torch.cat([_plain_logits(policy, prompt, response) for prompt in prompts])
    finally:
        policy.model.train(training)
    limit = TOLERANCE.get(policy.base.dtype, HALF_TOLERANCE) * float(plain.abs().max())
    if not float((batched - plain).abs().max()) <= limit:
        return "in a padded batch its logits are not those of the plain model"
    if not float((decoded - plain[:, :2]).abs().max()) <= limit:
        return "its logits in decoding are not those of the plain model"
    return None


def _plain_logits(policy: Policy, prompt: Prompt, response: torch.Tensor) -> torch.Tensor:
    """Return float32 (1, L, V): the logits of the response's tokens by the plain model, called with
    the processor's inputs for one prompt."""
    ids = torch.cat([prompt.input_ids, response[:-1]])[None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    kinds = token_kinds(prompt.image, len(prompt.input_ids))
    for name, value in prompt.image.items():
        if name in kinds:
            value = torch.cat([value, value.new_zeros(1, len(response) - 1)], dim=1)
        inputs[name] = value.to(policy.base.dtype) if value.is_floating_point() else value
    inputs = {name: value.to(policy.device) for name, value in inputs.items()}
    logits: torch.Tensor = policy.base(**inputs).logits
    return logits[:, len(prompt.input_ids) - 1 :].float()
