"""What a server knows about its model without the weights, which trainers send.

``load_outline`` reads shapes, tokenizer and image processor of a checkpoint. ``ModelOutline``
checks that the prompts of a request suit the model, ``ExpectedWeights`` that weights do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from syngrpo.policy.encode import Prompt
from syngrpo.policy.families.base import SplitFamily
from syngrpo.policy.loading import DTYPES, read_model_files
from syngrpo.policy.lora import adapter_base, is_adapter
from syngrpo.policy.model import Policy
from syngrpo.rollout.server_messages import Request
from syngrpo.rollout.weight_stream import Weights, checkpoint_weights
from syngrpo.sample import InputError
from syngrpo.serving.wording import count


class ModelOutline(Policy):
    """A policy whose weights have shapes but no storage (torch's ``meta`` device).

    Its banned tokens and stop tokens are those of a request (``with_rules_of``).
    """

    @property
    def device(self) -> torch.device:
        """The device of the engine, where image patches are normalised."""
        return self.banned.device

    def with_rules_of(self, request: Request) -> ModelOutline:
        """Return this outline with the banned tokens and stop tokens of a request.

        Raises InputError for prompts that this model cannot read, and for tokens it does not have.
        """
        vocabulary = self.base.config.text_config.vocab_size
        stop_ids = torch.tensor(request.stop_ids, dtype=torch.long)
        for tokens in (request.banned, stop_ids, *(p.input_ids for p in request.prompts)):
            if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
                raise InputError(
                    f"a request has a token id outside of the model's {vocabulary} tokens"
                )
        if min(request.seeds) < 0:
            raise InputError("a request has a seed below 0")
        for prompt in request.prompts:
            self._require_image(prompt)
        return replace(self, banned=request.banned.to(self.device), stop_ids=request.stop_ids)

    def _require_image(self, prompt: Prompt) -> None:
        processor = self.processor.image_processor
        side, merged = processor.patch_size, processor.merge_size
        shape = tuple(prompt.image["patches"].shape[1:])
        if shape != (3, side, side):
            raise InputError(
                f"patches of {shape} values where the model has "
                f"{(3, side, side)}; run server and trainer with the same model"
            )
        time, height, width = prompt.image["image_grid_thw"][0].tolist()
        if time != 1 or height % merged or width % merged:
            raise InputError(
                f"an image of {time} x {height} x {width} patches, of which the model merges "
                f"{merged} x {merged} into a token"
            )
        places = (prompt.input_ids == self.base.config.image_token_id).nonzero()[:, 0]
        features = height * width // merged**2
        if len(places) != features or int(places[-1] - places[0]) + 1 != features:
            raise InputError(
                f"{len(places)} image tokens where {features} in a row are needed; run server and "
                "trainer with the same model"
            )


class ExpectedWeights:
    """The names and shapes of the weights that a model has.

    ``bytes``: a limit that no single piece of them exceeds.
    """

    def __init__(self, outline: ModelOutline) -> None:
        weights = checkpoint_weights(outline)
        self._shapes = {name: tensor.shape for name, tensor in weights.items()}
        self.bytes = sum(4 * tensor.numel() for tensor in weights.values()) + (1 << 20)

    def checked(self, pieces: Iterable[Weights]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and tensor of each weight.

        Raises InputError for a weight that the model does not have or that comes twice, for one of
        another shape or type, and at the end when some are missing.
        """
        missing = set(self._shapes)
        for piece in pieces:
            for name, tensor in piece.items():
                if name not in missing or tensor.shape != self._shapes[name]:
                    raise InputError(
                        f"weight {name[:100]} of shape {tuple(tensor.shape)} is not the model's, "
                        "or was sent before; run server and trainer with the same model"
                    )
                if not tensor.is_floating_point():
                    raise InputError(
                        f"weight {name} is of type {tensor.dtype}; send floating point numbers"
                    )
                missing.discard(name)
                yield name, tensor
        if missing:
            raise InputError(
                f"{count(len(missing), 'missing weight')}, {min(missing)} for one; run server and "
                "trainer with the same model"
            )


def load_outline(path: str | Path, dtype: str, device: str) -> ModelOutline:
    """Return the outline of the model in a checkpoint directory or with a hub name.

    Raises InputError when there is no such model, or its family is unknown.
    """
    source = adapter_base(Path(path)) if is_adapter(Path(path)) else str(path)
    family, config, processor = read_model_files(source)
    if not isinstance(family, SplitFamily):
        raise InputError(
            f"model {source} (type {config.model_type}) has no rollout server: only families whose "
            "vision tower runs apart have one; leave out rollout.server in the run"
        )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=DTYPES[dtype])
    banned = torch.tensor([], dtype=torch.long, device=device)
    return ModelOutline(model, processor, family, banned, ())
