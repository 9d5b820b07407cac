"""The file in which an adapter keeps the client's state beside its trainer's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from syngrpo.data_server.client import DataClient, as_lists
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write


def write_state(client: DataClient, path: Path) -> None:
    """Write the client's state into the file."""
    atomic_write(path, json.dumps(as_lists(client.state_dict())))


def read_state(path: Path, remedy: str) -> Any:
    """Return what the file holds. Raises InputError when it is not there or cannot be read;
    ``remedy`` ends the message."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from None


def load_state(client: DataClient, state: Any, path: Path) -> None:
    """Restore the client. Raises InputError, which names the file, when the state is none of a
    client."""
    try:
        client.load_state_dict(state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
