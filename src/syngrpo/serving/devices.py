"""Reads the name of a torch device that the user gave, such as ``cuda:1``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syngrpo.sample import InputError
from syngrpo.serving.wording import first_line

if TYPE_CHECKING:
    import torch


def parse_device(name: str, key: str = "device") -> torch.device:
    """Return the device with this name: ``cpu``, ``cuda``, ``cuda:1``, …; ``auto`` is the
    accelerator of this host, or the CPU if it has none.

    ``key`` is the option that messages name. Raises InputError when there is no such device or this
    host cannot use it.
    """
    import torch

    try:
        if name == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            device = accelerator or torch.device("cpu")
        else:
            device = torch.device(name)
    except RuntimeError:
        raise InputError(f"{key} {name!r} is unknown; use cpu, cuda, cuda:1 or auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{key} {name!r} is not available on this host; use cpu")
    try:
        torch.ones(1, device=device).item()  # "meta" makes tensors, but they have no values
    except (RuntimeError, AssertionError, ImportError) as error:
        # What torch raises depends on the device: AssertionError for one it was built without. Its
        # messages list all that it knows after the first sentence.
        reason = first_line(error).partition(". ")[0]
        usable = " or ".join(_usable())
        raise InputError(f"{key} {name!r} cannot be used ({reason}); use {usable}") from None
    return device


def _usable() -> list[str]:
    """Return the names of the devices of this host."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{n}" for n in range(torch.accelerator.device_count()))]
