"""Puts the results of the parts into RESULTS.md, what has not been measured included."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.schedule import PARTS
from benchmarks.gpu_step.report import table
from benchmarks.results import write_section

TITLE = "Check on a GPU"
Result = dict[str, Any]


def write_report(results: Path, dry_run: bool) -> None:
    """Write the section, or, with ``dry_run``, only print it. Exits with one line if no part has a
    result: a section that was written before stays."""
    found = {name: _read(results / f"{name}.json") for name in PARTS}
    if not any(found.values()):
        sys.exit(
            f"error: {results} has no result of any part; first: python -m benchmarks.gpu_check run"
        )
    body = report(found)
    print(body)
    if not dry_run:
        write_section(TITLE, body)


def report(found: Mapping[str, Result | None]) -> str:
    """Return the section: a table of all parts, and what each has measured."""
    rows, parts = [], []
    for name, part in PARTS.items():
        one = found.get(name)
        state = "not measured" if one is None else one["state"]
        seconds = "" if one is None else f"{one['seconds']:.0f}"
        rows.append([name, part.title, state, seconds])
        if one is not None:
            parts.append(f"### {part.title}\n\n{_body(name, one)}")
    return "\n\n".join([table(["part", "what", "state", "s"], rows), *parts])


def _body(name: str, one: Result) -> str:
    if one["state"] == "failed":
        return f"Failed: {one['why']}.\n\n```\n{one['output'][-1500:]}\n```"
    said = f"{one['accelerator']}; {one['machine']}; {one['versions']}."
    return f"{said}\n\n{_BODIES.get(name, _step)(one)}"


def _correctness(one: Result) -> str:
    head = ["model", "log p, ours", "plain", "gradient, ours", "plain", "graphs sample the same"]
    rows = [
        [
            name,
            *(f"{e[key]:.1e}" for key in ("logprobs", "plain_logprobs", "grad", "plain_grad")),
            "yes" if e["graphs_sample_the_same"] else "no",
        ]
        for name, e in one["errors"].items()
    ]
    return (
        "Largest error of a token's log-probability (nats) and relative error of the gradient of "
        "all weights, against plain transformers in float32; *plain*: transformers in the same "
        "type.\n\n" + table(head, rows)
    )


def _kernels(one: Result) -> str:
    return f"`{' '.join(one['tests'])}`: {one['outcome']}"


def _demo(one: Result) -> str:
    rows = [
        [str(e["step"]), e["set"], f"{e['metrics']['greedy/accuracy']:.3f}"]
        for e in one["evaluations"]
    ]
    body = table(["step", "set", "greedy accuracy"], rows)
    return f"{one['steps']} steps, median {one['step_s']:.2f} s a step.\n\n{body}"


def _step(one: Result) -> str:
    return str(one["body"])


def _matrix(one: Result) -> str:
    rows = [
        [cell, name, *(f"{values[key]:.1f}" for key in ("greedy", "sampled") if key in values)]
        for cell, sets in one["cells"].items()
        for name, values in sets.items()
    ]
    return table(["cell", "set", "greedy, %", "sampled, %"], rows)


_BODIES: Mapping[str, Callable[[Result], str]] = {
    "correctness": _correctness,
    "kernels": _kernels,
    "demo": _demo,
    "matrix": _matrix,
}


def _read(file: Path) -> Result | None:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except ValueError:
        sys.exit(f"error: {file} cannot be read; run the part again: run --only {file.stem}")
