"""Starts the ranks of a run on a Ray cluster and follows them (``syngrpo train --ray``).

``train_on_ray`` gives Ray Train the ranks to run (``ray_ranks.Rank``). Rank 0 is on this host,
where the run directory is. While Ray Train runs them, ``_Follower`` reads their messages, prints
what rank 0 prints, and passes signals on.
"""

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

from syngrpo.data_server.ray_cluster import connect
from syngrpo.sample import InputError
from syngrpo.workflow.on_ray.ray_ranks import (
    Died,
    Message,
    Printed,
    Rank,
    RankFailures,
    RankRefused,
    Started,
    Terminal,
    TrainFunction,
)
from syngrpo.workflow.processes import PATIENCE
from syngrpo.workflow.run_directory import RunDirectory
from syngrpo.workflow.run_options import RunOptions

TRAIN: Any = ray.train  # untyped, because its type hints describe an older version
POLL_S = 0.1
"""Seconds between two looks at messages and signals."""
START_S = 120.0
"""Seconds after which ranks that have not started are reported."""
END_S = 10.0
"""Seconds that a killed rank 0 may take to release the run directory."""


@dataclass(frozen=True)
class Ranks:
    """How many processes run on the cluster at ``address``, and how often they may be restarted."""

    address: str
    processes: int = 1
    restarts: int = 3


def train_on_ray(
    train: TrainFunction,
    options: RunOptions,
    run_dir: Path,
    resume: bool,
    ranks: Ranks,
    console: Console | None = None,
) -> None:
    """Call ``train`` in every rank, with rank 0 on this host. When a rank dies, all are restarted
    and resume from the last checkpoint.

    Raises InputError, also one that a rank raised, and Ray Train's TrainingFailedError when ranks
    have failed more often than allowed. SIGTERM and SIGINT end the ranks; the run can be resumed.
    """
    console = console or Console()
    if ranks.address.startswith("ray://"):
        raise InputError(
            f"--ray {ranks.address}: the run directory is on a node of the cluster; give the "
            "command there, with --ray auto"
        )
    connect(ranks.address)
    try:
        scaling = _scaling(options.model.device, ranks.processes)
        RunDirectory.open(run_dir, resume).close()
        with TemporaryDirectory(prefix="syngrpo-ray-") as unused, _signals() as signals:
            outbox = Queue(actor_options={"num_cpus": 0, "label_selector": _here()})
            trainer = TorchTrainer(
                Rank(train, options, run_dir.absolute(), outbox, Terminal.of(console)).run,
                torch_config=TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
                scaling_config=scaling,
                run_config=TRAIN.RunConfig(
                    storage_path=unused,  # checkpoints are in the run directory
                    failure_config=TRAIN.FailureConfig(max_failures=ranks.restarts),
                    callbacks=[RankFailures(outbox)],
                ),
            )
            follower = _Follower(outbox, ranks, scaling, console, signals)
            try:
                follower.follow(trainer)
            finally:
                ray.shutdown()
                follower.end_line()
                follower.wait_for_the_end()
    finally:
        ray.shutdown()


def _scaling(device: str, processes: int) -> Any:
    """Return Ray Train's ScalingConfig: one CPU for each rank, one GPU as well if the cluster has
    any and ``device`` is not the CPU, and rank 0 on this node.

    Raises InputError when this node lacks what rank 0 needs.
    """
    everywhere, own = ray.cluster_resources(), ray.get_runtime_context().get_node_id()
    here = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    each = {"CPU": 1.0}
    if device != "cpu" and everywhere.get("GPU", 0) > 0:
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
    """Return the label selector of this node. Ray gives every node this label."""
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list to which the numbers of SIGTERM and SIGINT are appended when they arrive. They
    do not end the process meanwhile."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    kept = {name: signal.signal(name, note) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for name, handler in kept.items():
            signal.signal(name, handler)


@dataclass
class _Follower:
    """Follows the ranks while Ray Train runs them.

    ``pid``: the process id of rank 0, once it runs. ``deaths``: how often ranks have failed.
    ``in_line``: whether the last text printed did not end its line. ``outcome``: empty until Ray
    Train has ended, then one element: its error, or None.
    """

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
        """Run the trainer to its end. Raises the error that ended it, SystemExit after SIGTERM, and
        KeyboardInterrupt after SIGINT.

        Ray Train runs in a thread: in the main thread it would install signal handlers that ignore
        SIGTERM and treat Ctrl-C as a success.
        """
        began, reported = time.monotonic(), False
        Thread(target=self._fit, args=(trainer,), name="ray-train", daemon=True).start()
        while not self.outcome:
            self._read()
            if self.signals:
                self._stop(self.signals[0])
            if not reported and self.pid is None and time.monotonic() - began > START_S:
                reported = True
                self._report_waiting()
            time.sleep(POLL_S)
        self._read()
        if (error := self.outcome[0]) is not None:
            raise error

    def end_line(self) -> None:
        """End an unfinished line of a progress bar, and show the cursor that the bar hid."""
        if self.in_line:
            self.console.show_cursor()
            self.console.line()
            self.in_line = False

    def wait_for_the_end(self) -> None:
        """Wait until rank 0 has released the run directory."""
        deadline = time.monotonic() + END_S
        while self.pid is not None and time.monotonic() < deadline:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(POLL_S)

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:  # follow raises it
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
            case RankRefused(error):
                raise error
            case Died(reasons):
                self.deaths += 1
                self._report_failures(reasons)

    def _report_failures(self, reasons: dict[int, str]) -> None:
        failed = "; ".join(f"rank {rank}: {reason}" for rank, reason in sorted(reasons.items()))
        again = f"starting all again from the last checkpoint ({self.deaths} of "
        again += f"{self.ranks.restarts} restarts)"
        last = self.deaths > self.ranks.restarts
        self._say(f"{failed}; {'no restarts are left' if last else again}")

    def _report_waiting(self) -> None:
        """Print that the ranks have not started, and what they need."""
        each = " and ".join(f"1 {name}" for name in self.scaling.resources_per_worker)
        self._say(
            f"{self.ranks.processes} ranks have not started after {START_S:g} s; each needs "
            f"{each} in the Ray cluster, rank 0 on this node"
        )

    def _say(self, text: str) -> None:
        self.end_line()
        print(text, file=sys.stderr, flush=True)

    def _stop(self, number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)
