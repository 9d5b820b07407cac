"""Runs the parts one after the other, each in a process of its own, within a number of minutes.

Each result is written as soon as it is there. A second call goes on with the parts that have none.
Needs nothing but Python and pip.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
RESERVE_S = 10.0
"""Seconds at the end of a call that no part uses."""
STOP_S = 15.0
"""Seconds between asking a part to end and killing it."""
REHEARSAL = 5
"""How many times longer a part may take in a rehearsal."""


@dataclass(frozen=True)
class Part:
    """``least_s``: seconds without which the part is not begun; ``most_s``: after which it is
    stopped."""

    title: str
    least_s: float
    most_s: float


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "correctness": Part("Log-probabilities and gradients against transformers", 30, 150),
        "kernels": Part("Tests of attention kernels and CUDA graphs", 30, 150),
        "demo": Part("The demo, whole", 45, 240),
        "step-3b-lora": Part("Step of 3 B against TRL, LoRA", 60, 240),
        "step-3b-full": Part("Step of 3 B against TRL, all weights", 60, 300),
        "step-8b-lora": Part("Step of 8 B, LoRA", 60, 240),
        "step-4b-lora": Part("Step of Qwen3-VL 4 B against TRL, LoRA", 60, 240),
        "matrix": Part("Rows of the experiment with 30 times the steps", 60, 7200),
    }
)
"""The parts in the order of their worth."""

NO_GPU = "error: torch {} finds no GPU; run --tiny rehearses on the CPU"
"""Ends the program, with the version of PyTorch."""


def run_parts(
    results: Path, wheels: Path, only: Sequence[str], minutes: float, tiny: bool = False
) -> int:
    """Run the parts that have no result yet. Return the exit status: 1 if a part has failed. Ends
    the program with one line when there is no GPU, unless ``tiny``."""
    end = time.monotonic() + 60 * minutes - RESERVE_S
    results.mkdir(parents=True, exist_ok=True)
    if not tiny:
        _require_gpu()
    environment = _environment(results, wheels)
    failed = 0
    for name in only or PARTS:
        part, result = PARTS[name], results / f"{name}.json"
        left = end - time.monotonic()
        if _is_done(result):
            print(f"{name}: done before", flush=True)
        elif left < part.least_s:
            print(f"{name}: left for the next call ({left:.0f} s left)", flush=True)
        else:
            print(f"{name}: {part.title} …", flush=True)
            most_s = part.most_s * (REHEARSAL if tiny else 1)
            failed += not _run(name, result, min(left, most_s), environment, tiny)
    return int(failed > 0)


def _require_gpu() -> None:
    """End the program unless PyTorch finds a GPU. A process of its own asks, because this one keeps
    no memory of the device while the parts run."""
    ask = "import torch; print(torch.__version__, torch.cuda.is_available())"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if asked.returncode:
        (last,) = asked.stderr.strip().splitlines()[-1:] or ["no message"]
        sys.exit(f"error: PyTorch cannot be imported ({last}); install it for {sys.executable}")
    version, found = asked.stdout.split()[-2:]
    if found != "True":
        sys.exit(NO_GPU.format(version))


def _environment(results: Path, wheels: Path) -> dict[str, str]:
    """Install the wheels, if there are any, and return the environment of the parts."""
    paths = [str(ROOT / "src"), str(ROOT)]
    if any(wheels.glob("*.whl")):
        site = results.parent / "site"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-compile", "--upgrade", "--target", str(site)]
        install = subprocess.run([*command, *map(str, sorted(wheels.glob("*.whl")))], check=False)
        if install.returncode:
            version = ".".join(map(str, sys.version_info[:2]))
            sys.exit(
                f"error: the wheels in {wheels} cannot be installed; make them with "
                f"`pack --python {version}`, or remove the folder to go on without them"
            )
        paths.append(str(site))
    paths += [path for path in [os.environ.get("PYTHONPATH")] if path]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | offline | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _is_done(result: Path) -> bool:
    try:
        return bool(json.loads(result.read_text(encoding="utf-8"))["state"] == "done")
    except (FileNotFoundError, ValueError):  # none, or cut off: the part runs again
        return False


def _run(
    name: str, result: Path, most_s: float, environment: Mapping[str, str], tiny: bool
) -> bool:
    """Run one part. Return whether it has written its result; if not, write that it failed."""
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_check.part", name, str(result)]
    start, log = time.monotonic(), result.with_suffix(".log")
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*command, f"{most_s:.0f}", *(["--tiny"] if tiny else [])],
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            status = process.wait(most_s)
            why = f"exit status {status}" if status else ""
        except subprocess.TimeoutExpired:
            why = f"longer than {most_s:.0f} s"
        finally:
            _stop(process)
    seconds = time.monotonic() - start
    if not why and result.exists():
        state = json.loads(result.read_text())["state"]
        print(f"{name}: {state} after {seconds:.0f} s", flush=True)
        return True
    last = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
    failed = {"state": "failed", "seconds": round(seconds, 1), "why": why, "output": last}
    text = json.dumps(failed, indent=1, ensure_ascii=False) + "\n"
    unfinished = result.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(result)
    print(f"{name}: failed, {why}; {log} has its output:\n{last[-600:]}", flush=True)
    return False


def _stop(process: subprocess.Popen) -> None:
    """End a part that still runs, and what it has started: first by asking, so that runs of the
    experiment end, too; then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
