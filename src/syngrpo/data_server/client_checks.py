"""What ``DataClient`` checks before it does anything: its options, and that nobody else uses its
directory. Everything that is wrong raises InputError. A configuration of ``syngrpo train`` gets the
same limits here."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from pathlib import Path
from typing import IO

from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.sample import InputError, Sample
from syngrpo.serving.directory_lock import InUse, lock_directory

WAITING_STEPS = 4
"""The default of ``pool.max_unmeasured`` is the number of synthetic samples drawn in this many
steps."""


def locked_directory(directory: Path) -> IO[str]:
    """Lock the directory for this client; closing what is returned releases it."""
    try:
        return lock_directory(directory)
    except InUse as error:
        raise InputError(
            f"{directory} is in use by another trainer (process {error.owner}); stop it first, or "
            "give this one a directory of its own"
        ) from None
    except OSError as error:
        raise InputError(
            f"{directory} cannot be written ({error.strerror}); choose another directory"
        ) from None


def whole_number(name: str, value: int, least: int) -> int:
    """Return a whole number. Raises InputError for anything else, and below ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")
    return number


def check_numbers(
    samples: Sequence[Sample],
    groups_per_step: int,
    updates_per_step: int,
    seed: int,
    weights: Mapping[str, float],
) -> None:
    """Raise InputError for numbers of ``DataClient.open`` that cannot be used with the samples."""
    whole_number("groups_per_step", groups_per_step, 1)
    whole_number("updates_per_step", updates_per_step, 1)
    whole_number("seed", seed, 0)
    if not isinstance(samples, Sequence):
        raise InputError(f"samples are a {type(samples).__name__}, not a list; pass list(samples)")
    if len(samples) < groups_per_step:
        raise InputError(
            f"{len(samples)} samples are fewer than groups_per_step {groups_per_step}; add samples "
            "or make groups_per_step smaller"
        )
    datasets = {sample.dataset for sample in samples}
    if unknown := weights.keys() - datasets:
        raise InputError(
            f"weights are given for {', '.join(sorted(unknown))}, but the samples are of "
            f"{', '.join(sorted(name or repr(name) for name in datasets))}"
        )


def check_options(
    synthesis: SynthesisOptions,
    server: ServerOptions,
    fingerprint: str | None,
) -> None:
    """Raise InputError for options of ``DataClient.open`` that do not go together."""
    if fingerprint is not None and (server.url is None or synthesis.generator is not None):
        raise InputError(
            "fingerprint names the generator of workers elsewhere; leave synthesis.generator out "
            "and set server.url, or leave fingerprint out"
        )
    if server.url is not None and synthesis.mode != "async":
        raise InputError(
            f"server.url does not go with synthesis.mode {synthesis.mode}; leave one of them out"
        )


def with_waiting_limit(sampling: SamplingPolicy, groups_per_step: int) -> SamplingPolicy:
    """Return the rules with a value of ``max_unmeasured``; its default depends on the batch."""
    if sampling.max_unmeasured is not None:
        return sampling
    drawn = sampling.synthetic_ratio * groups_per_step
    return replace(sampling, max_unmeasured=max(1, ceil(WAITING_STEPS * drawn)))


def check_bundles(
    size: int | None,
    sampling: SamplingPolicy,
    groups_per_step: int,
    queue_limit: int,
    groups_name: str = "groups_per_step",
) -> None:
    """Raise InputError if bundles of ``size`` siblings can never be painted or drawn; None is the
    size of a method without bundles. The message calls ``groups_per_step`` by ``groups_name``, as
    whoever set it does."""
    if size is None:
        return
    if size < 2:
        raise InputError(
            "method.credit siblings compares the descriptions of a group with each other; set "
            "method.descriptions_per_group to 2 or more"
        )
    ratio = sampling.synthetic_ratio
    places = floor(ratio * groups_per_step + 1e-9)  # 0.29 * 100 is a little below 29
    if size > places:
        raise InputError(
            f"method.credit siblings draws the {size} images of a group in one batch, which has "
            f"{places} places for synthetic samples ({groups_name} {groups_per_step} x "
            f"pool.synthetic_ratio {ratio}); make method.descriptions_per_group smaller or one of "
            "these larger"
        )
    for key, most in (
        ("pool.max_children", sampling.max_children),
        ("synthesis.queue_limit", queue_limit),
    ):
        if size > most:
            raise InputError(
                f"{key} is {most}, and method.credit siblings submits the {size} descriptions of a "
                f"group together; make {key} larger or method.descriptions_per_group smaller"
            )
