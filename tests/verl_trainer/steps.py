"""Some steps of verl's own classes on the CPU, from its data loader to its advantages.

verl's trainer in mode ``sync`` makes its data loader and its sampler, its agent loop manager runs
workers under Ray, and TransferQueue holds the trajectories. Only the LLM server and the update are
not verl's: without a GPU its trainer makes no workers. Prints what it says to that, and one line of
JSON for each step, until settled descriptions have come back.
"""

import json
import sys
from pathlib import Path

import hydra
import numpy as np
import ray
import torch
import transfer_queue as tq
import verl
from omegaconf import OmegaConf
from rooms_images import StarterServer
from verl.trainer.ppo.v1 import AgentLoopManagerTQ
from verl.trainer.ppo.v1.trainer_base import get_trainer_cls

from syngrpo_rooms.starter import STARTER_DIR


def configuration(folder, *overrides):
    """verl's configuration with the options that docs/trainers.md names."""
    where = Path(verl.__file__).parent / "trainer" / "config"
    with hydra.initialize_config_dir(str(where), version_base=None):
        return hydra.compose(
            "ppo_trainer",
            [
                f"actor_rollout_ref.model.path={STARTER_DIR}",
                "data.custom_cls.path=pkg://rooms_images",
                "data.custom_cls.name=RoomsImages",
                "data.train_batch_size=4",
                "data.dataloader_num_workers=0",
                "trainer.v1.sampler.custom_sampler.path=pkg://syngrpo.adapters.verl_images",
                "trainer.v1.sampler.custom_sampler.name=EvolvingReplayBuffer",
                "algorithm.adv_estimator=syngrpo",
                "algorithm.rollout_correction.bypass_mode=True",  # no actor computes them again
                "actor_rollout_ref.rollout.n=4",
                "actor_rollout_ref.rollout.name=vllm",
                "actor_rollout_ref.rollout.calculate_log_probs=True",
                "actor_rollout_ref.rollout.prompt_length=256",
                "actor_rollout_ref.rollout.response_length=128",
                "actor_rollout_ref.rollout.agent.num_workers=1",
                "trainer.val_before_train=False",
                "trainer.test_freq=-1",
                "trainer.n_gpus_per_node=1",
                f"trainer.default_local_dir={folder}/checkpoints",
                "transfer_queue.enable=True",
                "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
                *overrides,
            ],
        )


def rows_of(batch):
    """The trajectories of a batch with their advantages, as lists."""
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id)
    fields = ("responses", "response_mask", "rm_scores", "advantages", "rollout_log_probs")
    unbound = {name: [row.tolist() for row in data[name].unbind()] for name in fields}
    notes = [extra["syngrpo"] for extra in list(data["extra_fields"])]
    inputs = list(data["multi_modal_inputs"])
    rows = []
    for place, note in enumerate(notes):
        row = {name: values[place] for name, values in unbound.items()}
        row["settled"] = isinstance(note, str)
        row["grid"] = inputs[place]["image_grid_thw"].tolist()
        if not row["settled"]:
            row |= {name: note[name] for name in ("sample_id", "accuracy", "format")}
        rows.append(row)
    return rows


def main(folder, steps, state):
    ray.init(num_cpus=4, num_gpus=0, include_dashboard=False)
    config = configuration(folder)
    OmegaConf.resolve(config)
    tq.init(config.transfer_queue)
    trainer = get_trainer_cls("sync")(config)
    try:
        trainer.init()  # its data loader first, then its workers
    except ValueError as error:
        print("REFUSED", error, flush=True)
    if state.exists():
        trainer.train_dataloader.load_state_dict(torch.load(state, weights_only=False))
    trainer.agent_loop_manager = AgentLoopManagerTQ.create(
        config=config, llm_client=StarterServer()
    )
    step, settled = 0, False
    while step < steps or (not settled and step < 40):  # painting takes its time
        step += 1
        trainer.global_steps = step
        trainer.prepare_step()
        metrics = {}
        batch, more = trainer.replay_buffer.sample(step, "train", 4)
        batch = trainer._compute_old_log_prob(batch, metrics)
        batch = trainer._compute_advantage(batch, metrics)
        rows = rows_of(batch)
        settled = settled or any(row["settled"] for row in rows)
        tq.kv_clear(keys=batch.keys, partition_id=batch.partition_id)
        numbers = {name: float(value) for name, value in more.items()}
        print("STEP", json.dumps({"rows": rows, "metrics": numbers}), flush=True)
    torch.save(trainer.train_dataloader.state_dict(), state)
    trainer.train_dataset.client.close()
    tq.close()
    ray.shutdown()


if __name__ == "__main__":
    np.random.seed(0)
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[1]) / "data.pt")
