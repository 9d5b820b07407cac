"""Checkpoints of trainers that are built on transformers' ``Trainer``: TRL's and ms-swift's.

A checkpoint also holds the state of the client, in ``syngrpo.json``. ``load_weights`` reads the
weights of a checkpoint by the names that the model has in memory. ``Trainer`` itself does not: it
looks for the names of the file, which are others for Qwen2-VL, Qwen2.5-VL and further models. It
then loads nothing, logs a list of missing keys, and a resumed run goes on with the weights that the
run began with (https://github.com/huggingface/transformers/issues/43701, with 5.23 still so).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from transformers import PreTrainedModel, TrainerCallback
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)

from syngrpo.adapters.client_state import load_state, read_state, write_state
from syngrpo.data_server.client import DataClient

STATE_NAME = "syngrpo.json"
"""The file with the client's state in a checkpoint."""
_WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)


def keep_state(client: DataClient, checkpoint: Path) -> None:
    """Write the client's state into the folder of a checkpoint."""
    write_state(client, checkpoint / STATE_NAME)


def restore_state(client: DataClient, checkpoint: Path, remedy: str) -> None:
    """Read the client's state from the folder of a checkpoint.

    Raises InputError when it is not there or cannot be read; ``remedy`` ends the message.
    """
    path = checkpoint / STATE_NAME
    load_state(client, read_state(path, remedy), path)


def load_weights(model: Any, checkpoint: Path) -> bool:
    """Load the weights of a checkpoint into the model. Return False, and load nothing, where the
    trainer's own way is right: the checkpoint has adapters only, or the weights are sharded."""
    whole = any((checkpoint / name).is_file() for name in _WEIGHTS)
    if not whole or not isinstance(model, PreTrainedModel):
        return False
    if AcceleratorState().distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return False
    kept = type(model).from_pretrained(checkpoint, dtype=model.dtype)
    model.load_state_dict(kept.state_dict())
    return True


class ClientCallback(TrainerCallback):
    """Keeps the client's state with the checkpoints of a trainer, and restores it and the weights
    when a run is resumed. ``client`` is None but in the main process."""

    def __init__(self, client: DataClient | None) -> None:
        self.client = client

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let a resumed run draw anew. It must not draw to skip what was seen."""
        args.ignore_data_skip = True

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Restore the client and the weights when a run is resumed."""
        if state.global_step == 0:
            return
        checkpoint = Path(
            args.resume_from_checkpoint or Path(args.output_dir) / f"checkpoint-{state.global_step}"
        )
        load_weights(model, checkpoint)
        if self.client is not None:
            remedy = "give the checkpoint as resume_from_checkpoint of the arguments, too"
            restore_state(self.client, checkpoint, remedy)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the client's state into the checkpoint."""
        if self.client is not None:
            keep_state(self.client, Path(args.output_dir) / f"checkpoint-{state.global_step}")
