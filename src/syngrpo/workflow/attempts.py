"""``attempts.jsonl`` in the run directory: one line for each start of the run, resumed or not.

``run`` writes a line when the run directory is ready and the model is loaded. The line says when
and where that was, after which step the run goes on, with which versions of libraries, and which
settings have changed since the attempt before.
"""

from __future__ import annotations

import json
import platform
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from syngrpo.evaluation.conditions import LIBRARIES, version_of
from syngrpo.serving.atomic_files import disk_full_error, is_disk_full
from syngrpo.workflow.resume_rules import Change
from syngrpo.workflow.run_directory import RunDirectory

ATTEMPTS = "attempts.jsonl"
RECORDED = (*LIBRARIES, "numpy", "accelerate", "peft", "diffusers", "vllm", "ray")
"""The packages whose versions are written down, if they are installed."""
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s\"]+(?=@)")


def record_attempt(
    run: RunDirectory, step: int, steps: int, device: str, processes: int, changes: Sequence[Change]
) -> None:
    """Append the line of an attempt that goes on after ``step`` towards ``steps``.

    ``device`` is that of the main process, one of ``processes``. ``log_from`` of the line is the
    place in ``log.txt``, in bytes, at which the messages of the attempt begin. User names and
    passwords in addresses are left out. Raises DiskFull.
    """
    attempt = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "steps": steps,
        "host": socket.gethostname(),
        "device": device,
        "processes": processes,
        "python": platform.python_version(),
        "versions": {name: found for name in RECORDED if (found := version_of(name))},
        "changes": [_plain(change) for change in changes],
        "log_from": run.log_from,
    }
    path = run.path / ATTEMPTS
    line = _USER_IN_URL.sub("***", json.dumps(attempt, ensure_ascii=False, default=str)) + "\n"
    try:
        with path.open("ab+") as file:
            if file.tell():  # the process may have been killed while it wrote the line before
                file.seek(-1, 2)
                line = line if file.read() == b"\n" else "\n" + line
            file.write(line.encode())
    except OSError as error:
        if not is_disk_full(error, run.path):
            raise
        raise disk_full_error(path, len(line), error) from error


def _plain(change: Change) -> dict[str, Any]:
    return {"key": change.key, "before": change.before, "now": change.now}
