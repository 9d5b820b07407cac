"""Measures how a large JSONL file is read without decoding its images.

python -m benchmarks.reading --rows 100000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.results import write_section
from syngrpo.boxes import encode_mask

SIDE = 256
CLASSES = [f"class {n}" for n in range(80)]
ROWS_PER_TASK = {"rec": 0.5, "ovd": 0.3, "isr": 0.2}


def build(folder: Path, rows: int, images: int, objects: int) -> dict[str, Path]:
    """Write images of noise, and two files with rows of all three tasks. Every third object has a
    mask.

    In "alike" all rows of an image label the same objects, in "different" each row labels its own.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(images):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg", quality=50)
    paths = {"alike": folder / "alike.jsonl", "different": folder / "different.jsonl"}
    for name, path in paths.items():
        labelled = _labelled(images if name == "alike" else rows, objects, rng)
        with path.open("w", encoding="utf-8") as file:
            for row in _rows(rows, images, labelled, rng):
                file.write(json.dumps(row) + "\n")
    return paths


def _labelled(count: int, objects: int, rng: np.random.Generator) -> list[list[dict[str, Any]]]:
    disk = np.hypot(*(np.indices((SIDE, SIDE)) - 64)) < 40
    mask = encode_mask(disk)
    corners = rng.integers(30, 60, (count, objects, 2)).tolist()
    labels = rng.integers(0, len(CLASSES), (count, objects)).tolist()
    return [
        [
            {"label": CLASSES[label], "box": [x, y, x + 60, y + 70]}
            | ({"mask": mask} if place % 3 == 0 else {})
            for place, (label, (x, y)) in enumerate(zip(labels[n], corners[n], strict=True))
        ]
        for n in range(count)
    ]


def _rows(
    rows: int, images: int, labelled: list[list[dict[str, Any]]], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    tasks = rng.choice(list(ROWS_PER_TASK), rows, p=list(ROWS_PER_TASK.values()))
    for n, task in enumerate(tasks.tolist()):
        things = labelled[n % len(labelled)]
        asked = {
            "rec": {"question": f"the thing number {n}", "answer": things[0]["box"]},
            "ovd": {"question": ", ".join(dict.fromkeys(t["label"] for t in things[:2]))},
            "isr": {"question": "how many?", "answer": n % 7, "columns": {"kind": "count"}},
        }[task]
        image = f"images/{n % images}.jpg"
        yield {"id": f"r{n}", "task": task, "image": image, "objects": things} | asked


def measure(path: Path) -> tuple[float, float, float, float]:
    """Return seconds of wall clock and of the processor, and the peak memory in MB before and
    after. The memory is that of this process, so it must be a new one."""
    from syngrpo.formats.source import Source
    from syngrpo.formats.source_reading import read_dataset

    before = _peak_mb()
    clock, processor = time.perf_counter(), time.process_time()
    samples = read_dataset(Source(path=(path,), format="jsonl"))
    seconds = time.perf_counter() - clock
    own = time.process_time() - processor
    assert samples[-1].image.width == SIDE
    return seconds, own, before, _peak_mb()


def _peak_mb() -> float:
    """Peak memory of this program. (getrusage would include that of the program that started
    it.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="lines of the file")
    parser.add_argument("--images", type=int, default=1000, help="distinct images")
    parser.add_argument("--objects", type=int, default=3, help="labelled objects a row")
    parser.add_argument("--repeat", type=int, default=3, help="runs, each in a fresh process")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = build(Path(folder), options.rows, options.images, options.objects)
        runs = [(name, _run(path)) for name, path in paths.items() for _ in range(options.repeat)]
        size = paths["alike"].stat().st_size / 1e6
    write_section("Reading a data set", _table(options, size, runs))


def _run(path: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.reading", "--measure", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _table(options: argparse.Namespace, size: float, runs: list[tuple[str, list[float]]]) -> str:
    lines = [
        f"{options.rows:,} rows of our JSONL ({size:.0f} MB; half REC, 30 % OVD, 20 % ISR), "
        f"{options.objects} objects each, every third with a mask, {options.images:,} images whose "
        "headers alone are read. All rows and masks are checked. A fresh process a run; load of "
        f"the machine at the end: {os.getloadavg()[0]:.1f}.",
        "",
        "| objects of the rows about an image | s | of the processor | peak memory MB | of it "
        "before reading |",
        "|---|---|---|---|---|",
    ]
    for name, (seconds, own, before, after) in runs:
        lines.append(f"| {name} | {seconds:.2f} | {own:.2f} | {after:.0f} | {before:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
