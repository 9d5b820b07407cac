"""Which settings may change when a run goes on, and which may not.

``MAY_CHANGE`` is the whole list; docs/resume.md explains it. ``changed_settings`` compares the
configuration that a run directory holds with the one that it is to go on with. Everything that
differs and is not in the list is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from syngrpo.formats.source import COMMON_KEYS, Source, keys_from_source
from syngrpo.painting.generators import make_generator
from syngrpo.sample import InputError
from syngrpo.serving.run_files import read_sections
from syngrpo.workflow.run_options import RunOptions, plain

OF_STEPS = (
    "trainer.learning_rate",
    "trainer.warmup_steps",
    "trainer.schedule",
    "trainer.max_grad_norm",
    "trainer.weight_decay",
    "rollout.temperature",
)
"""Keys that may change, for example after a loss that was not finite, and hold in later steps."""

MAY_CHANGE = (
    # how long the run is, what it saves, measures and shows
    "trainer.steps",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "evaluation.every",
    "evaluation.at_start",
    "evaluation.samples_per_prompt",
    "evaluation.batch_size",
    "evaluation.sets",  # sets may come and go; a set that stays has to stay the same
    "logging.*",
    *OF_STEPS,
    # where the run computes, and with how much memory
    "model.device",
    "model.gradient_checkpointing",
    "trainer.token_budget",
    "trainer.logits_bytes",
    "trainer.keep_prompts",
    "trainer.sharding",
    "rollout.engine",
    "rollout.cuda_graphs",
    "rollout.vllm_cache_gib",
    "rollout.vllm_max_length",
    "rollout.async_steps",
    "rollout.server",
    "rollout.server_token_file",
    "rollout.server_patience_s",
    "rollout.server_model",
    "rollout.weights_folder",
    # who paints, and for how long; not what is painted
    "synthesis.workers",
    "synthesis.devices",
    "synthesis.niceness",
    "synthesis.job_timeout_s",
    "synthesis.queue_limit",
    "synthesis.lease_s",
    "synthesis.max_attempts",
    "synthesis.prefetch",
    "server.url",
    "server.token_file",
    # how often each data set is drawn, and whether its pictures are looked at first
    "data.train.*.weight",
    "data.check_images",
)
"""The keys that may change, in the form of ``--set``; ``*`` stands for any text. Options of the
generator may change as well if its fingerprint stays the same."""

SHOWN = 5
LONGEST_VALUE = 60
"""Characters of a value that a message shows."""
_GENERATOR = "synthesis.options"
_NO_FILES: dict[str, Any] = {"path": [], "images": []}
"""What a source without files leaves out."""


@dataclass(frozen=True)
class Change:
    """A key whose value differs from the one that the run had before."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} {_shown(self.before)} → {_shown(self.now)}"


def changed_settings(config: Path, options: RunOptions, anew: bool = False) -> list[Change]:
    """Return what differs between ``config``, the ``config.yaml`` of a run, and ``options``.

    A key that only one of the two versions of syngrpo has does not count. A key of a data format
    that is given on one side only is None on the other. With ``anew`` the run has nothing yet to
    go on from, so everything may change, except where workers may have painted (``synthesis.mode
    async``). Raises InputError for a change that is not allowed, and for a file that cannot be
    read.
    """
    before = _read(config)
    changes = list(_differences(before, options, ""))
    modes = ((before.get("synthesis") or {}).get("mode"), options.synthesis.mode)
    if anew and "async" not in modes:
        return changes
    refused = [change for change in changes if not _allowed(change, before, options)]
    if refused:
        named = ", ".join(map(str, refused[:SHOWN]))
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise InputError(
            f"run {config.parent} cannot go on with other settings than it began with: {named}"
            f"{more}; set them back, or start a new run in another --run-dir (docs/resume.md lists "
            "what may change)"
        )
    return changes


def checkpoint_every(config: Path) -> float:
    """Return after how many steps a run has saved checkpoints, infinite if ``config`` does not say.
    Raises InputError for a file that cannot be read."""
    section = _read(config).get("trainer") or {}
    every = section.get("checkpoint_every", math.inf)
    return every if isinstance(every, int | float) and every > 0 else math.inf


def _read(config: Path) -> dict[str, Any]:
    try:
        return read_sections(config)
    except InputError as error:
        raise InputError(
            f"{error}; it says what the run began with: put the file back, or start a new run in "
            "another --run-dir"
        ) from None


def _differences(before: Any, now: Any, key: str) -> Iterator[Change]:
    """Yield what differs between plain values and options, each with its key."""
    if isinstance(before, Mapping) and isinstance(now, Mapping) and before.keys() != now.keys():
        yield Change(key, list(before), list(now))
    if isinstance(before, list) and isinstance(now, tuple) and len(before) == len(now):
        pairs = {str(number): pair for number, pair in enumerate(zip(before, now, strict=True))}
    elif isinstance(before, Mapping) and (inside := _inside(now)) is not None:
        known = before
        if isinstance(now, Source):
            # A key of the format that is not given is missing, but has a value all the same.
            own = (before.keys() | inside.keys()) - set(COMMON_KEYS)
            absent = dict.fromkeys(sorted(own))
            known, inside = absent | _NO_FILES | dict(before), absent | dict(inside)
        pairs = {name: (known[name], one) for name, one in inside.items() if name in known}
    else:
        pairs = {}
        if before != plain(now):
            yield Change(key, before, plain(now))
    for name, pair in pairs.items():
        yield from _differences(*pair, f"{key}.{name}" if key else name)


def _inside(now: Any) -> Mapping[str, Any] | None:
    """Return the values inside of a section or a mapping by name, None for any other value."""
    if isinstance(now, Source):
        return _NO_FILES | keys_from_source(now)
    if is_dataclass(now):
        return {field.name: getattr(now, field.name) for field in fields(now)}
    return now if isinstance(now, Mapping) else None


def _allowed(change: Change, before: Mapping[str, Any], options: RunOptions) -> bool:
    if any(fnmatchcase(change.key, pattern) for pattern in MAY_CHANGE):
        return True
    if change.key != _GENERATOR and not change.key.startswith(f"{_GENERATOR}."):
        return False
    try:
        old = make_generator(before["synthesis"]["generator"], before["synthesis"]["options"])
    except (InputError, KeyError):
        return False
    return old.fingerprint == options.synthesis.make_generator().fingerprint


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
