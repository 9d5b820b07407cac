"""Runs one part and writes its result: ``python -m benchmarks.gpu_check.part NAME RESULT SECONDS``.

``schedule`` starts it in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check.correctness import correctness
from benchmarks.gpu_check.parts import Scope, demo, kernels, matrix, step
from benchmarks.gpu_check.schedule import NO_GPU
from benchmarks.machine import machine, versions
from syngrpo.serving.atomic_files import atomic_write

Measure = Callable[[Scope], dict[str, Any]]

MEASURES: Mapping[str, Measure] = {
    "correctness": correctness,
    "kernels": kernels,
    "demo": demo,
    "step-3b-lora": lambda scope: step(scope, "qwen2.5-vl-3b", lora=True),
    "step-3b-full": lambda scope: step(scope, "qwen2.5-vl-3b", lora=False),
    "step-8b-lora": lambda scope: step(scope, "qwen3-vl-8b", lora=True, peer=False),
    "step-4b-lora": lambda scope: step(scope, "qwen3-vl-4b", lora=True),
    "matrix": matrix,
}
PACKAGES = ("syngrpo", "torch", "transformers", "trl", "peft", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=list(MEASURES))
    parser.add_argument("result", type=Path)
    parser.add_argument("seconds", type=float, help="after which the part is stopped")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        sys.exit(NO_GPU.format(torch.__version__))
    device = torch.device("cpu" if options.tiny else "cuda")
    scope = Scope(device, options.tiny, options.result.with_suffix(""), options.seconds)
    start = time.monotonic()
    found = MEASURES[options.name](scope)
    accelerator = "CPU" if options.tiny else torch.cuda.get_device_name(device)
    result = {
        "state": "done",
        "seconds": round(time.monotonic() - start, 1),
        "accelerator": accelerator,
        "machine": machine(),
        "versions": versions(PACKAGES),
        **found,
    }
    atomic_write(options.result, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
