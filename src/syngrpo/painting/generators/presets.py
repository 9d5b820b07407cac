"""What is known about each family of inpainting pipelines, and the settings one run uses.

Nothing here imports torch or diffusers. The facts were read in diffusers 0.42; docs/generators.md
explains each number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from syngrpo.painting.generators.sizes import SizeRule
from syngrpo.sample import InputError

_T = TypeVar("_T")
DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class DiffusersOptions:
    """Which pipeline paints, and how. None leaves a value to the preset.

    ``preset`` is a key of PRESETS (the default is flux2-klein); ``pipeline`` instead names any
    inpainting class of diffusers and then needs a ``model``. ``model`` is a directory in diffusers'
    format or an id on the Hugging Face hub, ``lora`` a file or a directory with LoRA weights.
    ``device`` "auto" takes the accelerator where there is one. The picture is painted with at least
    ``min_pixels`` and at most ``max_pixels``, whatever size it is wanted in. ``batch`` requests of
    equal size are painted at a time; with 1 a picture is the same to the last bit whatever it is
    painted with, with more it may differ by rounding.
    """

    preset: str | None = None
    pipeline: str | None = None
    model: str | None = None
    device: str = "auto"
    dtype: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    negative_prompt: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    batch: int = 1
    lora: str | None = None
    cpu_offload: bool = False


@dataclass(frozen=True)
class FewSteps:
    """What changes when a distilled LoRA, which paints in few steps, is put on a model."""

    steps: int
    guidance: float
    scheduler: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """How a pipeline class is loaded and called. None: the class's own default.

    ``guidance_name`` is what the class calls classifier-free guidance. ``negative_prompt`` None
    means that the pipeline has none or ignores it. ``load`` goes to ``from_pretrained``.
    """

    pipeline: str
    model: str
    steps: int | None
    guidance: float | None
    strength: float | None
    guidance_name: str = "guidance_scale"
    negative_prompt: str | None = None
    size: SizeRule = field(default_factory=SizeRule)
    dtype: str = "bfloat16"
    load: Mapping[str, Any] = field(default_factory=dict)
    lora: FewSteps | None = None


_QWEN_LIGHTNING = FewSteps(
    steps=8,
    guidance=1.0,
    scheduler=MappingProxyType(
        {  # distilled with a constant shift of 3 and without a terminal one
            "base_shift": math.log(3),
            "max_shift": math.log(3),
            "shift": 1.0,
            "shift_terminal": None,
            "use_dynamic_shifting": True,
            "time_shift_type": "exponential",
        }
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "flux2-klein": Preset(
            pipeline="Flux2KleinInpaintPipeline",
            model="black-forest-labs/FLUX.2-klein-4B",
            steps=4,
            guidance=1.0,
            strength=1.0,
        ),
        "z-image-turbo": Preset(
            pipeline="ZImageInpaintPipeline",
            model="Tongyi-MAI/Z-Image-Turbo",
            steps=8,
            guidance=0.0,
            strength=1.0,
        ),
        "qwen-image-inpaint": Preset(
            pipeline="QwenImageInpaintPipeline",
            model="Qwen/Qwen-Image",
            steps=50,
            guidance=4.0,
            strength=1.0,
            guidance_name="true_cfg_scale",
            # Without any negative prompt, even a blank one, there is no guidance at all.
            negative_prompt=" ",
            lora=_QWEN_LIGHTNING,
        ),
        "sdxl-inpaint": Preset(
            pipeline="StableDiffusionXLInpaintPipeline",
            model="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
            steps=20,
            guidance=8.0,
            # At exactly 1 the pipeline starts from noise that its model never saw in training.
            strength=0.99,
            negative_prompt="blurry, distorted, low quality, text, watermark",
            # Two halvings in the network, of latents that are 8 times smaller than the picture.
            size=SizeRule(multiple=32, min_pixels=768 * 768),
            dtype="float16",
            # Else the picture depends on whether a package for watermarks happens to be installed.
            load=MappingProxyType({"add_watermarker": False}),
        ),
    }
)


@dataclass(frozen=True)
class Plan:
    """A preset with the options worked in; ``name`` is the preset's or the pipeline's."""

    name: str
    preset: Preset
    options: DiffusersOptions


def plan(options: DiffusersOptions) -> Plan:
    """Raises InputError for options that are unknown, contradict each other or have no effect."""
    _check_numbers(options)
    preset, name = _chosen(options)
    few = preset.lora if options.lora is not None else None
    if few is not None:
        preset = replace(preset, steps=few.steps, guidance=few.guidance)
    if options.negative_prompt is not None and preset.negative_prompt is None:
        raise InputError(
            f"synthesis: {name} does not take a negative prompt; remove negative_prompt"
        )
    size = replace(
        preset.size,
        min_pixels=_first(options.min_pixels, preset.size.min_pixels),
        max_pixels=_first(options.max_pixels, preset.size.max_pixels),
    )
    if size.min_pixels > size.max_pixels:
        raise InputError(
            f"synthesis: min_pixels {size.min_pixels} is more than max_pixels {size.max_pixels}"
        )
    preset = replace(
        preset,
        model=_first(options.model, preset.model),
        steps=_first(options.steps, preset.steps),
        guidance=_first(options.guidance, preset.guidance),
        strength=_first(options.strength, preset.strength),
        negative_prompt=_first(options.negative_prompt, preset.negative_prompt),
        dtype=_first(options.dtype, preset.dtype),
        size=size,
    )
    return Plan(name, preset, options)


def _chosen(options: DiffusersOptions) -> tuple[Preset, str]:
    if options.pipeline is None:
        name = options.preset or "flux2-klein"
        if name not in PRESETS:
            known = ", ".join(PRESETS)
            raise InputError(f"synthesis: preset '{name}' is unknown; use one of {known}")
        return PRESETS[name], name
    if options.preset is not None:
        raise InputError(
            f"synthesis: preset '{options.preset}' and pipeline '{options.pipeline}' exclude each "
            "other; remove one"
        )
    if options.model is None:
        raise InputError(
            f"synthesis: pipeline '{options.pipeline}' needs a model, a directory or a hub id"
        )
    # An empty negative prompt is what every pipeline uses when it is given none.
    anything = Preset(options.pipeline, options.model, None, None, 1.0, negative_prompt="")
    return anything, options.pipeline


def _check_numbers(options: DiffusersOptions) -> None:
    for name in ("steps", "batch", "min_pixels", "max_pixels"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"synthesis: {name} is {value}; it must be at least 1")
    if options.strength is not None and not 0 < options.strength <= 1:
        raise InputError(f"synthesis: strength is {options.strength}; it must be in (0, 1]")
    if options.dtype is not None and options.dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise InputError(f"synthesis: dtype '{options.dtype}' is unknown; use one of {known}")


def _first(override: _T | None, value: _T) -> _T:
    return value if override is None else override
