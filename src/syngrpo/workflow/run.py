"""Builds one training run from its options and drives it to the end.

``train`` is called in every process of a run, by ``syngrpo train`` or by a rank on a Ray cluster.
It reads and checks all data and, in the main process, locks the run directory. ``_Run.go`` then
builds policy, pool, data client and trainer, and calls ``Trainer.step`` once a step; it saves a
checkpoint and evaluates when one is due. The caller hands in a ``Progress``, which shows the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console

from syngrpo.data_server.job_failures import JobFailures
from syngrpo.data_server.pool_access import open_pool_client
from syngrpo.data_server.pool_client import PoolClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.evaluation.answering import evaluate
from syngrpo.evaluation.conditions import conditions_of
from syngrpo.evaluation.evaluation_result import append_evaluation
from syngrpo.evaluation.run_evaluations import keep_predictions
from syngrpo.formats.source import named
from syngrpo.formats.source_reading import lines_about, read_sources
from syngrpo.method import METHODS
from syngrpo.method.base import Method
from syngrpo.policy import model_directory
from syngrpo.policy.loading import load_policy
from syngrpo.policy.model import Policy
from syngrpo.policy.spans import token_texts
from syngrpo.pool.sampling import dataset_weights
from syngrpo.pool.store import Pool
from syngrpo.responses.response_writer import ResponseWriter
from syngrpo.rollout.base import NotFinite, ToldToAll
from syngrpo.sample import InputError, Sample
from syngrpo.serving.json_lines import read_lines
from syngrpo.serving.timeline import traced
from syngrpo.serving.wording import count
from syngrpo.workflow.attempts import record_attempt
from syngrpo.workflow.checkpoint import Writer, latest, resume_run, save_run
from syngrpo.workflow.console_lines import cause_in_log, warnings_on
from syngrpo.workflow.final_model import save_final
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.profiling import Profile, Profiler
from syngrpo.workflow.resume_rules import Change
from syngrpo.workflow.resuming import (
    EVALUATIONS,
    POOL_BACKUP,
    accepted_changes,
    lines_at_start,
    require_kept_checkpoints,
    require_same_seeds,
    require_sound_files,
    set_back,
    told_about_images,
)
from syngrpo.workflow.run_directory import RunDirectory
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.run_warnings import RunWarnings
from syngrpo.workflow.size_check import check_sizes, usable_samples
from syngrpo.workflow.trackers import Trackers, trackers
from syngrpo.workflow.trainer import Trainer

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Shows a run to the user while it trains."""

    def step(self, metrics: dict[str, Any]) -> None:
        """Show a finished step; ``metrics`` is its line of ``metrics.jsonl``."""

    def evaluating(self, name: str, samples: int) -> Callable[[int], None]:
        """Show that a held-out set is evaluated. Return a function that is called with the number
        of samples that were just answered."""


ShowProgress = Callable[[int, int, Console], AbstractContextManager[Progress]]
"""Called with the number of steps, the number of steps already done, and the console."""


def train(
    options: RunOptions,
    run_dir: Path,
    resume: bool,
    show: ShowProgress,
    console: Console | None = None,
    profile: Profile | None = None,
) -> bool:
    """Train as the options say, in ``run_dir``. Return whether this is the main process.

    With ``profile`` a timeline of the first steps is written to the run directory.

    Raises InputError for everything the user can fix, before the first step wherever possible.
    """
    processes = Processes()
    console = console or Console(quiet=not processes.is_main)
    try:
        if processes.is_main and (resume or run_dir.exists()):
            RunDirectory.open(run_dir, resume).close()  # refuse it before all images are read
        data = _read_data(options)
        with ExitStack() as stack:
            stack.enter_context(warnings_on(console))
            run = RunDirectory(run_dir)
            if processes.is_main:
                run = stack.enter_context(RunDirectory.open(run_dir, resume))
            stack.enter_context(cause_in_log())
            profiler = Profiler(profile, run.path, processes, partial(_tell, console))
            stack.enter_context(closing(profiler))
            _Run(options, run, resume, processes, console, show, profiler, *data).go()
            processes.agree()
    except ToldToAll:
        raise
    except (InputError, OSError) as error:  # OSError: a full disk
        processes.tell(str(error))
        raise
    finally:
        processes.close()
    return processes.is_main


@dataclass
class _Run:
    """Builds the parts of a run and drives them. Every process has one.

    ``seeds`` are all training samples, ``weights`` the drawing weights of their data sets by name,
    ``held_out`` the evaluation sets by name.
    """

    options: RunOptions
    run: RunDirectory
    resume: bool
    processes: Processes
    console: Console
    show: ShowProgress
    profiler: Profiler
    seeds: list[Sample]
    weights: dict[str, float]
    held_out: dict[str, list[Sample]]

    def go(self) -> None:
        """Build policy, client and trainer, resume from the last checkpoint, and train to the end.
        Then save the model."""
        options, last = self.options.trainer, None
        changes: list[Change] = []
        if self.processes.is_main:
            last = latest(self.run.checkpoints)
            require_kept_checkpoints(self.run, last)
            changes = accepted_changes(self.run, self.options, last)
            require_sound_files(self.run, self.options, last)
            self.profiler.require_steps(options.steps - (last.step if last is not None else 0))
        policy = self._policy()
        model = (policy.family, policy.base.config, policy.processor)
        usable = usable_samples(self.options, model, self.seeds, self.held_out)
        self.seeds, self.held_out = usable
        check_sizes(self.options, policy, self.seeds)
        if self.processes.is_main:
            set_back(self.run, self.options, last)
            self.profiler.prepare()
            self._tell(self._lines_about_data())
            done = last.step if last is not None else 0
            device, number = str(policy.device), self.processes.count
            record_attempt(self.run, done, options.steps, device, number, changes)
            if self.resume:
                self._tell(lines_at_start(self.run.path, self.options, last, changes))
        with self._client(policy) as client:
            tasks = {sample.task for sample in self.seeds}
            trainer = Trainer(self.options, policy, self.processes, client, tasks)
            trainer.learner.directory = self.run.path
            resume_run(trainer, last, self.processes)
            failures = JobFailures(self.run.path)
            waiting = client.stats().open_jobs if client is not None else 0
            warnings = RunWarnings(self.options, self._reasons, waiting)
            showing = self.show(options.steps, trainer.steps_done, self.console)
            names = self.options.logging.trackers
            with (
                closing(trainer.rollout),
                showing as progress,
                trackers(names, self.processes, self.run.path) as tracked,
                self._responses_written(trainer),
                self._divergence_told(trainer),
            ):
                self._evaluate(trainer, progress, tracked)
                self.profiler.begin()
                while trainer.steps_done < options.steps:
                    record = trainer.step()
                    step = trainer.steps_done
                    if self.processes.is_main:
                        self.run.append_metrics(record)
                        tracked.log(record, step)
                        progress.step(record)
                        failures.step(record)
                        warnings.step(record)
                    if step % options.checkpoint_every == 0 or step == options.steps:
                        self._checkpoint(trainer)
                    self._evaluate(trainer, progress, tracked)
                    self.profiler.step(step)
        if self.processes.is_main:
            failures.end()
        with self.processes.whole(policy) as whole:
            if self.processes.is_main:
                save_final(self.run.final, whole, self.options)

    def _lines_about_data(self) -> list[str]:
        """Return a line for each source: its samples, tasks and files."""
        sources = self.options.data.train, self.options.evaluation.sets
        return lines_about(*sources, self.seeds, self.held_out)

    def _tell(self, lines: Sequence[str]) -> None:
        """Print lines on the console, and write them to the log."""
        for line in lines:
            _tell(self.console, line)

    def _reasons(self) -> dict[str, int]:
        """Return the number of images that the gate has rejected, by reason."""
        with closing(Pool.open(self.run.path)) as pool:
            return pool.stats().rejected

    def _policy(self) -> Policy:
        options = self.options.model
        directory, _ = model_directory(options.path)
        policy = load_policy(
            directory,
            dtype=options.dtype,
            device=str(self.processes.device) if options.device == "auto" else options.device,
            lora=options.lora,
            freeze_vision=options.freeze_vision,
            gradient_checkpointing=options.gradient_checkpointing,
            max_pixels=options.max_pixels,
            cuda_graphs=self.options.rollout.cuda_graphs,
            family=options.family,
            coordinates=options.coordinates,
            seed=self.options.trainer.seed,
        )
        if self.options.method.has_kl:
            policy.keep_reference()
        trainer = self.options.trainer
        if trainer.sharding == "full" and self.processes.count > 1:
            policy.shard(self.processes.mesh(), trainer.master_weights)
        return policy

    @contextmanager
    def _client(self, policy: Policy) -> Iterator[PoolClient | None]:
        """Yield the client for the pool and the data server, None outside of the main process.

        Adds the seeds to the pool first. Local workers run until the block is left.
        """
        if not self.processes.is_main:
            yield None
            return
        with closing(Pool.open(self.run.path)) as pool:
            new = require_same_seeds(pool, self.seeds) if self.resume else None
            missing = pool.without_image() if self.resume else []
            pool.add_seeds(self.seeds)
            for line in filter(None, (new, *told_about_images(pool, missing))):
                logger.warning("%s", line)
        trainer = self.options.trainer
        with ExitStack() as stack:
            yield open_pool_client(
                stack,
                self._synthesis_settings(policy),
                self.options.server,
                self._method().sampling(self.options.pool),
                batch=trainer.groups_per_step,
                seed=trainer.seed,
                weights=self.weights,
            )

    def _synthesis_settings(self, policy: Policy) -> SynthesisSettings:
        """Return the section ``synthesis``, with the pool and the user's tasks for the workers, the
        size to which the policy shrinks pictures for the gate, and that of the largest picture."""
        synthesis = self.options.synthesis
        sources = [*self.options.data.train, *self.options.evaluation.sets.values()]
        own = {source.task for source in sources if source.task and ":" in source.task}
        given = {field.name: getattr(synthesis, field.name) for field in fields(synthesis)}
        seen = policy.family.most_pixels(policy.processor.image_processor)
        if synthesis.gate.model_pixels is None:
            given["gate"] = replace(synthesis.gate, model_pixels=seen)
        return SynthesisSettings(
            directory=self.run.path,
            max_image_pixels=self.options.data.image_limit(seen),
            tasks=tuple(sorted(own)),
            timeline=self.profiler.worker_files,
            **given,
        )

    def _method(self) -> Method:
        options = self.options
        return METHODS.load(options.method.name)(options.method, options.trainer.steps)

    @contextmanager
    def _divergence_told(self, trainer: Trainer) -> Iterator[None]:
        """Add to a NotFinite error of the block after which step it came, and what to try."""
        try:
            yield
        except NotFinite as error:
            step, options = trainer.steps_done, self.options
            if step == 0:
                raise InputError(f"before the first step: {error}; check model.path") from error
            raise InputError(
                f"after step {step}: {error}; lower trainer.learning_rate "
                f"({options.trainer.learning_rate:g}) or raise rollout.temperature "
                f"({options.rollout.temperature:g}), and start again, or with --resume from a "
                f"checkpoint before step {step}"
            ) from error

    @contextmanager
    def _responses_written(self, trainer: Trainer) -> Iterator[None]:
        """Write the responses of the steps in the block to ``responses/``, if any are kept."""
        options = self.options.logging.responses
        if not self.processes.is_main or options.keep == "none":
            yield
            return
        writer = ResponseWriter(
            self.run.responses,
            lambda ids: token_texts(trainer.policy.tokenizer, torch.from_numpy(ids)),
            [reward.name for reward in trainer.rewards],
            options.max_gb * 1e9,
        )
        trainer.keeper.writer = writer
        with closing(writer):
            yield

    def _checkpoint(self, trainer: Trainer) -> None:
        client, keep_last = trainer.client, self.options.trainer.keep_checkpoints
        trainer.keeper.flush()  # a resumed run has all responses up to its checkpoint
        writers: dict[str, Writer] = {}
        if client is not None:
            writers[POOL_BACKUP] = client.backup
        save_run(self.run.checkpoints, trainer, self.processes, writers, keep_last)

    def _evaluate(self, trainer: Trainer, progress: Progress, tracked: Trackers) -> None:
        """Measure held-out accuracy in the main process if it is due, and show the trackers some
        groups of the last step; the others wait.

        It is due at the end, every ``evaluation.every`` steps, and before the first step if
        ``evaluation.at_start`` says so.
        """
        options, step = self.options.evaluation, trainer.steps_done
        if step == 0:
            due = options.at_start
        else:
            at_end = step == self.options.trainer.steps
            due = at_end or (options.every > 0 and step % options.every == 0)
        if not due:
            return
        with self.processes.whole(trainer.policy) as whole:
            if self.processes.is_main:
                self._measure(whole, trainer, progress)
                tracked.log_groups(trainer.keeper.shown(), step)
        self.processes.agree()

    @traced("evaluate")
    def _measure(self, policy: Policy, trainer: Trainer, progress: Progress) -> None:
        """Evaluate the held-out sets that have no result for this step yet."""
        path, step = self.run.path / EVALUATIONS, trainer.steps_done
        done = {(row["step"], str(row.get("set"))) for row in read_lines(path)}
        how = self._how_evaluated()
        for name, samples in self.held_out.items():
            if (step, name) in done:
                continue
            result = evaluate(
                policy,
                samples,
                **how,
                batch_size=self.options.evaluation.batch_size,
                skip_unreadable=True,
                progress=progress.evaluating(name, len(samples)),
                rewards=trainer.rewards,
            )
            settings = how | {"dtype": self.options.model.dtype}
            if rewards := self.options.data.rewards:
                settings["rewards"] = [[r.shown_name, r.use, r.replaces_accuracy] for r in rewards]
            conditions = conditions_of(self.options.model.path, policy)
            keep_predictions(self.run.path, step, name, result, settings, conditions)
            append_evaluation(path, result, step, name)

    def _how_evaluated(self) -> dict[str, Any]:
        """Return how the policy is asked, in the words of ``evaluate``."""
        return {
            "prompt_style": self.options.data.prompt_style or "full",
            "max_new_tokens": self.options.rollout.max_new_tokens,
            "samples_per_prompt": self.options.evaluation.samples_per_prompt,
            "temperature": 1.0,
            "seed": self.options.trainer.seed,
        }


def _tell(console: Console, line: str) -> None:
    """Print a line on the console, and write it to the log."""
    logger.info("%s", line)
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _read_data(
    options: RunOptions,
) -> tuple[list[Sample], dict[str, float], dict[str, list[Sample]]]:
    """Read and check all data of the run. Return the seeds, the drawing weights of their data sets,
    and the held-out sets. Raises InputError."""
    train, held_out = read_sources(options.data, options.evaluation.sets)
    seeds = [sample for samples in train for sample in samples]
    if len(seeds) < options.trainer.groups_per_step:
        raise InputError(
            f"data.train holds {count(len(seeds), 'sample')}, trainer.groups_per_step is "
            f"{options.trainer.groups_per_step}; add data or make groups_per_step smaller"
        )
    sources = named(options.data.train)
    return seeds, dataset_weights({n: source.weight for n, source in sources.items()}), held_out
