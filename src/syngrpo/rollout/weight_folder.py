"""Writes the weights of a policy into a folder from which a server of another project reads them.

Each version is a folder of its own, which has its name only when it is complete. The folder that
holds them belongs to one run at a time.
"""

from __future__ import annotations

from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file

from syngrpo.policy.model import Policy
from syngrpo.rollout.weight_stream import checkpoint_pieces
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import (
    atomic_directory,
    make_directory,
    remove_directory,
    remove_unfinished,
)

_VERSION = "weights-"


class WeightFolder:
    """The versions of the weights of one run, below ``folder``, which servers reach by the same
    path.

    With ``writes`` this process writes them; the others only know their paths.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        """Raises InputError when the folder cannot be created, or another run writes there."""
        self._folder = folder.absolute()
        self._lock: FileLock | None = None
        if not writes:
            return
        make_directory(self._folder)
        self._lock = FileLock(self._folder / "run.lock", thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"rollout.weights_folder {folder} is in use by another run; choose another folder"
            ) from None
        except OSError as error:
            raise InputError(
                f"rollout.weights_folder {folder} cannot be written ({error.strerror}); choose "
                "another folder"
            ) from None
        remove_unfinished(self._folder)
        self.keep(())

    def path(self, version: str) -> Path:
        """Return the folder of a version. It may not exist."""
        return self._folder / f"{_VERSION}{version}"

    def write(self, policy: Policy, version: str) -> None:
        """Write all weights, adapters merged, one block of the model at a time, and the model's
        configuration. Raises DiskFull."""
        with atomic_directory(self.path(version), policy.saved_bytes, durable=False) as folder:
            policy.base.config.save_pretrained(folder)
            for number, piece in enumerate(checkpoint_pieces(policy)):
                own = {name: _plain(tensor, policy.base.dtype) for name, tensor in piece.items()}
                save_file(own, folder / f"model-{number:05d}.safetensors", {"format": "pt"})
            for file in folder.iterdir():
                file.chmod(folder.stat().st_mode & 0o666)  # the server may be another user's

    def keep(self, versions: tuple[str, ...]) -> None:
        """Delete all other versions, if this process writes them."""
        kept = [self.path(version) for version in versions]
        if self._lock is not None:
            for found in self._folder.glob(f"{_VERSION}*"):
                if found not in kept:
                    remove_directory(found)

    def close(self) -> None:
        """Delete all versions, and let others use the folder."""
        if self._lock is not None:
            self.keep(())
            self._lock.release()
            self._lock = None


def _plain(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to("cpu", dtype).contiguous()
