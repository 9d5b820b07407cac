"""``syngrpo doctor``: prints the versions, processors, GPUs and disk of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def doctor() -> None:
    """Print what this machine has: versions, processors, GPUs, disk."""
    for name, value in _machine():
        print(f"{name:>14}  {value}")


def _machine() -> Iterator[tuple[str, str]]:
    import os
    import platform
    import shutil
    from importlib.metadata import version

    from syngrpo.pool.filesystem import filesystem_type

    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in ("syngrpo", "torch", "torchvision", "transformers", "accelerate", "peft"):
        yield package, version(package)
    import torch

    yield "cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield f"gpu {index}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        yield "gpu", "none that torch can use"
    disk = shutil.disk_usage(".")
    kind = filesystem_type(Path(".")) or "unknown filesystem"
    yield "disk here", f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free, {kind}"
