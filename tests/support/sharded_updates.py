"""Updates by any number of processes, sharded or not, and what came of them; for the tests."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import warm_processes
from ports import reserved_port
from run_options import run_options
from small_device import room_for
from tiny_models import random_sample

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.sample import InputError
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

SIZES = ((64, 48), (130, 75), (256, 200), (100, 40), (64, 64))
LENGTHS = ((5, 1, 9, 30), (4, 12), (7, 7, 7), (3, 20), (6, 8))
STEPS = 2
PATIENCE_S = 900


@dataclass(frozen=True)
class Case:
    """One policy and how it is updated. ``loaded``: its adapters were trained before, so that they
    are a part of the reference. ``rows``: how many of the rows above exist; ``room``: for how many
    tokens the last process has memory, in a pass ``where``."""

    family: str = "qwen2_5_vl"
    dtype: str = "float32"
    lora: bool = False
    loaded: bool = False
    freeze_vision: bool = False
    checkpointing: bool = False
    beta: float = 0.0
    rows: int = 5
    token_budget: int = 150
    learning_rate: float = 1e-3
    master_weights: bool = True
    updates: int = 1
    room: int | None = None
    where: str = "forward"

    def config(self, sharding: str) -> RunOptions:
        return run_options(
            {
                "method": {"name": "grpo", "beta": self.beta},
                "data": {"prompt_style": "brief"},
                "trainer": {
                    "learning_rate": self.learning_rate,
                    "token_budget": self.token_budget,
                    "logits_bytes": 40_000,
                    "master_weights": self.master_weights,
                    "updates_per_rollout": self.updates,
                    "sharding": sharding,
                },
            }
        )


@dataclass
class Outcome:
    """``state`` is the learner's, whole, after the last step, ``earlier`` before it; ``local``
    bytes of trained weights in one process; ``tried`` tokens of each of its passes."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    sampled: list[list[int]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    earlier: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    local: int = 0
    tried: list[int] = field(default_factory=list)


def all_rows(policy: Policy, count: int, beta: float) -> list[UpdateRow]:
    """The same rows in every process."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for i, (size, lengths) in enumerate(zip(SIZES, LENGTHS, strict=True)):
        segments = [
            CreditedSegment(
                token_ids=torch.randint(0, 300, (n,), generator=generator),
                old_logprobs=-6 + torch.randn(n, generator=generator),
                advantages=torch.randn(n, generator=generator),
                mask=torch.ones(n, dtype=torch.bool),
                beta=torch.full((n,), beta),
                settled=i == 0 and place == 3,
            )
            for place, n in enumerate(lengths)
        ]
        rows.append(UpdateRow(encode(policy, random_sample(*size, seed=i), "the lamp"), segments))
    return rows[:count]


def load(directory: Path, case: Case, sharding: str, processes: Processes) -> Policy:
    policy = load_policy(
        directory,
        dtype=case.dtype,
        lora=LoraOptions(4, 8) if case.lora else None,
        freeze_vision=case.freeze_vision,
        gradient_checkpointing=case.checkpointing,
    )
    if case.lora:  # a new adapter's second factor is zero, and the first then has no gradient
        generator = torch.Generator().manual_seed(1)
        for weight in policy.trainable_parameters():
            weight.data.copy_(0.05 * torch.randn(weight.shape, generator=generator))
    policy.adapter_loaded = case.loaded
    if case.beta:
        policy.keep_reference()
    if sharding == "full" and processes.count > 1:
        policy.shard(processes.mesh(), case.master_weights)
    return policy


def updated(
    directory: Path,
    case: Case,
    sharding: str,
    processes: Processes,
    state: dict[str, Any] | None = None,
    steps: int = STEPS,
) -> Outcome:
    """A few updates and a rollout; from ``state`` on, which the main process has, if any."""
    policy = load(directory, case, sharding, processes)
    learner = Learner(case.config(sharding), policy, processes)
    if state is not None:
        learner.load_state_dict(state if processes.is_main else None)
    rows = [row for _, row in processes.part(all_rows(policy, case.rows, case.beta))]
    outcome = Outcome()
    last = processes.rank == processes.count - 1
    with room_for(policy, case.room if case.room and last else 10**9, case.where) as tried:
        for _ in range(steps):
            metrics = StepMetrics()
            outcome.earlier = copy.deepcopy(learner.state_dict())
            try:
                learner.update(rows, metrics)
            except InputError as error:
                outcome.problem = str(error)
                break
            record = metrics.record(1)
            losses = processes.gather([record["loss"] or 0.0])
            outcome.losses.append(sum(losses))
            outcome.norms.append(record["grad_norm"])
    outcome.tried = tried
    with processes.whole(policy) as whole:
        # As many responses as one likes, without waiting for each other.
        for row in rows:
            groups = rollout(whole, [row.prompt], 2, Sampling(1.0, 1.0, 12 + processes.rank), [7])
            outcome.sampled += [r.token_ids[:12].tolist() for group in groups for r in group]
    outcome.sampled = processes.gather(outcome.sampled)
    outcome.local = sum(
        tensor.numel() * tensor.element_size()
        for weight in policy.trainable_parameters()
        for tensor in [weight.to_local() if hasattr(weight, "to_local") else weight]
    )
    outcome.state = learner.state_dict()
    return outcome


def together(count: int, folder: Path, task: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``task(processes, *arguments)`` in as many processes that find each other; what it returned
    in each."""
    folder.mkdir(parents=True, exist_ok=True)
    port = reserved_port()
    torch.save(arguments, folder / "arguments.pt")
    warm_processes.PROCESSES.set_forkserver_preload(warm_processes.IMPORTED)
    started = [
        warm_processes.PROCESSES.Process(target=_run, args=(rank, count, port, folder, task))
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE_S)
        process.kill()
    problems = "\n".join(path.read_text() for path in sorted(folder.glob("*.error")))
    assert all(process.exitcode == 0 for process in started), problems
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _run(
    rank: int,
    count: int,
    port: int,
    folder: Path,
    task: Callable[..., Any],
) -> None:
    torch.set_num_threads(1)
    if count > 1:
        os.environ |= {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "ACCELERATE_USE_CPU": "true",
        }
    try:
        processes = Processes()
        arguments = torch.load(folder / "arguments.pt", weights_only=False)
        result = task(processes, *arguments)
        torch.save(result, folder / f"{rank}.pt")
        processes.close()
    except BaseException:
        (folder / f"{rank}.error").write_text(f"process {rank}\n{traceback.format_exc()}")
        raise
