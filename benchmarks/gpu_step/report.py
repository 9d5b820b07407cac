"""The tables of RESULTS.md about the GPU step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.against_trl import Times, ratio
from benchmarks.gpu_step.devices import COMPARED, Device
from benchmarks.gpu_step.measure import Measured, Run
from benchmarks.gpu_step.memory import Memory
from benchmarks.gpu_step.work import Setting, Work

NOT_MEASURED = (
    "**Not measured: no GPU could be had.** Step time against TRL, model-FLOPs utilisation, share "
    "of the memory bandwidth and peak memory on a device are therefore not known; "
    "`python -m benchmarks.gpu_step` measures them wherever one is. What follows is calculated: "
    "what a step has to compute and to move, and how long that takes at the very least."
)

UTILISATION, BANDWIDTH_SHARE = 0.4, 0.5
"""The goals: shares of the device's peak performance."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tera(number: float) -> str:
    return f"{number / 1e12:,.0f}"


def giga(number: float) -> str:
    return f"{number / 1e9:.1f}"


def describe(setting: Setting) -> str:
    return (
        f"One step: {setting.prompts} prompts with an image of {setting.width} x {setting.height}, "
        f"G = {setting.group}, {setting.new_tokens} new tokens each, bfloat16"
    )


def arithmetic(works: Sequence[Work]) -> str:
    """Return everything that can be said without a device."""
    parts = [
        describe(works[0].setting) + "; full: float32 master weights, vision tower trained; LoRA: "
        "rank 64 on the decoder, vision tower frozen.",
        sizes(works),
        "FLOPs (10¹²) that a step needs; TRL's rows repeat prompt and image G times:",
        operations(works),
        "Bytes (10⁹) that one step of decoding reads, in the middle of the responses, and an "
        "optimizer step moves:",
        traffic(works),
        f"Seconds a step at the limits of the device, and at {UTILISATION:.0%} of its FLOPs in the "
        f"update and prefill and {BANDWIDTH_SHARE:.0%} of its bandwidth in decoding, which is "
        "aimed at (without the time between kernels, and without encoding images):",
        seconds(works),
        "Memory in GB (10⁹ bytes). Activations are measured on the CPU, at the real width, by what "
        "autograd keeps for our packed rows; allocator and kernels take some more:",
        memory([Memory(work) for work in works]),
    ]
    return "\n\n".join(parts)


def sizes(works: Sequence[Work]) -> str:
    rows = [
        [
            work.shape.name,
            f"{work.parameters:,}",
            f"{work.prompt} ({work.image_tokens})",
            f"{work.packed[0]:,}",
            f"{work.padded[0]:,}",
        ]
        for work in {work.shape.name: work for work in works}.values()
    ]
    head = ["model", "parameters", "prompt (image)", "tokens, packed", "tokens, padded rows"]
    return table(head, rows)


def operations(works: Sequence[Work]) -> str:
    rows = []
    for work in works:
        numbers = [
            work.update_flops(),
            work.update_flops(padded=True),
            work.prefill_flops(),
            work.prefill_flops(padded=True),
            sum(work.decode_flops(i) for i in range(work.setting.new_tokens - 1)),
        ]
        share = work.update_flops(padded=True) / work.update_flops()
        rows.append([label(work), *map(tera, numbers), f"{share:.1f} x"])
    head = ["model", "update", "TRL's", "prefill", "TRL's", "decoding", "TRL's update / ours"]
    return table(head, rows)


def traffic(works: Sequence[Work]) -> str:
    rows = []
    for work in works:
        middle = work.setting.new_tokens // 2
        numbers = [
            work.decoder_bytes,
            work.decode_bytes(middle) - work.decoder_bytes,
            work.decode_bytes(middle, padded=True) - work.decoder_bytes,
            work.optimizer_bytes,
        ]
        rows.append([label(work), *map(giga, numbers)])
    head = ["model", "weights", "keys and values", "one copy a row (TRL)", "optimizer step"]
    return table(head, rows)


def decode_limit(work: Work, device: Device, share: float = 1.0) -> float:
    """Return the seconds of all decoding steps if each moves or computes at ``share`` of the
    peak."""
    return (
        sum(
            max(work.decode_bytes(i) / device.bandwidth, work.decode_flops(i) / device.flops)
            for i in range(work.setting.new_tokens - 1)
        )
        / share
    )


def seconds(works: Sequence[Work]) -> str:
    rows = []
    for work in works:
        for device in COMPARED:
            computed = [work.prefill_flops() / device.flops, work.update_flops() / device.flops]
            moved = work.optimizer_bytes / device.bandwidth
            best = [computed[0], decode_limit(work, device), computed[1] + moved]
            aim = [
                computed[0] / UTILISATION,
                decode_limit(work, device, BANDWIDTH_SHARE),
                computed[1] / UTILISATION + moved / BANDWIDTH_SHARE,
            ]
            numbers = [*best, sum(best), *aim, sum(aim)]
            rows.append([label(work), device.name, *(f"{n:.2f}" for n in numbers)])
    halves = ["prefill", "decoding", "update", "step"]
    return table(["model", "device", *halves, *(f"{half}, aim" for half in halves)], rows)


def memory(memories: Sequence[Memory]) -> str:
    rows = []
    for each in memories:
        groups = each.work.setting.prompts
        numbers = [
            each.weights,
            each.gradients,
            each.optimizer,
            each.reference,
            each.activations(1, checkpointing=False),
            each.activations(groups, checkpointing=True),
            each.head,
            each.rollout,
            each.peak(1, checkpointing=False),
            each.peak(groups, checkpointing=True),
            each.peak(groups, checkpointing=True, reference=True),
        ]
        rows.append([label(each.work), *map(giga, numbers)])
    head = [
        "model",
        "weights",
        "gradients",
        "optimizer",
        "KL reference",
        "activations, a group at a time",
        "all groups, checkpointing",
        "logits",
        "rollout's cache",
        "peak, a group at a time",
        "peak, all, checkpointing",
        "the same with reference",
    ]
    return table(head, rows)


def label(work: Work) -> str:
    return f"{work.shape.name}, {'full' if work.lora is None else 'LoRA'}"


def results(work: Work, run: Run, measured: Measured, device: Device | None) -> str:
    """Return the measured numbers. Without ``device`` they are not given as shares of its peak."""
    rows = [halves("ours, alone", measured.alone)]
    if measured.ours and measured.theirs:
        rows += [halves("ours", measured.ours), halves("TRL", measured.theirs)]
        names = ("step", "rollout", "update")
        pairs = [(getattr(measured.theirs, n), getattr(measured.ours, n)) for n in names]
        rows.append(["TRL / ours", *(f"{ratio(*pair):.1f} x" for pair in pairs)])
    update = statistics.median(measured.alone.update)
    read = work.decode_bytes(3 * work.setting.new_tokens // 5)
    lines = [
        f"update: {work.update_flops() / 1e12:,.2f} x 10¹² model FLOPs"
        + _share(work.update_flops() / update, device.flops if device else None),
        f"decoding: {1e3 * measured.decode_s:.2f} ms a token of all rows, {read / 1e9:.3f} GB read"
        + _share(read / measured.decode_s, device.bandwidth if device else None),
        f"prompts of {measured.prompt} tokens, {run.groups} group(s) a micro-batch, TRL "
        f"{run.rows} rows; gradient checkpointing {'on' if run.checkpointing else 'off'}; medians "
        f"of {run.steps} steps, ratio = median of step-by-step ratios",
    ]
    if measured.peak is not None:
        expected = Memory(work).peak(run.groups, run.checkpointing)
        lines.append(f"peak memory alone: {giga(measured.peak)} GB, calculated {giga(expected)}")
    body = table(["s", "step", "rollout", "update"], rows)
    return f"{describe(work.setting)}.\n\n{body}\n\n" + "\n".join(f"- {line}" for line in lines)


def halves(name: str, times: Times) -> list[str]:
    medians = (statistics.median(v) for v in (times.step, times.rollout, times.update))
    return [name, *(f"{value:.3f}" for value in medians)]


def _share(rate: float, best: float | None) -> str:
    return "" if best is None else f" = {rate / best:.1%} of the device's best"
