"""Tiny random-weight image models in diffusers' format, for tests.

Every component is of the real class; the autoencoders shrink by 8, as the real ones do. Only
widths and depths are small.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from tiny_models import build_tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from syngrpo.painting.compositing import erase_background
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.generators.diffusers_generator import DiffusersGenerator

HIDDEN = 16
LATENTS = 4
BLOCKS = (8, 8, 8, 8)
WIDTH, HEIGHT = 96, 64
FAST = {"dtype": "float32", "device": "cpu", "min_pixels": 1, "max_pixels": WIDTH * HEIGHT}
STEPS = {"flux2-klein": None, "z-image-turbo": None, "qwen-image-inpaint": 2, "sdxl-inpaint": 3}
"""Fewer than the presets' where those have dozens."""


class TinyModels:
    """Models by preset, each saved and loaded when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._generators: dict[str, DiffusersGenerator] = {}

    def folder(self, preset: str) -> Path:
        folder = self._root / preset
        if not folder.exists():
            torch.manual_seed(0)
            _MODELS[preset]().save_pretrained(folder)
        return folder

    def fresh(self, preset: str, **settings: Any) -> DiffusersGenerator:
        """A generator of its own."""
        options = {"model": str(self.folder(preset)), "steps": STEPS[preset], **FAST, **settings}
        return DiffusersGenerator(preset=preset, **options)

    def generator(self, preset: str) -> DiffusersGenerator:
        """One that all tests share; they leave it as they found it."""
        if preset not in self._generators:
            self._generators[preset] = self.fresh(preset)
        return self._generators[preset]


def asked(
    seed: int = 1,
    prompt: str = "a red room",
    keep: np.ndarray | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> GenerationRequest:
    if keep is None:
        keep = np.zeros((size[1], size[0]), dtype=bool)
        keep[size[1] // 4 : -size[1] // 4, size[0] // 3 : -size[0] // 3] = True
    shade = np.linspace(40, 220, size[0], dtype=np.uint8)
    picture = np.stack([np.broadcast_to(shade, keep.shape)] * 3, axis=-1)
    return GenerationRequest(erase_background(picture, keep), keep, prompt, seed, size)


class Spy:
    """Stands in for a method; keeps what it was given and what it returned."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.given: list[Any] = []
        self.returned: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.given.append(copy.copy((args, kwargs)))
        self.returned.append(self.method(*args, **kwargs))
        return self.returned[-1]


def spied(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Spy:
    spy = Spy(getattr(owner, name))
    monkeypatch.setattr(owner, name, spy)
    return spy


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


def _flux2_klein() -> Any:
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=BLOCKS, layers_per_block=1, latent_channels=LATENTS, norm_num_groups=4
    )
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=4 * LATENTS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * HIDDEN,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return diffusers.Flux2KleinInpaintPipeline(
        scheduler=_flow(),
        vae=_certain(vae),
        text_encoder=transformers.Qwen3ForCausalLM(_qwen3(layers=28)),  # layers 9, 18, 27 are read
        tokenizer=build_tokenizer(),
        transformer=transformer,
        is_distilled=True,
    )


def _z_image_turbo() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=LATENTS,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=HIDDEN,
        axes_dims=[4, 6, 6],
    )
    return diffusers.ZImageInpaintPipeline(
        scheduler=_flow(),
        vae=_vae(shift_factor=0.1, scaling_factor=0.4),
        text_encoder=transformers.Qwen3Model(_qwen3(layers=2)),
        tokenizer=build_tokenizer(),
        transformer=transformer,
    )


def _qwen_image() -> Any:
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=LATENTS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[1.5, 1.0, 2.0, 1.0],
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=4 * LATENTS,
        out_channels=LATENTS,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN,
        axes_dims_rope=(4, 6, 6),
    )
    config = transformers.Qwen2_5_VLConfig(
        text_config=_sizes(2)
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        vision_config={"hidden_size": 16, "num_heads": 2, "depth": 1, "out_hidden_size": HIDDEN}
        | {"intermediate_size": 16, "fullatt_block_indexes": [0]},
    )
    return diffusers.QwenImageInpaintPipeline(
        scheduler=_flow(shift_terminal=0.02),
        vae=_certain(vae),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=build_tokenizer(),
        transformer=transformer,
    )


def _sdxl() -> Any:
    unet = diffusers.UNet2DConditionModel(
        in_channels=2 * LATENTS + 1,
        out_channels=LATENTS,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=2 * HIDDEN,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + HIDDEN,
    )
    return diffusers.StableDiffusionXLInpaintPipeline(
        vae=_vae(force_upcast=True),
        text_encoder=transformers.CLIPTextModel(_clip()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_clip()),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    )


_MODELS: dict[str, Callable[[], Any]] = {
    "flux2-klein": _flux2_klein,
    "z-image-turbo": _z_image_turbo,
    "qwen-image-inpaint": _qwen_image,
    "sdxl-inpaint": _sdxl,
}


def stable_diffusion_3(folder: Path) -> DiffusersGenerator:
    """A generator whose pipeline has no text encoders: it has sizes, and paints nothing."""
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
    )
    texts = [f"{kind}{n}" for kind in ("text_encoder", "tokenizer") for n in ("", "_2", "_3")]
    absent = dict.fromkeys(texts)
    diffusers.StableDiffusion3InpaintPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=_vae(shift_factor=0.1, scaling_factor=0.4),
        **absent,
    ).save_pretrained(folder)
    name = "StableDiffusion3InpaintPipeline"
    generator = DiffusersGenerator(pipeline=name, model=str(folder), dtype="float32", device="cpu")
    plan = generator._plan
    generator._plan = replace(plan, preset=replace(plan.preset, load=absent))
    return generator


def _flow(**settings: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **settings)


def _vae(**settings: Any) -> Any:
    vae = diffusers.AutoencoderKL(
        block_out_channels=BLOCKS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=4,
        **settings,
    )
    return _certain(vae)


def _certain(vae: Any) -> Any:
    """As in trained autoencoders, the latents hardly vary: what is sampled is what is likely."""
    with torch.no_grad():
        vae.quant_conv.weight[LATENTS:] = 0
        vae.quant_conv.bias[LATENTS:] = -30
    return vae


def _sizes(layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 512,
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }


def _qwen3(layers: int) -> Any:
    return transformers.Qwen3Config(**_sizes(layers), head_dim=8)


def _clip() -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=1024,
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=HIDDEN,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _clip_tokenizer() -> Any:
    """Every byte is a token, inside and at the end of a word."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{c}</w>" for c in alphabet)]
    vocab = {token: number for number, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)
