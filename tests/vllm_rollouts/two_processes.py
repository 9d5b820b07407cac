"""Runs ``one_of_two.py`` twice, as two processes of one group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from server_process import free_port

SCRIPT = Path(__file__).parent / "one_of_two.py"


def run_two(target: Path, *arguments: str) -> Any:
    """Return what they have written to ``target``. Both must exit with status 0."""
    group = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(target), *arguments],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=1200) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return json.loads(target.read_text())
