"""Light falls on the finished picture: one gain per pixel, a tint, and for glare a haze."""

from __future__ import annotations

import numpy as np

Pixels = np.ndarray
TINTS: dict[str, tuple[float, float, float]] = {
    "warm": (1.06, 0.95, 0.78),
    "cool": (0.86, 0.96, 1.08),
    "dim": (0.56, 0.56, 0.62),
    "spot": (1.05, 1.02, 0.95),
    "shadows": (1.03, 0.98, 0.90),
    "bright": (1.07, 1.07, 1.06),
}


def apply_light(pixels: Pixels, light: str, horizon: float, rng: np.random.Generator) -> Pixels:
    """uint8 (H, W, 3) → uint8 (H, W, 3). ``horizon`` is the floor line as a share of the height.

    Deterministic for the generator's state, which advances equally for every light.
    """
    side, u, v, phase = (float(value) for value in rng.random(4))
    height, width = pixels.shape[:2]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    toward = x if side < 0.5 else 1 - x
    # Walls darken towards the ceiling, floors brighten towards the viewer, one side is lit more.
    depth = np.where(y < horizon, 0.93 + 0.09 * y / horizon, 0.9 + 0.12 * (y - horizon))
    gain = (depth * (1.03 - 0.08 * toward)).astype(np.float32)
    gain = gain * _pattern(light, x, y, toward, (u, v), phase)
    tint = np.asarray(TINTS.get(light, (1, 1, 1)), dtype=np.float32)
    lit = pixels * (gain[..., None] * (_neon(x, side) if light == "neon" else tint))
    if light == "glare":
        centre = (0.2 + 0.6 * u, 0.15 + 0.45 * v)
        haze = 0.66 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.075)[..., None]
        lit += (255 - lit) * haze
    return np.clip(lit, 0, 255).astype(np.uint8)


def _pattern(
    light: str,
    x: Pixels,
    y: Pixels,
    toward: Pixels,
    centre: tuple[float, float],
    phase: float,
) -> Pixels | float:
    """The gain beside the common shading, (H, W) or a number."""
    if light == "spot":
        cx, cy = 0.2 + 0.6 * centre[0], 0.3 + 0.5 * centre[1]
        return 0.48 + 0.70 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.07)
    if light == "shadows":
        # Window bars throw long slanted shadows over wall and floor.
        wave = np.sin(6.2832 * (2.2 * toward + 1.1 * y + phase))
        return 0.84 + 0.18 * np.clip(wave * 3, -1, 1)
    if light == "blinds":
        wave = np.sin(6.2832 * (9 * y + 2 * toward + phase))
        return 0.84 + 0.18 * np.clip(wave * 2, -1, 1)
    if light == "dappled":
        a = np.sin(6.2832 * (3.1 * x + phase)) * np.sin(6.2832 * (2.7 * y + centre[0]))
        b = np.sin(6.2832 * (5.3 * (x + y) + centre[1])) * np.sin(6.2832 * (4.1 * (x - y)))
        return 0.88 + 0.18 * np.clip(a + b, -1, 1)
    return 1.0


def _neon(x: Pixels, side: float) -> Pixels:
    """Magenta from one side, cyan from the other: (1, W, 3)."""
    blend = (x if side < 0.5 else 1 - x)[..., None]
    magenta = np.asarray((1.12, 0.68, 1.05), dtype=np.float32)
    cyan = np.asarray((0.66, 1.02, 1.12), dtype=np.float32)
    return magenta * (1 - blend) + cyan * blend
