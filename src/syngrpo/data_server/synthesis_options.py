"""The options of synthesis (sections ``synthesis`` and ``server`` of a configuration), and the
settings that worker processes get.

``SynthesisOptions`` and ``ServerOptions`` are what the user sets. Settings add where a worker finds
its jobs; they are plain data, because they travel to other processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from syngrpo.options import option
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.generators import GENERATORS, make_generator
from syngrpo.painting.generators.base import Generator
from syngrpo.painting.judges.panel import JudgeOptions
from syngrpo.painting.painting_request import Canvas
from syngrpo.sample import InputError
from syngrpo.serving.http_client import ServerAddress, check_url
from syngrpo.tasks import load_task

RUN_PATTERN = "^[a-z0-9_-]{1,64}$"
"""What a data server accepts as the name of a run."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What a worker paints with, and how workers run."""

    generator: str | None = option(
        None,
        "what paints the new images: the name of a generator, or package.module:name; "
        "has to be set where the method paints",
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
        5, "by how much the priority of the workers on the CPU is lowered", ge=0, le=19
    )
    job_timeout_s: float = option(
        120.0, "seconds after which a job counts as hanging and its process is ended", gt=0
    )
    judges: JudgeOptions = option(JudgeOptions, "models that judge what was painted")

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
class SynthesisOptions(Canvas, WorkerOptions):
    """The data server that paints new images."""

    mode: Literal["async", "inline", "off"] = option(
        "async",
        "async: workers paint beside training; inline: each step waits for its images, which makes "
        "a run repeatable; off: nothing is painted",
    )
    describer: str | None = option(
        None,
        "who writes descriptions at random where the method asks for them: a name, or "
        "package.module:name",
    )
    queue_limit: int = option(256, "open jobs, at most; further ones are dropped", ge=1)
    lease_s: float = option(
        30.0, "seconds without a sign of a worker after which its job goes to another", gt=0
    )
    max_attempts: int = option(3, "failures after which a job is given up", ge=1)
    prefetch: int = option(1, "batches that are drawn ahead of training", ge=1)
    gate: GateThresholds = option(GateThresholds, "when a painted image is refused")

    @property
    def canvas(self) -> Canvas:
        return Canvas(**{one.name: getattr(self, one.name) for one in fields(Canvas)})


@dataclass(frozen=True)
class ServerOptions:
    """A data server of its own (``syngrpo serve``), for several runs or on another host."""

    url: str | None = option(
        None, "http://host:port; null: the workers run beside the trainer, without a server"
    )
    token_file: Path | None = option(None, "file with the token that the server asks for")
    namespace: str | None = option(
        None,
        "name of this run on the server; null: that of the run directory and something random",
        pattern=RUN_PATTERN,
    )

    def __post_init__(self) -> None:
        if self.url is not None:
            check_url(self.url)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(WorkerOptions):
    """What every worker process is told.

    ``tasks`` are the user's own tasks as ``package.module:name``: a new process does not know them
    by the short name that samples carry before they are loaded.
    """

    tasks: tuple[str, ...] = ()

    def load_tasks(self) -> None:
        """Load the user's tasks into this process. Raises InputError when one cannot be loaded."""
        for name in self.tasks:
            load_task(name)


@dataclass(frozen=True)
class SynthesisSettings(SynthesisOptions, WorkerSettings):
    """The synthesis of one run whose pool is in ``directory``."""

    directory: Path


@dataclass(frozen=True)
class RemoteSettings(WorkerSettings):
    """Workers of the data server at ``server``, which may be on another host. They need no pool."""

    server: ServerAddress
