"""Options and presets of the generator ``diffusers``: how each pipeline class is loaded and called.

``plan`` puts the user's options and a preset together. Nothing here imports torch or diffusers. The
values of the presets were read in diffusers 0.42; docs/generators.md explains each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from syngrpo.options import option
from syngrpo.painting.generators.sizes import SizeRule
from syngrpo.sample import InputError

_T = TypeVar("_T")


@dataclass(frozen=True)
class DiffusersOptions:
    """Which pipeline paints, and how. None: the value of the preset."""

    preset: str | None = option(
        None, "flux2-klein, z-image-turbo, qwen-image-inpaint or sdxl-inpaint; null: flux2-klein"
    )
    pipeline: str | None = option(
        None, "an inpainting class of diffusers, used instead of a preset; needs model"
    )
    model: str | None = option(
        None, "directory in diffusers' format or id on the Hugging Face hub; null: the preset's"
    )
    device: str = option(
        "auto", '"cuda", "cuda:1" or "cpu"; auto: the accelerator if there is one, else the CPU'
    )
    dtype: Literal["bfloat16", "float16", "float32"] | None = option(
        None, "number format of the weights; null: the preset's"
    )
    steps: int | None = option(None, "denoising steps; null: the preset's", ge=1)
    guidance: float | None = option(None, "scale of classifier-free guidance; null: the preset's")
    strength: float | None = option(
        None, "share of the noise schedule that is run; null: the preset's", gt=0, le=1
    )
    negative_prompt: str | None = option(None, "what not to paint; null: the preset's")
    min_pixels: int | None = option(
        None, "smallest area in pixels in which a picture is painted; null: the preset's", ge=1
    )
    max_pixels: int | None = option(
        None, "largest area in pixels in which a picture is painted; null: the preset's", ge=1
    )
    lora: str | None = option(None, "file with LoRA weights, or directory with one such file")
    cpu_offload: bool = option(
        False, "keep only the part of the model on the device that is computing, to save memory"
    )


@dataclass(frozen=True)
class FewSteps:
    """The values that replace a preset's when a LoRA is added that was distilled to paint in few
    steps. ``scheduler`` are changes of the scheduler's configuration."""

    steps: int
    guidance: float
    scheduler: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """How a pipeline class is loaded and called. None: the class's own default.

    ``guidance_name`` is the class's argument for the scale of classifier-free guidance.
    ``negative_prompt`` None means that the pipeline takes none or ignores it. ``load`` are further
    arguments of ``from_pretrained``. ``lora`` are the values to use with a LoRA, None: the same.
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

    @property
    def is_guided(self) -> bool:
        """Whether guidance has an effect, and with it a negative prompt."""
        return self.guidance is None or self.guidance > 1


_QWEN_LIGHTNING = FewSteps(
    steps=8,
    guidance=1.0,
    scheduler=MappingProxyType(
        {  # the LoRA was distilled with a constant shift of 3 and without a terminal shift
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
            # Without a negative prompt the pipeline uses no guidance. A blank one is enough.
            negative_prompt=" ",
            lora=_QWEN_LIGHTNING,
        ),
        "sdxl-inpaint": Preset(
            pipeline="StableDiffusionXLInpaintPipeline",
            model="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
            steps=20,
            guidance=8.0,
            # At exactly 1 the pipeline starts from noise that its model was not trained on.
            strength=0.99,
            negative_prompt="blurry, distorted, low quality, text, watermark",
            # Latents are 8 times smaller than the picture, and the network halves them twice.
            size=SizeRule(multiple=32, min_pixels=768 * 768),
            dtype="float16",
            # Otherwise pictures get a watermark where the package invisible-watermark is installed.
            load=MappingProxyType({"add_watermarker": False}),
        ),
    }
)


@dataclass(frozen=True)
class Plan:
    """A preset with the user's options applied. ``name`` is the preset's or the pipeline's."""

    name: str
    preset: Preset
    options: DiffusersOptions


def plan(options: DiffusersOptions) -> Plan:
    """Return the preset that the options name, with their values applied.

    Raises InputError for a preset that is unknown and for options that contradict each other or
    have no effect.
    """
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
    if options.negative_prompt and not preset.is_guided:
        raise InputError(
            f"synthesis: negative_prompt has no effect with guidance {preset.guidance:g}; raise "
            "guidance above 1, or remove negative_prompt"
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
    # Every pipeline uses an empty negative prompt when it is given none.
    anything = Preset(options.pipeline, options.model, None, None, 1.0, negative_prompt="")
    if options.pipeline.startswith("QwenImage"):  # they take guidance_scale, too, and ignore it
        anything = replace(anything, guidance_name="true_cfg_scale")
    return anything, options.pipeline


def _first(override: _T | None, value: _T) -> _T:
    return value if override is None else override
