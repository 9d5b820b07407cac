"""Measures whether reinforcement learning can still improve the bundled starter model.

Trains it with plain GRPO through the command line and writes the held-out accuracy on the way.

    python -m benchmarks.starter [--steps 300] [--method grpo]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import write_section
from syngrpo.pages.run_data import read_run

CONFIG = Path(__file__).parents[1] / "configs" / "rooms-rec.yaml"
METRICS = {
    "sampled/acc@0.5": "sampled Acc@0.5",
    "greedy/acc@0.5": "greedy Acc@0.5",
    "diversity/response": "D",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="optimisation steps")
    parser.add_argument("--method", default="grpo", help="method.name of the config")
    options = parser.parse_args()
    overrides = {
        "method.name": options.method,
        "trainer.steps": options.steps,
        "evaluation.every": max(options.steps // 3, 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [f"--set={key}={value}" for key, value in overrides.items()]
        command = [sys.executable, "-m", "syngrpo", "train", str(CONFIG), "--run-dir", str(run)]
        subprocess.run(command + settings, check=True)
        write_section(f"Starter model under {options.method}", _table(run))


def _table(run: Path) -> str:
    data = read_run(run)
    heads = [f"{name}, {metric}" for name in data.sets() for metric in METRICS.values()]
    lines = ["| step | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for step in sorted({e.step for e in data.evaluations}):
        found = {e.set: e.metrics for e in data.evaluations if e.step == step}
        cells = [f"{found[name][metric]:.3f}" for name in data.sets() for metric in METRICS]
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    samples = int(data.evaluations[0].metrics["samples"])
    pace = sorted(data.curve("time/step_s").values)[len(data.metrics) // 2]
    return (
        f"`{CONFIG.name}`, one seed; {samples} held-out samples a set, 4 sampled responses each; "
        f"median step {pace:.2f} s.\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
