"""One training run, put together: data, pool, policy, data server, trainer, evaluation, report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.logging import RichHandler
from yaml import safe_load

from syngrpo.config import STARTER, Config, dump_config, load_data
from syngrpo.config.sections import PoolConfig
from syngrpo.config.source import named
from syngrpo.config.synthesis import SynthesisConfig
from syngrpo.data_server.async_client import AsyncClient
from syngrpo.data_server.client import DataClient, InlineClient
from syngrpo.data_server.job_exchange import JobSink
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.data_server.workers import LocalWorkers
from syngrpo.evaluation.answering import evaluate
from syngrpo.evaluation.evaluation_result import (
    append_evaluation,
    read_lines,
    truncate_evaluations,
)
from syngrpo.pages.run_report import write_report
from syngrpo.pages.run_summary import print_summary
from syngrpo.pages.training_progress import TrainingProgress
from syngrpo.painting.gate import GateThresholds
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.model_options import LoraOptions
from syngrpo.pool.sampling import SamplingPolicy, dataset_weights
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError, Sample
from syngrpo.serving.atomic_files import atomic_directory
from syngrpo.serving.http_client import ServerAddress
from syngrpo.serving.wording import count
from syngrpo.workflow.checkpoint import Checkpoint, Writer, latest
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.resume import resume_run, save_run
from syngrpo.workflow.run_directory import RunDirectory
from syngrpo.workflow.size_check import check_sizes
from syngrpo.workflow.trainer import Trainer
from syngrpo_rooms.starter import STARTER_DIR

logger = logging.getLogger(__name__)

POOL_BACKUP = "pool.db"
EVALUATIONS = "evaluation.jsonl"


def train(config: Config, run_dir: Path, resume: bool, console: Console | None = None) -> None:
    """Trains as the config says, in ``run_dir``; ends with a summary and ``report.html``.

    Raises InputError for everything the user can fix, before the first step wherever possible.
    """
    processes = Processes()
    console = console or Console(quiet=not processes.is_main)
    try:
        seeds, weights, held_out = _read_data(config)
        with ExitStack() as stack:
            stack.enter_context(_warnings_on(console))
            run = RunDirectory(run_dir)
            if processes.is_main:
                run = stack.enter_context(RunDirectory.open(run_dir, resume))
            _Run(config, run, processes, console, seeds, weights, held_out).go()
            processes.agree()
    except (InputError, OSError) as error:  # OSError: a full disk
        processes.tell(str(error))
        raise
    finally:
        processes.close()
    if processes.is_main:
        write_report(run_dir)
        print_summary(run_dir, console)


@contextmanager
def _warnings_on(console: Console) -> Iterator[None]:
    """Shows what the log's warnings say above the progress bar as well."""
    handler = RichHandler(logging.WARNING, console, show_time=False, show_path=False)
    logger = logging.getLogger("syngrpo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@dataclass
class _Run:
    """The parts of a run, in the order in which they come to life."""

    config: Config
    run: RunDirectory
    processes: Processes
    console: Console
    seeds: list[Sample]
    weights: dict[str, float]
    held_out: dict[str, list[Sample]]

    def go(self) -> None:
        trainer = self.config.trainer
        policy = self._policy()
        check_sizes(self.config, policy, self.seeds)
        last = None
        if self.processes.is_main:
            last = latest(self.run.checkpoints)
            self._prepare_directory(last)
        with self._client() as client:
            tasks = {sample.task for sample in self.seeds}
            workflow = Trainer(self.config, policy, self.processes, client, tasks)
            workflow.updater.directory = self.run.path
            resume_run(workflow, last, self.processes)
            progress = TrainingProgress(
                trainer.steps, start=workflow.steps_done, console=self.console
            )
            with progress, self._trackers() as log:
                self._evaluate(policy, workflow.steps_done, progress)
                while workflow.steps_done < trainer.steps:
                    record = workflow.step()
                    step = workflow.steps_done
                    if self.processes.is_main:
                        self.run.append_metrics(record)
                        log(record, step)
                        progress.step(record)
                    if step % trainer.checkpoint_every == 0 or step == trainer.steps:
                        self._checkpoint(workflow)
                    self._evaluate(policy, step, progress)
        with self.processes.whole(policy) as whole:
            if self.processes.is_main:
                with atomic_directory(self.run.final) as target:
                    whole.save(target)

    def _prepare_directory(self, last: Checkpoint | None) -> None:
        """Brings what the run wrote back to where the checkpoint was taken, or to the start."""
        self.run.write_config(safe_load(dump_config(self.config)))
        self.run.start_log()
        step = last.step if last is not None else 0
        self.run.truncate_metrics(step)
        truncate_evaluations(self.run.path / EVALUATIONS, step)
        if self.config.synthesis.mode == "async":
            return
        if last is not None:
            Pool.restore(self.run.path, last.file(POOL_BACKUP)).close()
        else:
            for file in self.run.path.glob(f"{self.run.pool_path.name}*"):
                file.unlink()

    def _policy(self) -> Policy:
        options = self.config.model
        policy = load_policy(
            STARTER_DIR if options.path == STARTER else options.path,
            dtype=options.dtype,
            device=self._device(options.device),
            lora=LoraOptions(options.lora.rank, options.lora.alpha) if options.lora else None,
            freeze_vision=options.freeze_vision,
            gradient_checkpointing=options.gradient_checkpointing,
            max_pixels=options.max_pixels,
            cuda_graphs=self.config.rollout.cuda_graphs,
        )
        if self.config.method.has_kl:
            policy.keep_reference()
        if self.config.trainer.sharding == "full" and self.processes.count > 1:
            policy.shard(self.processes.mesh(), self.config.trainer.master_weights)
        return policy

    def _device(self, wanted: str) -> str:
        return str(self.processes.device) if wanted == "auto" else wanted

    @contextmanager
    def _client(self) -> Iterator[DataClient | None]:
        """The main process's way to the pool; the data server runs as long as it is open."""
        if not self.processes.is_main:
            yield None
            return
        with closing(Pool.open(self.run.path)) as pool:
            pool.add_seeds(self.seeds)
        synthesis, trainer = self.config.synthesis, self.config.trainer
        settings = _settings(synthesis, self.run.path)
        policy = _sampling_policy(self.config.pool, synthesis)
        with ExitStack() as stack:
            client: DataClient
            if synthesis.mode == "async":
                sink = self._sink(settings, policy)
                client = AsyncClient(
                    settings,
                    policy,
                    batch=trainer.groups_per_step,
                    prefetch=synthesis.prefetch,
                    seed=trainer.seed,
                    sink=sink,
                    weights=self.weights,
                )
                if sink is None:
                    stack.enter_context(LocalWorkers(settings))
            else:
                client = InlineClient(settings, policy, seed=trainer.seed, weights=self.weights)
            stack.callback(client.close)
            yield client

    def _sink(self, settings: SynthesisSettings, policy: SamplingPolicy) -> JobSink | None:
        """The way to a data server that runs by itself; None when it runs beside."""
        server = self.config.server
        if server.url is None:
            return None
        from syngrpo.data_server.server_sink import ServerSink, namespace_of
        from syngrpo.serving.bearer_token import read_token

        address = ServerAddress(server.url, read_token(server.token_file))
        name = server.namespace or namespace_of(self.run.path)
        return ServerSink(address, name, settings, policy)

    @contextmanager
    def _trackers(self) -> Iterator[Any]:
        """A function that sends one step's metrics to TensorBoard or whatever was asked for."""
        names = self.config.logging.trackers
        if not names or not self.processes.is_main:
            yield lambda record, step: None
            return
        accelerator = Accelerator(
            cpu=self.processes.device.type == "cpu", log_with=names, project_dir=self.run.path
        )
        accelerator.init_trackers("curves")
        try:
            yield lambda record, step: accelerator.log(
                {k: v for k, v in record.items() if v is not None and k != "step"}, step=step
            )
        finally:  # not end_training(), which would also leave the process group
            for tracker in accelerator.trackers:
                tracker.finish()

    def _checkpoint(self, workflow: Trainer) -> None:
        client, keep_last = workflow.client, self.config.trainer.keep_checkpoints
        writers: dict[str, Writer] = {}
        if client is not None and self.config.synthesis.mode != "async":
            writers[POOL_BACKUP] = client.backup
        save_run(self.run.checkpoints, workflow, self.processes, writers, keep_last)

    def _evaluate(self, policy: Policy, step: int, progress: TrainingProgress) -> None:
        """Held-out accuracy where it is due, by the main process; the others wait."""
        every = self.config.evaluation.every
        if step not in (0, self.config.trainer.steps) and (not every or step % every):
            return
        with self.processes.whole(policy) as whole:
            if self.processes.is_main:
                self._measure(whole, step, progress)
        self.processes.agree()

    def _measure(self, policy: Policy, step: int, progress: TrainingProgress) -> None:
        path = self.run.path / EVALUATIONS
        done = {(row["step"], row["set"]) for row in read_lines(path)}
        for name, samples in self.held_out.items():
            if (step, name) in done:
                continue
            options = self.config.evaluation
            result = evaluate(
                policy,
                samples,
                prompt_style=self.config.data.prompt_style,
                max_new_tokens=self.config.rollout.max_new_tokens,
                batch_size=options.batch_size,
                samples_per_prompt=options.samples_per_prompt,
                seed=self.config.trainer.seed,
                progress=progress.evaluating(name, len(samples)),
            )
            append_evaluation(path, result, step, name)


def _read_data(
    config: Config,
) -> tuple[list[Sample], dict[str, float], dict[str, list[Sample]]]:
    """Every sample that the run needs, checked: seeds, weights of their datasets, held-out sets.

    Raises InputError.
    """
    train, held_out = load_data(config)
    seeds = [sample for samples in train for sample in samples]
    if len(seeds) < config.trainer.groups_per_step:
        raise InputError(
            f"data.train holds {count(len(seeds), 'sample')}, trainer.groups_per_step is "
            f"{config.trainer.groups_per_step}; add data or make groups_per_step smaller"
        )
    sources = named(config.data.train)
    return seeds, dataset_weights({n: source.weight for n, source in sources.items()}), held_out


def _settings(synthesis: SynthesisConfig, directory: Path) -> SynthesisSettings:
    thresholds = GateThresholds(**synthesis.gate.model_dump())
    given = synthesis.model_dump(exclude={"mode", "prefetch", "gate", "judges"})
    return SynthesisSettings(
        directory=directory, gate=thresholds, judges=synthesis.judges.options(), **given
    )


def _sampling_policy(pool: PoolConfig, synthesis: SynthesisConfig) -> SamplingPolicy:
    options = pool.model_dump()
    if synthesis.mode == "off":
        options["synthetic_ratio"] = 0.0
    return SamplingPolicy(**options)
