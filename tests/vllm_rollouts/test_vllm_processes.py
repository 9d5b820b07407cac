"""Two processes in one process group, each with an engine of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from server_process import free_port

SCRIPT = Path(__file__).parent / "one_of_two.py"


def test_every_process_rolls_out_its_own_prompts(tmp_path: Path) -> None:
    target = tmp_path / "same.json"
    group = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(target)],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=280) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    # Three prompts, two responses, before and after a change of the weights.
    assert json.loads(target.read_text()) == [True] * 12
