"""The oracle of the policy's tests: padded rows through plain transformers, nothing shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from syngrpo.policy.encode import Prompt


def load_plain(directory: Path) -> Any:
    """What any user of the checkpoint would load."""
    return AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)


def normalised(patches: torch.Tensor) -> torch.Tensor:
    """float32 (patches, 3 x 2 x side x side) of uint8 (patches, 3, side, side), by the book: two
    frames of a still picture, colours shifted and scaled as for CLIP."""
    mean, std = (torch.tensor(m).view(3, 1, 1) for m in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    colours = (patches / 255 - mean) / std
    return torch.stack([colours, colours], dim=2).flatten(1)


def model_inputs(model: Any, prompt: Prompt, responses: list[torch.Tensor]) -> dict[str, Any]:
    """One right-padded row a response, prompt and image repeated in each."""
    rows = [torch.cat([prompt.input_ids, response]) for response in responses]
    ids = pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": ((ids == model.config.image_token_id) * mask).int(),
        "pixel_values": normalised(prompt.image["patches"]).repeat(len(rows), 1),
        "image_grid_thw": prompt.image["image_grid_thw"].repeat(len(rows), 1),
    }


def plain_logprobs(
    model: Any,
    prompt: Prompt,
    responses: list[torch.Tensor],
    banned: torch.Tensor,
    temperature: float = 1.0,
) -> list[torch.Tensor]:
    """log p (L,) of each response, differentiable."""
    logits = model(**model_inputs(model, prompt, responses)).logits / temperature
    logits[..., banned] = float("-inf")
    scores = logits.log_softmax(-1)
    start = len(prompt.input_ids) - 1
    return [
        scores[i, start : start + len(r)].gather(-1, r[:, None])[:, 0]
        for i, r in enumerate(responses)
    ]
