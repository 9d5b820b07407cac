"""A disk that is really full: a small file system that only one command sees."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_PRIVATE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def run_on_a_small_disk(
    folder: Path, size: str, command: Sequence[str], look: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Runs the command with a tmpfs of that size (``400k``) mounted at ``folder``, then ``look``, a
    shell command that sees the folder as ``$0``; the exit status is the command's. Skips the test
    where mounting is not permitted."""
    mount = f'mount -t tmpfs -o size={size} none "$0"'
    try:
        subprocess.run([*_PRIVATE, mount, folder], check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs unshare and the right to mount a small file system of one's own")
    script = f'{mount} && "$@"; status=$?; {look}; exit $status'
    return subprocess.run([*_PRIVATE, script, folder, *command], capture_output=True, text=True)
