"""A picture through a pipeline's autoencoder and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def round_trip(vae: Any, image: np.ndarray, device: torch.device) -> np.ndarray:
    """What is left of uint8 (H, W, 3) after encoding (its most likely latents) and decoding.

    Both sides are multiples of the autoencoder's scale. An autoencoder for videos takes the
    picture as a film of one frame. The result is float32 (H, W, 3) in [0, 1], not finite where the
    autoencoder overflowed.
    """
    dtype = vae.dtype
    film = "temperal_downsample" in vae.config
    upcast = dtype == torch.float16 and vae.config.get("force_upcast", False)
    try:
        if upcast:  # that of SDXL overflows in half precision; its pipeline does this too
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
