"""A run's checkpoints: what all processes have to say for one, and how they go on from it.

The main process alone reads and writes them; the others hand over what is theirs, and are told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from syngrpo.serving.wording import count
from syngrpo.workflow import checkpoint
from syngrpo.workflow.checkpoint import Checkpoint, Writer
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.trainer import Trainer

logger = logging.getLogger(__name__)


def save_run(
    directory: Path,
    workflow: Trainer,
    processes: Processes,
    writers: Mapping[str, Writer],
    keep_last: int,
) -> None:
    """``directory/step-N`` with the state of now and what the main process's ``writers`` write, as
    ``checkpoint.save`` does it. All take part."""
    rng = processes.gather([checkpoint.capture_rng()])
    state = workflow.state_dict()
    if processes.is_main:
        content = {"workflow": state, "rng": rng, **writers}
        checkpoint.save(directory, workflow.steps_done, content, keep_last=keep_last)


def resume_run(workflow: Trainer, last: Checkpoint | None, processes: Processes) -> None:
    """Goes on from the main process's checkpoint, if there is one; of any number of processes, with
    weights in copies or shards. All take part."""
    state = last.read("workflow") if last is not None else None
    updater = state.pop("updater") if state is not None else None
    state = processes.share(state)
    if state is None:
        return
    workflow.load_state_dict({**state, "updater": updater})
    rng = processes.share(last.read("rng") if last is not None else None)
    if len(rng) == processes.count:
        checkpoint.restore_rng(rng[processes.rank])
    elif processes.is_main:
        logger.info(
            "the checkpoint was saved by %s, now there are %d: everything goes on from "
            "there, but what rewards of your own draw from global random states",
            count(len(rng), "process"),
            processes.count,
        )
