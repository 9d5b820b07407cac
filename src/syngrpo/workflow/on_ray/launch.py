"""``syngrpo train --ray``: ranks on a cluster, their output here."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import FrameType
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue
from rich.console import Console

from syngrpo.config import Config
from syngrpo.data_server.ray_cluster import connect
from syngrpo.sample import InputError
from syngrpo.workflow.on_ray.messages import Died, Message, Printed, Refused, Started
from syngrpo.workflow.on_ray.rank import Rank, Terminal
from syngrpo.workflow.on_ray.rank_failures import Obituaries
from syngrpo.workflow.processes import PATIENCE
from syngrpo.workflow.run_directory import RunDirectory

TRAIN: Any = ray.train  # its type hints are those of the version before the one in use
LOOK_S = 0.1
ROOM_S = 120.0
"""Ranks that have not started after so long are reported."""
END_S = 10.0
"""How long a killed rank 0 may take to let go of the run directory."""


@dataclass(frozen=True)
class Ranks:
    """How many processes on the cluster at ``address``, and how often they may be started again."""

    address: str
    processes: int = 1
    restarts: int = 3


def train_on_ray(
    config: Config, run_dir: Path, resume: bool, ranks: Ranks, console: Console | None = None
) -> None:
    """``workflow.run.train`` with ranks on a cluster; rank 0, and with it the run directory, on
    this node. When a rank dies, all start again from the last checkpoint.

    Raises InputError, also what a rank finds; TrainingFailedError of Ray Train when the ranks have
    failed more often than they may. SIGTERM and SIGINT end the ranks, and the run may be resumed.
    """
    console = console or Console()
    if ranks.address.startswith("ray://"):
        raise InputError(
            f"--ray {ranks.address}: the run directory is on a node of the cluster; give the "
            "command there, with --ray auto"
        )
    connect(ranks.address)
    try:
        scaling = _scaling(config, ranks.processes)
        RunDirectory.open(run_dir, resume).close()
        with TemporaryDirectory(prefix="syngrpo-ray-") as unused, _signals() as came:
            outbox = Queue(actor_options={"num_cpus": 0, "label_selector": _here()})
            trainer = TorchTrainer(
                Rank(config, run_dir.absolute(), outbox, Terminal.of(console)).train,
                torch_config=TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
                scaling_config=scaling,
                run_config=TRAIN.RunConfig(
                    storage_path=unused,  # our checkpoints are in the run directory
                    failure_config=TRAIN.FailureConfig(max_failures=ranks.restarts),
                    callbacks=[Obituaries(outbox)],
                ),
            )
            watch = _Watch(outbox, ranks, scaling, console, came)
            try:
                watch.follow(trainer)
            finally:
                ray.shutdown()
                watch.end_line()
                watch.wait_for_the_end()
    finally:
        ray.shutdown()


def _scaling(config: Config, processes: int) -> Any:
    """A CPU for each rank, and a GPU where the cluster has any; rank 0 on this node.

    Raises InputError when this node has no place for it.
    """
    everywhere, own = ray.cluster_resources(), ray.get_runtime_context().get_node_id()
    here = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    each = {"CPU": 1.0}
    if config.model.device != "cpu" and everywhere.get("GPU", 0) > 0:
        each["GPU"] = 1.0
    for name, amount in each.items():
        if here.get(name, 0) < amount:
            instead = ", or --set model.device=cpu" if name == "GPU" else ""
            raise InputError(
                f"rank 0 is to be on this node, where the run directory is, and the Ray cluster "
                f"has no {name} here; give the command on a node that has one{instead}"
            )
    return TRAIN.ScalingConfig(
        num_workers=processes,
        use_gpu="GPU" in each,
        resources_per_worker=each,
        label_selector=[_here(), *({} for _ in range(processes - 1))],
    )


def _here() -> dict[str, str]:
    """Selects this node, by the label that Ray gives every node."""
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGTERMs and SIGINTs that come in."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    kept = {name: signal.signal(name, note) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for name, handler in kept.items():
            signal.signal(name, handler)


@dataclass
class _Watch:
    """Follows the ranks while Ray Train runs them."""

    outbox: Queue
    ranks: Ranks
    scaling: Any
    console: Console
    signals: list[int]
    pid: int | None = None
    deaths: int = 0
    in_line: bool = False
    outcome: list[BaseException | None] = field(default_factory=list)

    def follow(self, trainer: TorchTrainer) -> None:
        """Until the run has ended, one way or another.

        In a thread of its own Ray Train leaves the signals alone, of which it would not take
        SIGTERM, and end a Ctrl-C as a success.
        """
        began, told = time.monotonic(), False
        Thread(target=self._fit, args=(trainer,), name="ray-train", daemon=True).start()
        while not self.outcome:
            self._read()
            if self.signals:
                self._stop(self.signals[0])
            if not told and self.pid is None and time.monotonic() - began > ROOM_S:
                told = True
                self._report_room()
            time.sleep(LOOK_S)
        self._read()
        if (error := self.outcome[0]) is not None:
            raise error

    def end_line(self) -> None:
        """Leaves a bar that was cut off, with the cursor that it hid."""
        if self.in_line:
            self.console.show_cursor()
            self.console.line()
            self.in_line = False

    def wait_for_the_end(self) -> None:
        """Returns once rank 0 does not hold the run directory any more."""
        deadline = time.monotonic() + END_S
        while self.pid is not None and time.monotonic() < deadline:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(LOOK_S)

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:  # for follow, which raises it again
            self.outcome.append(error)
        else:
            self.outcome.append(None)

    def _read(self) -> None:
        count = self.outbox.qsize()
        for message in self.outbox.get_nowait_batch(count) if count else ():
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Started(pid):
                self.pid = pid
            case Printed(text):
                self.console.file.write(text)
                self.console.file.flush()
                self.in_line = not text.endswith("\n")
            case Refused(error):
                raise error
            case Died(reasons):
                self.deaths += 1
                self._report(reasons)

    def _report(self, reasons: dict[int, str]) -> None:
        told = "; ".join(f"rank {rank}: {reason}" for rank, reason in sorted(reasons.items()))
        again = f"starting all again from the last checkpoint ({self.deaths} of "
        again += f"{self.ranks.restarts} restarts)"
        last = self.deaths > self.ranks.restarts
        self._say(f"{told}; {'no restarts are left' if last else again}")

    def _report_room(self) -> None:
        each = " and ".join(f"1 {name}" for name in self.scaling.resources_per_worker)
        self._say(
            f"{self.ranks.processes} ranks have not started after {ROOM_S:g} s; each needs "
            f"{each} in the Ray cluster, rank 0 on this node"
        )

    def _say(self, text: str) -> None:
        self.end_line()
        print(text, file=sys.stderr, flush=True)

    def _stop(self, number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)
