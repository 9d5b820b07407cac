"""Loads a pipeline of diffusers and calls it.

This is the only module of the generators that imports torch and diffusers. ``diffusers_generator``
imports it and makes a ``LoadedPipeline`` when the model is needed.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import diffusers
import numpy as np
import torch
from safetensors import SafetensorError

from syngrpo.painting.generators.base import GenerationRequest, OutOfMemory
from syngrpo.painting.generators.diffusers_options import FewSteps, Plan
from syngrpo.painting.generators.sizes import fitted_image, padded_to_multiple, repaint_mask
from syngrpo.sample import InputError
from syngrpo.serving.devices import parse_device
from syngrpo.serving.wording import one_line

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_NEEDED = frozenset({"prompt", "image", "mask_image", "generator", "output_type"})
_CANNOT_LOAD = (OSError, ValueError, TypeError, ImportError, SafetensorError)


class LoadedPipeline:
    """A pipeline on its device. ``cell`` is the side in pixels of the smallest square that it can
    keep or paint; the sides of its pictures are multiples of that. ``chooses_size``: whether it has
    painted a picture in another size than it was asked for."""

    def __init__(self, chosen: Plan, source: str, revision: str | None, lora: str | None) -> None:
        """Load the model at ``source`` and ``revision``, as ``from_pretrained`` takes them, and the
        file ``lora`` if there is one. Raises InputError when the class, the model or the LoRA
        cannot be used."""
        self._plan = chosen
        self._device = _device(chosen)
        kind = _pipeline_class(chosen)
        self._accepted = _accepted(kind, chosen)
        self.pipeline = _from_pretrained(kind, chosen, source, revision)
        if lora is not None:
            _add_lora(self.pipeline, lora, chosen.preset.lora)
        _refuse_undistilled(self.pipeline, chosen)
        patch: int = getattr(self.pipeline, "patch_size", 1)  # in Stable Diffusion 3
        self.cell: int = self.pipeline.image_processor.config.vae_scale_factor * patch
        self.chooses_size = False
        self.pipeline.set_progress_bar_config(disable=True)
        self._to_device()

    def paint(self, request: GenerationRequest, size: tuple[int, int]) -> np.ndarray:
        """Return float32 (H, W, 3) in [0, 1]: the picture, of (width, height) ``size``.

        Raises OutOfMemory, and ValueError when a safety checker blackened a picture.
        """
        result = self._within_memory(size, lambda: self._call(request, size))
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            raise ValueError(
                "the pipeline's safety checker blackened a picture; to switch it off, write "
                '"safety_checker": [null, null] into model_index.json of a local copy of the model'
            )
        picture = np.asarray(result.images[0])
        self._check_size(picture.shape[1], picture.shape[0], size)
        return picture

    def _check_size(self, width: int, height: int, asked: tuple[int, int]) -> None:
        if (width, height) != asked and not self.chooses_size:
            self.chooses_size = True
            logger.warning(
                "%s paints %d x %d pixels where %d x %d were asked for: it chooses the size, so "
                "min_pixels and max_pixels have no effect, and no smaller size saves memory",
                *(self._plan.preset.pipeline, width, height, *asked),
            )

    def round_trip(self, image: np.ndarray) -> np.ndarray:
        """Encode and decode uint8 (H, W, 3) with the autoencoder: float32 (H, W, 3) in [0, 1].

        Raises OutOfMemory.
        """
        height, width = image.shape[:2]
        padded = padded_to_multiple(image, self.cell)
        vae, device = self.pipeline.vae, self._device
        pixels = self._within_memory((width, height), lambda: _through_vae(vae, padded, device))
        return pixels[:height, :width]

    def _call(self, request: GenerationRequest, size: tuple[int, int]) -> Any:
        preset = self._plan.preset
        arguments: dict[str, Any] = {
            "image": [fitted_image(request.image, size)],
            "mask_image": [repaint_mask(request.keep, size, self.cell)],
            "width": size[0],
            "height": size[1],
            "num_inference_steps": preset.steps,
            "strength": preset.strength,
            "_auto_resize": False,  # FluxKontextInpaintPipeline would choose a size of its own
            "max_area": size[0] * size[1],
            preset.guidance_name: preset.guidance,
        }
        if preset.is_guided:
            arguments["negative_prompt"] = preset.negative_prompt
        given = {
            name: value
            for name, value in arguments.items()
            if value is not None and name in self._accepted
        }
        if "negative_prompt" in given:
            given["negative_prompt"] = [given["negative_prompt"]]
        with _seeded(request.seed, self._device):
            return self.pipeline(
                prompt=[request.prompt],
                generator=[torch.Generator("cpu").manual_seed(request.seed)],
                output_type="np",
                **given,
            )

    def _to_device(self) -> None:
        model = self._plan.preset.model
        try:
            if self._plan.options.cpu_offload:
                self.pipeline.enable_model_cpu_offload(device=self._device)
            else:
                self.pipeline.to(self._device)
        except torch.OutOfMemoryError:
            raise InputError(
                f"image model {model} does not fit on {self._device}; set cpu_offload: true"
            ) from None

    def _within_memory(self, size: tuple[int, int], work: Callable[[], _T]) -> _T:
        try:
            return work()
        except torch.OutOfMemoryError:
            pass  # the memory is freed below: in here the traceback still refers to tensors
        self.pipeline.maybe_free_model_hooks()
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        raise OutOfMemory(size)


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random state, which a pipeline may use beside its generators, and restore it
    afterwards."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.get_device_module(device).manual_seed(seed)
        yield


def _device(chosen: Plan) -> torch.device:
    device = parse_device(chosen.options.device, "synthesis.options.device")
    if chosen.options.cpu_offload and device.type == "cpu":
        raise InputError("synthesis: cpu_offload needs an accelerator; remove it")
    return device


def _pipeline_class(chosen: Plan) -> type[Any]:
    name = chosen.preset.pipeline
    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise InputError(
            f"synthesis: diffusers {diffusers.__version__} has no pipeline '{name}'; "
            "correct the name or update diffusers"
        )
    return kind


def _accepted(kind: type[Any], chosen: Plan) -> frozenset[str]:
    """Return the names of the arguments that the class's call takes. Raises InputError when it does
    not take one that is needed, or one that the user has set."""
    names = frozenset(inspect.signature(kind.__call__).parameters)
    if missing := sorted(_NEEDED - names):
        raise InputError(
            f"synthesis: {kind.__name__} takes no {missing[0]}; use a text-guided inpainting class"
        )
    options, preset = chosen.options, chosen.preset
    settings = {
        "num_inference_steps": options.steps,
        "strength": options.strength,
        preset.guidance_name: options.guidance,
        "negative_prompt": options.negative_prompt,
    }
    for name, value in settings.items():
        if value is not None and name not in names:
            raise InputError(f"synthesis: {kind.__name__} takes no {name}; remove the setting")
    return names


def _from_pretrained(kind: type[Any], chosen: Plan, source: str, revision: str | None) -> Any:
    preset = chosen.preset
    dtype = getattr(torch, preset.dtype)
    try:
        return kind.from_pretrained(source, revision=revision, dtype=dtype, **preset.load)
    except _CANNOT_LOAD as error:
        raise InputError(
            f"image model {preset.model} cannot be loaded as {kind.__name__} ({_line(error)})"
        ) from error


def _add_lora(pipeline: Any, lora: str, few: FewSteps | None) -> None:
    name = type(pipeline).__name__
    if not hasattr(pipeline, "load_lora_weights"):
        raise InputError(f"synthesis: {name} takes no LoRA; remove lora")
    folder, file = os.path.split(os.path.abspath(lora))
    try:
        pipeline.load_lora_weights(folder, weight_name=file)
    except (*_CANNOT_LOAD, RuntimeError, KeyError) as error:
        raise InputError(f"LoRA {lora} cannot be put on {name} ({_line(error)})") from error
    if not pipeline.get_active_adapters():
        raise InputError(f"LoRA {lora} has no weights for {name}; use another")
    if few is not None and few.scheduler:
        kind = type(pipeline.scheduler)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **few.scheduler)


def _refuse_undistilled(pipeline: Any, chosen: Plan) -> None:
    """Raise InputError when the preset has few steps and the model was not distilled for them,
    because it would paint noise."""
    distilled = pipeline.config.get("is_distilled", True)
    by_preset = chosen.preset.steps is not None and chosen.options.steps is None
    if not distilled and by_preset:
        raise InputError(
            f"image model {chosen.preset.model} is not distilled; set steps (50) and guidance (4)"
        )


def _line(error: BaseException) -> str:
    """Return the start of a library's message, on one line."""
    return one_line(error)[:200]


def _through_vae(vae: Any, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Encode uint8 (H, W, 3) to its most likely latents and decode them.

    Both sides must be multiples of the autoencoder's scale. An autoencoder for videos gets the
    picture as a video of one frame. Returns float32 (H, W, 3) in [0, 1], NaN or infinite where the
    autoencoder overflowed.
    """
    dtype = vae.dtype
    film = "temperal_downsample" in vae.config
    upcast = dtype == torch.float16 and vae.config.get("force_upcast", False)
    try:
        if upcast:  # SDXL's overflows in half precision; its pipeline upcasts as well
            vae.to(torch.float32)
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(device, vae.dtype) / 127.5 - 1
        with torch.no_grad():
            latents = vae.encode(pixels[:, :, None] if film else pixels).latent_dist.mode()
            decoded = vae.decode(latents, return_dict=False)[0]
    finally:
        if upcast:
            vae.to(dtype)
    frame = decoded[0, :, 0] if film else decoded[0]
    return (frame.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
