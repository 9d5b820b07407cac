"""The options of synthesis, and the settings of worker processes.

The user sets ``SynthesisOptions`` and ``ServerOptions``, the sections ``synthesis`` and ``server``
of a configuration. ``SynthesisSettings`` and ``RemoteSettings`` add where a worker finds its jobs.
They are plain data, because they are sent to other processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from syngrpo.formats.source import USUAL_LIMIT
from syngrpo.options import option
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.generators import GENERATORS, make_generator
from syngrpo.painting.generators.base import Generator
from syngrpo.painting.judges.panel import JudgeOptions
from syngrpo.painting.painting_request import PaintingOptions
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress, check_url
from syngrpo.tasks import load_task

RUN_PATTERN = "^[a-z0-9_-]{1,64}$"
"""The names of runs that a data server accepts."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How workers paint, and how their processes run."""

    generator: str | None = option(
        None,
        "the generator that paints new images: its name, or package.module:name; must be set if "
        "the method paints",
    )
    options: Mapping[str, Any] = option(
        dict, "options of the generator, see docs/generators.md: {preset: …, steps: …}"
    )
    workers: int = option(1, "number of worker processes", ge=1)
    devices: tuple[str, ...] = option(
        (),
        'accelerators for the workers in turn, as CUDA_VISIBLE_DEVICES names them: ["1", "2"]; '
        "[]: every worker sees all of them",
    )
    niceness: int = option(
        5,
        "nice value added to worker processes: a larger one gives training more CPU time",
        ge=0,
        le=19,
    )
    job_timeout_s: float = option(
        120.0, "seconds that a job may take; after that its process is ended and replaced", gt=0
    )
    judges: JudgeOptions = option(JudgeOptions, "models that judge what was painted")

    def __post_init__(self) -> None:
        if self.workers < (devices := len(self.devices)):
            raise InputError(
                f"workers {self.workers} leaves some of the {devices} devices without a worker; "
                f"set workers to {devices} or more, or name fewer devices"
            )

    def make_generator(self) -> Generator:
        """Return a new generator of the configured kind. Its weights are not loaded.

        Raises InputError when none is set, it is unknown, or its options are wrong.
        """
        if self.generator is None:
            known = ", ".join(GENERATORS.names())
            raise InputError(
                "no generator is set (synthesis.generator, --generator); name one of "
                f"{known}, or package.module:name"
            )
        return make_generator(self.generator, self.options)


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions(PaintingOptions, WorkerOptions):
    """The section ``synthesis``: how new images are painted."""

    mode: Literal["async", "inline", "off"] = option(
        "async",
        "async: workers paint beside training; inline: each step waits for its images, which makes "
        "a run repeatable; off: nothing is painted",
    )
    describer: str | None = option(
        None,
        "the describer that writes random descriptions if the method asks for them: its name, or "
        "package.module:name",
    )
    queue_limit: int = option(256, "largest number of open jobs; further ones are dropped", ge=1)
    lease_s: float = option(
        30.0, "seconds without a message from a worker after which its job goes to another", gt=0
    )
    max_attempts: int = option(3, "failed attempts after which a job is given up", ge=1)
    prefetch: int = option(1, "batches that are drawn ahead of training", ge=1)
    gate: GateThresholds = option(GateThresholds, "thresholds at which a painted image is rejected")

    @property
    def painting(self) -> PaintingOptions:
        names = [one.name for one in fields(PaintingOptions)]
        return PaintingOptions(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class ServerOptions:
    """The section ``server``: a data server started by ``syngrpo serve``."""

    url: str | None = option(
        None, "http://host:port; null: the workers run beside the trainer, without a server"
    )
    token_file: Path | None = option(None, "file with the token that the server asks for")
    namespace: str | None = option(
        None,
        "name of this run on the server; null: the name of the run directory and random characters",
        pattern=RUN_PATTERN,
    )

    def __post_init__(self) -> None:
        if self.url is not None:
            check_url(self.url)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(WorkerOptions):
    """The settings of every worker process.

    ``tasks`` are the user's own tasks as ``package.module:name``. A new process must load them,
    because samples name tasks only by their short names. ``timeline``: the folder into which each
    worker writes what it does, while a run is profiled (``serving.timeline``); None for none.
    """

    tasks: tuple[str, ...] = ()
    timeline: Path | None = None

    def load_tasks(self) -> None:
        """Load the user's tasks into this process. Raises InputError when one cannot be loaded."""
        for name in self.tasks:
            load_task(name)


@dataclass(frozen=True)
class SynthesisSettings(SynthesisOptions, WorkerSettings):
    """The settings of workers that use the pool in ``directory``. ``max_image_pixels`` is the
    largest area of a picture that a data server takes for the run (``DataOptions.image_limit``)."""

    directory: Path
    max_image_pixels: int = USUAL_LIMIT


@dataclass(frozen=True)
class RemoteSettings(WorkerSettings):
    """The settings of workers that use the data server at ``server``, which may be on another host.
    They need no pool."""

    server: ServerAddress
