"""Peak performance of devices, by the data sheets of their makers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """``flops``: floating point operations a second, bfloat16, dense. ``bandwidth``: of its memory,
    in bytes a second."""

    name: str
    flops: float
    bandwidth: float


DEVICES = (
    Device("H200", 989e12, 4.8e12),
    Device("H100 PCIe", 756e12, 2.0e12),
    Device("H100 NVL", 835e12, 3.9e12),
    Device("H100", 989e12, 3.35e12),
    Device("A100-SXM4-40GB", 312e12, 1.555e12),
    Device("A100", 312e12, 2.039e12),
    Device("L40S", 362e12, 0.864e12),
)
"""From NVIDIA's data sheets. The first entry counts whose words all occur in the device's name."""

COMPARED = tuple(device for device in DEVICES if device.name in ("H200", "H100", "A100"))


def device_called(name: str) -> Device | None:
    """Return the device with this CUDA name, None if it is unknown."""
    return next((d for d in DEVICES if all(word in name for word in d.name.split())), None)
