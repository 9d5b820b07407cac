"""Time, utilisation and memory of a training step on a GPU, ours against TRL's GRPOTrainer.

It uses the real architectures of Qwen2.5-VL and Qwen3-VL with random weights: nothing is
downloaded. Both trainers take turns in one process (see ``benchmarks.against_trl``), so the device
has to hold both: 140 GB to train all weights of the 3 B model, 80 GB with ``--lora``. With ``--peer
none`` only ours is measured.

    python -m benchmarks.gpu_step --model qwen2.5-vl-3b
    python -m benchmarks.gpu_step --model qwen3-vl-4b --lora
    python -m benchmarks.gpu_step --dry-run      # on any CPU: small, the same code
    python -m benchmarks.gpu_step --arithmetic   # what has to be computed and moved
"""

from __future__ import annotations

import argparse

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.gpu_step.devices import Device, device_called
from benchmarks.gpu_step.measure import Run, measure
from benchmarks.gpu_step.report import NOT_MEASURED, arithmetic, label, results
from benchmarks.gpu_step.shapes import SHAPES, small
from benchmarks.gpu_step.work import REHEARSED, Setting, Work
from benchmarks.results import write_section
from syngrpo.policy.model_options import LoraOptions

TITLE = "Training step on a GPU"
CALCULATED = (
    ("qwen2.5-vl-3b", None),
    ("qwen2.5-vl-3b", LoraOptions()),
    ("qwen3-vl-4b", None),
    ("qwen3-vl-4b", LoraOptions()),
    ("qwen3-vl-8b", LoraOptions()),
)


def main() -> None:
    options = arguments()
    transformers_logging.set_verbosity_error()
    if options.arithmetic:
        calculate(options.dry_run)
    else:
        run_steps(options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=sorted(SHAPES), default="qwen2.5-vl-3b")
    parser.add_argument("--lora", action="store_true", help="adapters instead of all weights")
    parser.add_argument("--peer", choices=["trl", "none"], default="trl")
    parser.add_argument("--groups", type=int, default=1, help="groups in a micro-batch of ours")
    parser.add_argument("--rows", type=int, default=8, help="rows in a micro-batch of TRL's")
    parser.add_argument("--checkpointing", action="store_true", help="of activations, in both")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--peak-tflops", type=float, help="of the device, bfloat16, dense")
    parser.add_argument("--peak-bandwidth", type=float, help="of its memory, in 10⁹ bytes a second")
    parser.add_argument("--arithmetic", action="store_true", help="calculate, measure nothing")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="a small model on the CPU; print, do not write RESULTS.md",
    )
    options = parser.parse_args()
    if not (options.dry_run or options.arithmetic or torch.cuda.is_available()):
        parser.error("there is no CUDA device; try --dry-run or --arithmetic")
    if (options.peak_tflops is None) != (options.peak_bandwidth is None):
        parser.error("give --peak-tflops and --peak-bandwidth together")
    return options


def calculate(dry_run: bool) -> None:
    body = arithmetic([Work(SHAPES[name], Setting(), lora) for name, lora in CALCULATED])
    if not torch.cuda.is_available():
        body = f"{NOT_MEASURED}\n\n{body}"
    print(body)
    if not dry_run:
        write_section(f"{TITLE}: calculated", body)


def run_steps(options: argparse.Namespace) -> None:
    shape, setting = SHAPES[options.model], Setting()
    device, rows, steps, warmup = torch.device("cuda"), options.rows, options.steps, options.warmup
    if options.dry_run:
        shape, setting = small(shape), REHEARSED
        device, rows, steps, warmup = torch.device("cpu"), 2, 1, 0
    work = Work(shape, setting, LoraOptions() if options.lora else None)
    run = Run(
        device, options.peer == "trl", options.groups, rows, options.checkpointing, steps, warmup
    )
    best = peaks(options, device)
    body = results(work, run, measure(work, run), best)
    print(body)
    if not options.dry_run:
        title = f"{TITLE}: {label(work)}, {torch.cuda.get_device_name(device)}"
        write_section(title, body)


def peaks(options: argparse.Namespace, device: torch.device) -> Device | None:
    """Return the device's peak performance: given on the command line, or known."""
    if options.peak_tflops is not None:
        return Device("given", options.peak_tflops * 1e12, options.peak_bandwidth * 1e9)
    return device_called(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


if __name__ == "__main__":
    main()
