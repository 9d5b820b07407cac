"""TRL's real trainer on images that evolve, compared with the project's own update."""

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl.trainer.grpo_trainer
from run_options import run_options
from service_process import ServerProcess, serve
from transformers import AutoModelForImageTextToText, TrainerCallback
from trl import GRPOTrainer
from trl_runs import config, opened, starter, trainer

from syngrpo.adapters.reward_advantages import response_advantages
from syngrpo.adapters.trl_data import EvolvingImages
from syngrpo.adapters.trl_trainer import SynGRPOTrainer
from syngrpo.data_server.client import DataClient, Settled
from syngrpo.data_server.synthesis_options import ServerOptions, SynthesisOptions
from syngrpo.method.base import Method, MethodOptions
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.policy.packed import PackedRow, Segment, segment_logprobs
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.workflow.learner import Learner
from syngrpo.workflow.loss import Normaliser
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow, settled_segment
from syngrpo_rooms.starter import STARTER_DIR


class Watched(SynGRPOTrainer):
    """Notes the samples, descriptions, loss and gradients of each step; changes nothing."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.names: list[str] = []
        self.settled: list[list[Settled]] = []
        self.painted = 0
        self.compared: list[tuple[float, float]] = []
        super().__init__(*args, **more)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.names = [one["sample_id"] for one in inputs]
        drawn = {name: self.images.sample(name) for name in self.names}
        self.painted += sum(one.synthetic for one in drawn.values())
        return super()._generate_and_score_completions(inputs)

    def _report(self, generation: Any) -> list[Settled]:
        self.settled.append(super()._report(generation))
        return self.settled[-1]


class Compared(Watched):
    """Computes the loss of each step with settled descriptions by the project's learner, too."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        settled = self.settled[-1]
        if settled:
            named = dict(model.named_parameters())
            grads = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
            ours, own = self.by_our_learner(model, inputs, settled)
            differences = [
                float((grad - own[name]).abs().max())
                for name, grad in zip(named, grads, strict=True)
            ]
            assert any(float(grad.abs().max()) > 1e-3 for grad in grads)
            self.compared.append((abs(float(loss.detach()) - ours), max(differences)))
        return loss

    def by_our_learner(
        self, model: Any, inputs: dict[str, Any], settled: list[Settled]
    ) -> tuple[float, dict[str, torch.Tensor]]:
        policy = load_policy(STARTER_DIR, freeze_vision=False)
        policy.base.load_state_dict(model.state_dict())
        policy = replace(policy, banned=torch.empty(0, dtype=torch.int64))
        rows: dict[str, UpdateRow] = {}
        for place, name in enumerate(self.names):
            if name not in rows:
                sample = self.images.sample(name)
                rows[name] = UpdateRow(encode(policy, sample.sample, sample.prompt("brief")))
            kept = inputs["completion_mask"][place].bool()
            ids = inputs["completion_ids"][place][kept]
            nothing = torch.zeros(len(ids))
            rows[name].segments.append(
                CreditedSegment(
                    ids,
                    nothing * torch.nan,
                    inputs["advantages"][place][kept],
                    torch.ones(len(ids), dtype=torch.bool),
                    nothing,
                    False,
                )
            )
        everything = list(rows.values())
        for one in settled:
            prompt = encode(policy, one.parent, one.asked.prompt("brief"))
            everything.append(UpdateRow(prompt, [settled_segment(one)]))
        options = run_options({"method": {"scene_beta": 0.0, "beta": 0.0}})
        learner = Learner(options, policy, Processes())
        tokens = int(inputs["completion_mask"].sum())
        outputs, _ = learner._backward(everything, Normaliser(len(self.names), tokens), {}, True)
        gradients = {name: p.grad for name, p in policy.base.named_parameters()}
        return sum(float(one.loss) for one in outputs), gradients


def test_a_step_equals_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl.trainer.grpo_trainer, "shuffle_sequence_dict", lambda batch: batch)
    with opened(tmp_path) as client:
        run = trainer(tmp_path, client, Compared, max_steps=4)
        run.train()
    assert run.compared and run.painted > 0
    for loss, gradient in run.compared:
        assert loss <= 1e-5 and gradient <= 1e-5
    for one in (item for step in run.settled for item in step):
        assert (one.advantages[~one.scene_mask] == 0).all()
        assert np.allclose(one.advantages[one.scene_mask], one.weight * one.reward)


class Truncated(Watched):
    """From the third generation on every response counts as cut at the largest length."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if len(self.settled) >= 2:  # as with mask_truncated_completions
            output["completion_mask"] = torch.zeros_like(output["completion_mask"])
            output["num_items_in_batch"] = torch.zeros_like(output["num_items_in_batch"])
        return output


@pytest.mark.parametrize("loss", ["bnpo", "dapo"])
def test_descriptions_of_a_step_of_truncated_responses_leave_the_weights_finite(
    tmp_path: Path, loss: str
) -> None:
    with opened(tmp_path) as client:
        run = trainer(tmp_path, client, Truncated, max_steps=5, loss_type=loss)
        run.train()
    assert any(run.settled[2:])
    assert all(p.isfinite().all() for p in run.model.parameters())


class Offering(Watched):
    """Compares the log-probabilities of offered responses with those of a forward pass of ours."""

    def _report(self, generation: Any) -> list[Settled]:
        policy = load_policy(STARTER_DIR)
        policy.base.load_state_dict(self.model.state_dict())
        policy = replace(policy, banned=torch.empty(0, dtype=torch.int64))
        for row in generation.rows():
            if row.written is not None:
                sample = self.images.sample(row.sample_id)
                prompt = encode(policy, sample.sample, sample.prompt("brief"))
                segment = Segment(torch.from_numpy(row.written.token_ids))
                with torch.no_grad():
                    ((own,),) = segment_logprobs(policy, [PackedRow(prompt, [segment])], 1.0)
                away = np.abs(own.logprobs.numpy() - row.written.logprobs).max()
                self.compared.append((float(away), float(len(segment.token_ids))))
        return super()._report(generation)


def test_descriptions_are_offered_with_their_logprobs_when_sampled(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        batch = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
        run = trainer(tmp_path, client, Offering, max_steps=2, learning_rate=1e-2, **batch)
        run.train()
    assert len(run.compared) >= 8
    assert max(away for away, _ in run.compared) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["grpo", "dapo", "dr_grpo"])
def test_micro_batches_make_no_difference(tmp_path: Path, loss: str) -> None:
    def weights(folder: Path, **batch: int) -> tuple[torch.Tensor, int]:
        with opened(folder) as client:
            how = {"loss_type": loss, "optim": "sgd", "learning_rate": 0.1, "max_steps": 4}
            run = trainer(folder, client, Watched, **how, **batch)
            run.train()
        every = [p.detach().flatten() for p in run.model.parameters()]
        return torch.cat(every), sum(map(len, run.settled))

    whole, settled = weights(tmp_path / "whole")
    halves, again = weights(
        tmp_path / "halves", per_device_train_batch_size=8, gradient_accumulation_steps=2
    )
    assert settled == again > 0
    start = torch.cat([p.detach().flatten() for p in starter()[0].parameters()])
    assert (whole - start).abs().max() > 1e-3
    assert (whole - halves).abs().max() <= 1e-5


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_its_descriptions(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        run = trainer(tmp_path, client, max_steps=2, save_strategy="steps", save_steps=2)
        run.train()
        waiting, moments = len(client.ledger), client.method.state_dict()
        assert waiting > 0
    with opened(tmp_path) as client:
        again = trainer(tmp_path, client, Watched, max_steps=4)
        seen = []
        load = client.load_state_dict

        def loaded(state: dict[str, Any]) -> None:
            load(state)
            seen.append(len(client.ledger))
            assert apart(again.model, tmp_path / "trl" / "checkpoint-2") == 0

        client.load_state_dict = loaded
        assert apart(again.model, tmp_path / "trl" / "checkpoint-2") > 0
        again.train(resume_from_checkpoint=str(tmp_path / "trl" / "checkpoint-2"))
        assert seen == [waiting] and client.steps == client.version == 4
        assert again.painted > 0 and sum(map(len, again.settled)) > 0
        assert client.method.state_dict() != moments
    (tmp_path / "trl" / "checkpoint-2" / "syngrpo.json").unlink()
    with opened(tmp_path) as client:
        lost = trainer(tmp_path, client, max_steps=4)
        with pytest.raises(InputError, match=r"syngrpo\.json cannot be read"):
            lost.train(resume_from_checkpoint=str(tmp_path / "trl" / "checkpoint-2"))


def apart(model: torch.nn.Module, checkpoint: Path) -> float:
    """Return the largest difference between the weights of a model and those of a checkpoint."""
    kept = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).state_dict()
    return max(
        float((value - kept[name]).abs().max()) for name, value in model.state_dict().items()
    )


@pytest.mark.slow
def test_stock_grpo_goes_on_with_its_weights_and_its_client(tmp_path: Path) -> None:
    def trained(client: DataClient, steps: int, resume: str | None) -> list[float]:
        model, processor = starter()
        images = EvolvingImages(client, 2, prompt_style="brief")
        args = config(
            tmp_path,
            max_steps=steps,
            per_device_train_batch_size=8,
            max_completion_length=32,
            save_strategy="steps",
            save_steps=2,
            shuffle_dataset=False,
            accelerator_config={"dispatch_batches": False},
        )
        found = []

        class Compared(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                if resume is not None:
                    found.append(apart(model, Path(resume)))

        run = GRPOTrainer(
            model,
            images.rewards(),
            args,
            images.dataset(),
            processing_class=processor,
            callbacks=[images.callback(), Compared()],
        )
        run.train(resume_from_checkpoint=resume)
        return found

    with opened(tmp_path, groups_per_step=2) as client:
        trained(client, 2, None)
    with opened(tmp_path, groups_per_step=2) as client:
        assert trained(client, 3, str(tmp_path / "trl" / "checkpoint-2")) == [0.0]
        assert client.steps == client.version == 3
    with closing(Pool.open(tmp_path / "run")) as pool:
        everything = [*pool.samples("seed"), *pool.samples("synthetic")]
        steps = [visit.step for one in everything for visit in pool.observations(one.sample.id)]
    assert sorted(steps) == [1, 1, 2, 2, 3, 3]
    (tmp_path / "trl" / "checkpoint-2" / "syngrpo.json").unlink()
    with (
        opened(tmp_path, groups_per_step=2) as client,
        pytest.raises(InputError, match=r"syngrpo\.json cannot be read .*; give the checkpoint as"),
    ):
        trained(client, 3, str(tmp_path / "trl" / "checkpoint-2"))


def test_stock_grpo_trains_on_images_that_evolve(tmp_path: Path) -> None:
    model, processor = starter()
    with opened(tmp_path) as client:
        images = EvolvingImages(client, 4, prompt_style="brief")
        args = config(
            tmp_path, shuffle_dataset=False, accelerator_config={"dispatch_batches": False}
        )
        GRPOTrainer(
            model, images.rewards(), args, images.dataset(), processing_class=processor
        ).train()
        stats = client.stats()
    assert stats.steps == 3 and stats.pool.synthetic > 0
    with pytest.raises(InputError, match="leave eval_dataset out, and measure a checkpoint"):
        images.accuracy(["<answer>1</answer>"])
    with pytest.raises(InputError, match="use the rewards with the dataset of the same Evolving"):
        images.accuracy(["<answer>1</answer>"], ["of another"])


def test_each_reward_is_normalised_by_itself() -> None:
    method = Method(MethodOptions(phantom_weight=0.5), 1)
    right, form = [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]
    rewards = np.array([right + [0.0] * 4, form * 2, [np.nan, 1, 0, np.nan] * 2], np.float32).T
    found = response_advantages(rewards, 4, method, [1.0, 0.1, 2.0])
    assert found.shape == (8, 3)
    assert np.allclose(found[:4, 0], method.answer_advantages(right))
    assert np.allclose(found[:4, 1], 0.1 * method.answer_advantages(form))
    assert np.allclose(found[1:3, 2], 2.0 * method.answer_advantages([1.0, 0.0]))
    assert (found[[0, 3], 2] == 0).all() and (found[4:, 0] == 0).all()
    assert np.allclose(found[4:, 1], 0.05 * method.answer_advantages(form))  # all answers wrong


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_steps": -1}, "the dataset never ends; set max_steps"),
        ({"dataloader_num_workers": 1}, "set dataloader_num_workers to 0"),
        ({"num_generations": 8}, "has 2 prompts, the client draws 4; set groups_per_step"),
        ({"num_iterations": 2}, "for 2 optimizer steps, the client counts 1"),
        ({"loss_type": "sapo"}, "loss_type sapo was never tried"),
        ({"reward_weights": [1.0]}, "has 1 weights for 0 reward_funcs"),
        ({"scale_rewards": False}, "scale_rewards none has no effect here; leave it group: the Da"),
        (
            {"multi_objective_aggregation": "normalize_then_sum"},
            "normalize_then_sum has no effect here; leave it sum_then_normalize: the DataClient's",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with opened(tmp_path) as client, pytest.raises(InputError, match=message) as caught:
        SynGRPOTrainer(None, config(tmp_path, **changed), client)
    assert "\n" not in str(caught.value)


def test_the_arguments_of_the_caller_serve_two_trainers(tmp_path: Path) -> None:
    args = config(tmp_path)
    before = args.to_dict()
    for name in ("first", "second"):
        model, processor = starter()
        with opened(tmp_path / name) as client:
            SynGRPOTrainer(model, args, client, processing_class=processor)
    assert args.to_dict() == before


def test_stock_grpo_with_another_number_of_prompts_is_one_line(tmp_path: Path) -> None:
    model, processor = starter()
    args = config(tmp_path, shuffle_dataset=False, accelerator_config={"dispatch_batches": False})
    with opened(tmp_path) as client:
        images = EvolvingImages(client, 8)
        with pytest.raises(InputError, match="has 4 prompts, the client draws 8; set") as caught:
            GRPOTrainer(
                model,
                images.rewards(),
                args,
                images.dataset(),
                processing_class=processor,
                callbacks=[images.callback()],
            )
    assert "\n" not in str(caught.value)


def test_an_infinite_reward_is_one_line(tmp_path: Path) -> None:
    def boundless(completions: list[Any], **_: Any) -> list[float | None]:
        return [None, math.inf] * (len(completions) // 2)

    kind = partial(SynGRPOTrainer, reward_funcs=[boundless])
    with (
        opened(tmp_path) as client,
        pytest.raises(InputError, match="the reward boundless is infinite for a response; let it"),
    ):
        trainer(tmp_path, client, kind, max_completion_length=4).train()


def test_a_trainer_that_only_draws_is_one_line(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        images = EvolvingImages(client, 4)
        rows = iter(images.dataset())
        with pytest.raises(InputError, match="no response was scored since; set shuffle_dataset="):
            [next(rows) for _ in range(40)]
        images.close()
        with pytest.raises(InputError, match=r"is closed; set dataloader_num_workers to 0"):
            next(iter(images.dataset()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = serve(tmp_path / "server", "--generator", "rooms", "--workers", "1")
    yield running
    running.command.kill()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_steps_with_a_server_and_a_worker(tmp_path: Path, server: ServerProcess) -> None:
    options = {
        "synthesis": SynthesisOptions(generator="rooms"),
        "server": ServerOptions(url=server.url),
    }
    with opened(tmp_path, **options) as client:
        run = trainer(tmp_path, client, Watched, max_steps=40, beta=0.04)
        run.train()
        stats = client.stats()
    rewards = [one.reward for step in run.settled for one in step]
    assert run.painted >= 20 and len(rewards) >= 20 and len(set(rewards)) > 1
    assert stats.steps == 40 and not stats.server_away
    losses = [row["loss"] for row in run.state.log_history if "loss" in row]
    assert len(losses) == 40 and np.isfinite(losses).all()


TWO = """
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

sys.path[:0] = sys.argv[2:]
from test_trl_trainer import Watched
from trl_runs import config, opened, trainer

folder = Path(sys.argv[1])
config(folder)  # starts the process group
main = PartialState().is_main_process
client = opened(folder) if main else None
run = trainer(folder, client, Watched, per_device_train_batch_size=8, max_steps=6)
run.train()
total = sum(float(p.detach().double().abs().sum()) for p in run.model.parameters())
seen = gather_object([(total, sum(map(len, run.settled)), run.painted)])
if main:
    (one, first, painted), (other, second, _) = seen
    assert one == other, (one, other)
    assert first + second > 0 and painted > 0, seen
    assert client.steps == 6
    client.close()
    (folder / "done").touch()
PartialState().destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_share_draws_and_descriptions(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [str(here), str(here.parent / "support"), str(here.parents[1])]
    done = subprocess.run(
        [sys.executable, *launch, script, tmp_path, *paths],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and (tmp_path / "done").exists(), done.stderr[-4000:]
