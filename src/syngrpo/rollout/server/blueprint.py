"""What a server knows of the model it samples from: everything but its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from syngrpo.policy.encode import Prompt
from syngrpo.policy.families.registry import get_family
from syngrpo.policy.loading import DTYPES, Policy
from syngrpo.policy.lora import adapter_base, is_adapter
from syngrpo.rollout.rollout_wire import Request
from syngrpo.rollout.weight_stream import Weights, checkpoint_weights
from syngrpo.sample import InputError


class Blueprint(Policy):
    """A policy whose weights have no storage; ``device`` is where it computes all the same.

    Banned tokens and stop tokens are those of a request (``following``).
    """

    @property
    def device(self) -> torch.device:
        return self.banned.device

    def following(self, request: Request) -> Blueprint:
        """With a request's rules. Raises InputError for prompts that this model cannot read, and
        for tokens it does not have."""
        vocabulary = self.base.config.text_config.vocab_size
        stop_ids = torch.tensor(request.stop_ids, dtype=torch.long)
        for tokens in (request.banned, stop_ids, *(p.input_ids for p in request.prompts)):
            if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
                raise InputError(f"a token that is none of the model's {vocabulary}")
        if min(request.seeds) < 0:
            raise InputError("a seed below 0")
        for prompt in request.prompts:
            self._require_image(prompt)
        return replace(self, banned=request.banned.to(self.device), stop_ids=request.stop_ids)

    def _require_image(self, prompt: Prompt) -> None:
        processor = self.processor.image_processor
        side, merged = processor.patch_size, processor.merge_size
        if prompt.patches.shape[1:] != (3, side, side):
            raise InputError(
                f"patches of {tuple(prompt.patches.shape[1:])} values where the model has "
                f"{(3, side, side)}; run server and trainer with the same model"
            )
        time, height, width = prompt.image_grid_thw[0].tolist()
        if time != 1 or height % merged or width % merged:
            raise InputError(
                f"a grid of {time} x {height} x {width} patches; {merged} make a token"
            )
        places = (prompt.input_ids == self.base.config.image_token_id).nonzero()[:, 0]
        features = height * width // merged**2
        if len(places) != features or int(places[-1] - places[0]) + 1 != features:
            raise InputError(
                f"{len(places)} image tokens, not {features} in one run; run server and trainer "
                "with the same model"
            )


class Expected:
    """The weights a model has: their names and shapes."""

    def __init__(self, blueprint: Blueprint) -> None:
        weights = checkpoint_weights(blueprint)
        self._shapes = {name: tensor.shape for name, tensor in weights.items()}
        self.bytes = sum(4 * tensor.numel() for tensor in weights.values()) + (1 << 20)
        """More than any piece of them takes."""

    def checked(self, pieces: Iterable[Weights]) -> Iterator[tuple[str, torch.Tensor]]:
        """One after the other. Raises InputError for a weight the model does not have, for another
        shape, and at the end where some are missing."""
        missing = set(self._shapes)
        for piece in pieces:
            for name, tensor in piece.items():
                if name not in missing or tensor.shape != self._shapes[name]:
                    raise InputError(
                        f"weight {name[:100]} of shape {tuple(tensor.shape)} is not the model's, "
                        "or was sent before; run server and trainer with the same model"
                    )
                if not tensor.is_floating_point():
                    raise InputError(f"weight {name} of type {tensor.dtype}; send floats")
                missing.discard(name)
                yield name, tensor
        if missing:
            raise InputError(
                f"{len(missing)} weights are missing, {min(missing)} for one; run server and "
                "trainer with the same model"
            )


def load_blueprint(path: str | Path, dtype: str, device: str) -> Blueprint:
    """The policy of a checkpoint directory or a hub name. Raises InputError as ``load_policy``."""
    source = adapter_base(Path(path)) if is_adapter(Path(path)) else str(path)
    try:
        written, _ = PreTrainedConfig.get_config_dict(source)
        family = get_family(str(written.get("model_type")))
        config = AutoConfig.from_pretrained(source)
        processor = AutoProcessor.from_pretrained(source)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"model {source} cannot be loaded ({reason}); check --model") from None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=DTYPES[dtype])
    banned = torch.tensor([], dtype=torch.long, device=device)
    return Blueprint(model, processor, family, banned, ())
