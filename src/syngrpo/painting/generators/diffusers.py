"""Surroundings painted by an inpainting pipeline of diffusers: see docs/generators.md.

torch and diffusers are imported when a model is loaded, not before: a worker of another generator
starts without them, and a fingerprint is known without the weights.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from syngrpo.painting.generators import OutOfMemory
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.generators.presets import DiffusersOptions, Plan, plan
from syngrpo.painting.generators.sizes import working_size
from syngrpo.painting.generators.weights import Weights, find_lora, find_model
from syngrpo.sample import InputError

if TYPE_CHECKING:
    from syngrpo.painting.generators.pipelines import LoadedPipeline

REVISION = 1
"""Counts the changes of how requests are handed to a pipeline that change pictures."""


def make_diffusers(options: DiffusersOptions) -> DiffusersGenerator:
    """The generator, its model found but not yet loaded.

    Raises InputError when diffusers is not installed, an option makes no sense or there is no such
    model.
    """
    try:
        version = importlib.metadata.version("diffusers")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            'generator diffusers is not installed; run pip install "syngrpo[diffusers]"'
        ) from None
    chosen = plan(options)
    lora = find_lora(options.lora) if options.lora is not None else None
    return DiffusersGenerator(chosen, find_model(chosen.preset.model), lora, version)


class DiffusersGenerator:
    """A ``Generator``. Its pictures come in the sizes its model can paint, not in those asked for;
    the caller maps them back.

    The noise of a picture is drawn from its request's seed alone, on the CPU, so that it is the
    same on every device and in every batch.
    """

    def __init__(self, chosen: Plan, weights: Weights, lora: Weights | None, version: str) -> None:
        self._plan = chosen
        self._weights = weights
        self._lora = lora
        self._batch = chosen.options.batch
        self._longest: int | None = None
        self._loaded: LoadedPipeline | None = None
        self.fingerprint = _fingerprint(chosen, weights, lora, version)

    def load(self) -> LoadedPipeline:
        """The model, loaded the first time. ``generate`` does it too, but a worker that calls this
        first knows before it takes a job. Raises InputError when it cannot be done."""
        if self._loaded is None:
            from syngrpo.painting.generators.pipelines import LoadedPipeline

            self._loaded = LoadedPipeline(self._plan, self._weights, self._lora)
        return self._loaded

    def limit_side(self, pixels: int) -> None:
        """From now on no side of what is painted is longer, as far as the model can go that low.

        Pictures change with it, the fingerprint does not.
        """
        self._longest = pixels

    def size_for(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) in which a picture of the ``wanted`` one is painted."""
        rule = self._plan.preset.size
        step = math.lcm(rule.multiple, self.load().cell)
        return working_size(wanted, replace(rule, multiple=step), self._longest)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """See ``Generator``. Each picture is uint8 (H', W', 3) of ``size_for`` its request's size.

        Raises OutOfMemory when the device cannot hold a single one of the pictures, and ValueError
        for pictures that are not numbers or that a safety checker blackened.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(self.size_for(request.size), []).append(index)
        painted: dict[int, np.ndarray] = {}
        for size, waiting in groups.items():
            while waiting:
                now = waiting[: self._batch]
                try:
                    pictures = self.load().paint([requests[index] for index in now], size)
                except OutOfMemory:
                    if len(now) == 1:
                        raise
                    self._batch = len(now) // 2  # fewer at a time are the same pictures
                    continue
                painted.update(zip(now, map(self._to_bytes, pictures), strict=True))
                del waiting[: len(now)]
        return [painted[index] for index in range(len(requests))]

    def vae_round_trip(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) encoded and decoded by the model's autoencoder, in the same size.

        What the model paints has the statistics of its decoder; kept pixels that went the same way
        have them too, but are no longer exact. Raises OutOfMemory and ValueError as ``generate``.
        """
        return self._to_bytes(self.load().round_trip(image))

    def _to_bytes(self, picture: np.ndarray) -> np.ndarray:
        if not np.isfinite(picture).all():
            raise ValueError(
                f"generator {self.fingerprint} painted pixels that are not numbers, as models do "
                f"that overflow in {self._plan.preset.dtype}; set dtype to bfloat16 or float32"
            )
        return np.rint(picture * 255).astype(np.uint8)


def _fingerprint(chosen: Plan, weights: Weights, lora: Weights | None, version: str) -> str:
    """Everything that changes a picture, but for what rounds differently on another device."""
    preset = chosen.preset
    few = preset.lora if lora is not None else None
    parts = {
        "revision": REVISION,
        "diffusers": version,
        "pipeline": preset.pipeline,
        "weights": weights.identity,
        "lora": lora.identity if lora is not None else None,
        "scheduler": dict(few.scheduler) if few is not None else None,
        "load": dict(preset.load),
        "steps": preset.steps,
        "guidance": preset.guidance,
        "strength": preset.strength,
        "negative_prompt": preset.negative_prompt,
        "size": asdict(preset.size),
        "dtype": preset.dtype,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"diffusers/{chosen.name}/{weights.identity}/{digest}"
