"""How a run goes on: what is checked before the model is loaded, and how its files are set back.

``run`` calls, in the main process, ``accepted_changes`` and ``require_sound_files`` first, then
``set_back`` when policy and data have been found to fit, and ``lines_at_start`` for what the user
is told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syngrpo.data_server.async_client import SPILL_NAME
from syngrpo.data_server.server_sink import OUTBOX_NAME
from syngrpo.data_server.spill_records import require_records
from syngrpo.evaluation.run_evaluations import remove_evaluations_after
from syngrpo.method import METHODS
from syngrpo.pool.repair import require_sound, sample_ids
from syngrpo.pool.store import Pool
from syngrpo.responses.response_files import remove_responses_after
from syngrpo.sample import InputError, Sample
from syngrpo.serving.json_lines import read_lines, remove_after
from syngrpo.serving.wording import count
from syngrpo.workflow.checkpoint import Checkpoint, saved_files
from syngrpo.workflow.resume_rules import OF_STEPS, Change, changed_settings, checkpoint_every
from syngrpo.workflow.run_directory import RunDirectory
from syngrpo.workflow.run_options import RunOptions

logger = logging.getLogger(__name__)

POOL_BACKUP = "pool.db"
EVALUATIONS = "evaluation.jsonl"


def accepted_changes(
    run: RunDirectory, options: RunOptions, last: Checkpoint | None
) -> list[Change]:
    """Return the settings that have changed since the run was last started; none for a new run.

    ``last`` is the checkpoint to go on from, None for step 0. Raises InputError for settings that
    may not change, if the run has done more steps than it is to have, and if no step is left in
    which a changed setting would hold.
    """
    if not run.config_path.exists():
        return []
    steps = options.trainer.steps
    if last is not None and last.step > steps:
        raise InputError(
            f"run {run.path} has done {count(last.step, 'step')} already, more than trainer.steps "
            f"{steps}; set trainer.steps to {last.step} or more"
        )
    changes = changed_settings(run.config_path, options, anew=last is None)
    late = [str(change) for change in changes if change.key in OF_STEPS]
    if late and last is not None and last.step == steps:
        raise InputError(
            f"run {run.path} is finished, so {', '.join(late)} would never hold: set trainer.steps "
            "higher, too, or set it back"
        )
    return changes


def require_kept_checkpoints(run: RunDirectory, last: Checkpoint | None) -> None:
    """Raise InputError when the run has no checkpoint although it has saved one: starting at step 1
    would remove what it has measured. A run that was killed before its first one may start so."""
    if last is not None or not run.config_path.exists():
        return
    steps = max((int(row["step"]) for row in read_lines(run.metrics_path)), default=0)
    every = checkpoint_every(run.config_path)
    if steps and (steps > every or run.final.exists()):
        left = f"; {run.final} has the weights of its end" if run.final.exists() else ""
        raise InputError(
            f"run {run.path} has lost its checkpoints: {run.checkpoints} has none, and starting at "
            f"step 1 would remove the metrics of {count(steps, 'step')}{left}; put the checkpoints "
            "back, start a new run in another --run-dir, or delete metrics.jsonl to start at step 1"
        )


def require_sound_files(run: RunDirectory, options: RunOptions, last: Checkpoint | None) -> None:
    """With asynchronous synthesis, raise InputError when the pool or what waits for it is lost or
    damaged, with what is left of it. Otherwise the pool is set back to the checkpoint anyway."""
    if options.synthesis.mode != "async":
        return
    if last is not None or run.pool_path.is_file():
        require_sound(run.path, saved_files(run.checkpoints, POOL_BACKUP))
    for name in (SPILL_NAME, OUTBOX_NAME):
        require_records(run.path / name, lambda: sample_ids(run.path))


def set_back(run: RunDirectory, options: RunOptions, last: Checkpoint | None) -> None:
    """Write the configuration, start the log, and remove what the run wrote after ``last``.

    Without asynchronous synthesis the pool is set back to the checkpoint, too, so that the run is
    repeatable.
    """
    run.write_config(options.as_values())
    run.start_log()
    step = last.step if last is not None else 0
    remove_after(run.path / EVALUATIONS, step)
    remove_evaluations_after(run.path, step)
    remove_responses_after(run.responses, step)
    _tell_missing_steps(run.metrics_path, remove_after(run.metrics_path, step), step)
    if options.synthesis.mode == "async":
        return
    if last is not None:
        Pool.restore(run.path, last.file(POOL_BACKUP)).close()
    else:
        Pool.anew(run.path).close()


def _tell_missing_steps(metrics: Path, rows: Sequence[Mapping[str, Any]], last: int) -> None:
    """Warn about steps up to ``last`` that have no row in ``metrics``, because rows were lost."""
    found = {row["step"] for row in rows}
    missing = [step for step in range(1, last + 1) if step not in found]
    if missing:
        logger.warning(
            "%s has lost %s of %d, such as step %d; they stay missing in curves and report",
            metrics,
            count(len(missing), "step"),
            last,
            missing[-1],
        )


def require_same_seeds(pool: Pool, seeds: Sequence[Sample]) -> str | None:
    """Compare the training data with the seeds that the pool of a resumed run has already.

    Return a line about samples that are new, None if there are none. Raises InputError if samples
    are gone from the data: the run has trained on them and would go on to draw them. (The pool
    itself refuses a sample whose content has changed.)
    """
    known, given = set(pool.seed_ids()), {seed.id for seed in seeds}
    if gone := known - given:
        raise InputError(
            f"data.train lacks {count(len(gone), 'sample')} that run {pool.directory} began with, "
            f"such as {min(gone)}; put the data back, or start a new run in another --run-dir"
        )
    new = given - known
    if not known or not new:
        return None
    return (
        f"data.train has {count(len(new), 'sample')} that are new in this run, such as {min(new)}"
    )


def told_about_images(pool: Pool, missing: Sequence[str]) -> list[str]:
    """Return lines about samples whose image was missing, or is. Call this when the seeds have been
    added, because that writes their images again and lets quarantined seeds be drawn again.

    ``missing``: the ids of samples without an image before that (``Pool.without_image``).
    """
    gone = pool.without_image() if missing else []
    lines = []
    if restored := sorted(set(missing) - set(gone)):
        lines.append(
            f"the images of {count(len(restored), 'sample')} were missing, such as that of "
            f"{restored[0]}: they have been written again from the data"
        )
    if gone:
        left = pool.stats().active - len(gone)
        lines.append(
            f"the images of {count(len(gone), 'sample')} are gone, such as that of {gone[0]}: they "
            f"are not drawn, {left} are left; syngrpo pool repair {pool.directory} looks for more "
            "damage"
        )
    return lines


def lines_at_start(
    run: Path, options: RunOptions, last: Checkpoint | None, changes: Sequence[Change]
) -> list[str]:
    """Return what is said when a run goes on: after which step, and with which changed settings."""
    steps = options.trainer.steps
    if last is None:
        lines = [f"{run} has no checkpoint: starting at step 1 of {steps}"]
    elif last.step == steps:
        done = "the only step is" if steps == 1 else f"all {steps} steps are"
        lines = [f"{run} is finished: {done} done; for more, set trainer.steps higher"]
    else:
        lines = [f"resumed from {last.path}: {last.step} of {steps} steps are done"]
    if changes:
        lines.append(f"changed since the run was last started: {', '.join(map(str, changes))}")
    return lines + _lines_about_noise(options, last, changes)


def _lines_about_noise(
    options: RunOptions, last: Checkpoint | None, changes: Sequence[Change]
) -> list[str]:
    """Return a line if another number of steps changes how much noise the next images get."""
    lengths = next(((one.before, one.now) for one in changes if one.key == "trainer.steps"), None)
    if lengths is None or last is None or last.step == options.trainer.steps:
        return []
    method = METHODS.load(options.method.name)
    noises = [method(options.method, steps).distortion(last.step) for steps in lengths]
    before, now = (one.strength if one is not None else 0.0 for one in noises)
    if before == now:
        return []
    return [
        f"the noise of {options.method.name} falls over all of trainer.steps: in step "
        f"{last.step + 1} it is {now:.2g}, with {count(lengths[0], 'step')} it would be "
        f"{before:.2g}"
    ]
