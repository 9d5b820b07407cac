"""Calls the hooks of the plug-in with what is wrong, in ms-swift's environment, and prints the
message of each error, one a line."""

import asyncio
import math
import sys
from types import SimpleNamespace
from uuid import uuid4

from rooms_plugin import FOLDER, evolve, open_client
from swift.dataset import load_dataset
from swift.infer_engine.protocol import RolloutInferRequest

from syngrpo.adapters import swift_plugin
from syngrpo.adapters.swift_plugin import EvolvingCallback, EvolvingScheduler, SwiftAccuracy
from syngrpo.sample import InputError

OPTIONS = {
    "multi_turn_scheduler": "syngrpo",
    "vllm_mode": None,
    "dynamic_sample": False,
    "eval_strategy": "no",
    "generation_batch_size": 16,
    "num_generations": 4,
    "steps_per_generation": 1,
    "num_iterations": 1,
    "gradient_accumulation_steps": 1,
    "resume_from_checkpoint": None,
}


def said(call, *args):
    """Print the message of the InputError that a call raises."""
    try:
        call(*args)
    except InputError as error:
        print("SAID", error)
    else:
        sys.exit(f"{call} raised nothing")


def callback(**changed):
    return EvolvingCallback(SimpleNamespace(**OPTIONS | changed), None)


def requests(rows):
    """A batch as ms-swift makes it: four requests for each row of the dataset."""
    return [
        RolloutInferRequest(
            row["messages"], uuid=uuid4().hex, data_dict={"syngrpo_row": row["syngrpo_row"]}
        )
        for row in rows
        for _ in range(4)
    ]


def start(batch):
    asyncio.run(EvolvingScheduler().on_trajectory_start(batch))


dataset, _ = load_dataset("syngrpo")
assert len(dataset) == 24
rows = dataset.select(range(4)).to_list()
said(start, requests(rows))  # no callback
for wrong in (
    {"multi_turn_scheduler": None},
    {"vllm_mode": "server"},
    {"dynamic_sample": True},
    {"eval_strategy": "steps"},
):
    said(lambda changed=wrong: callback(**changed))
opened = []


def open_once():
    if not opened:
        opened.append(open_client())
    return opened[0]


swift_plugin._run.open_client = open_once
said(lambda: callback(generation_batch_size=8))
said(lambda: callback(num_iterations=2))
working = callback()
said(
    working.on_train_begin,
    SimpleNamespace(resume_from_checkpoint=str(FOLDER / "no-checkpoint")),
    None,
    None,
)
said(start, [RolloutInferRequest([{"role": "user", "content": "Where is it?"}])])
said(lambda: asyncio.run(EvolvingScheduler().run(None, None)))

# A number that is none: nothing is recorded, and the samples are drawn again.
batch = requests(rows)
start(batch)
assert all(one.messages[0]["content"][0]["type"] == "image" for one in batch)
run, images = swift_plugin._opened()
asked = [run.asked[one.uuid].sample_id for one in batch]
assert len(set(asked)) == 4 and all(asked[i] == asked[i - i % 4] for i in range(16))
infos = [{"sample_id": name, "response": SimpleNamespace(text="")} for name in asked]
right, images.accuracy_of = images.accuracy_of, lambda name, text: math.nan
said(lambda: SwiftAccuracy()(completions=[""] * 16, rollout_infos=infos))
said(start, requests(rows))  # the step was not scored
assert not images.client.pool_stats().synthetic and images.client.steps == 0
images.client.close()
evolve([], open_client)
