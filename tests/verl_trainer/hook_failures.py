"""What goes wrong in verl's hooks, in its environment: prints the message of each error, one a
line, and checks that nothing is lost and nothing counts twice when workers fail.
"""

import math
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
from omegaconf import OmegaConf
from rooms_images import RoomsImages

from syngrpo.adapters import verl_images
from syngrpo.adapters.verl_images import EvolvingReplayBuffer, ScoredResponse, method_advantages
from syngrpo.data_server.client import WrittenResponse
from syngrpo.sample import InputError

SAID = "<think>t</think><answer>[1, 2, 3, {}]</answer><scene>a {} wall</scene>"


class Trajectories:
    """What TransferQueue keeps, in this process."""

    def __init__(self):
        self.notes, self.written = {}, {}

    def kv_batch_get(self, keys, partition_id, select_fields):
        return {"extra_fields": [{"syngrpo": self.notes[key]} for key in keys]}

    def kv_batch_put(self, keys, partition_id, fields):
        self.written |= dict.fromkeys(keys, fields)


def said(call, *args):
    """Print the message of the InputError that a call raises."""
    try:
        call(*args)
    except InputError as error:
        print("SAID", error)
    else:
        sys.exit(f"{call} raised nothing")


def configuration(**changed):
    values = {"train_batch_size": 4, "gen_batch_size": None, "dataloader_num_workers": 0}
    return OmegaConf.create(values | changed)


def dataset(config):
    return RoomsImages(data_files=[], tokenizer=None, processor=None, config=config)


def response(place, accuracy, name):
    text = SAID.format(place, ("red", "blue")[place % 2])
    ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    mask = np.arange(len(ids)) >= text.index("<scene>")
    written = WrittenResponse(text, ids, np.zeros(len(ids), np.float32), mask)
    return asdict(ScoredResponse(4, name, accuracy, 1.0, written))


def finished(rows, responses=4, accuracy=None):
    """The trajectories of a batch: some responses to each row of the dataset."""
    kept = Trajectories()
    for number, row in enumerate(rows):
        asked = row["syngrpo"]
        for place in range(responses):
            right = accuracy if accuracy is not None else float(place % 2)
            note = (
                response(place, right, asked.sample.id)
                if asked.sample is not None
                else asked.settled[place].pending.job_id
            )
            kept.notes[f"{number}_{place}_0"] = note
    verl_images.tq = kept
    return SimpleNamespace(keys=list(kept.notes), partition_id="train"), kept


said(method_advantages, None, None, [])  # no dataset
said(lambda: EvolvingReplayBuffer("colocate_async"))
said(dataset, configuration(dataloader_num_workers=2))
said(dataset, configuration(gen_batch_size=1))
config = configuration()
training = dataset(config)
validation = dataset(config)
assert len(training) == 24 and len(validation) == 1
said(validation.__getitem__, 0)
pool = training.client.pool

said(training.__getitems__, [0])  # as with algorithm.filter_groups

# A worker dies: two of four groups come back. The other samples are drawn again later.
rows = training.__getitems__([0, 1, 2, 3])
batch, _ = finished(rows[:2])
numbers = training.end_step(batch)
assert numbers["synthesis/submitted"] > 0 and training.client.steps == 1
seen = {row["syngrpo"].sample.id for row in rows[:2]}

# A number that is none: nothing of this step is recorded.
rows = training.__getitems__([0, 1, 2, 3])
batch, _ = finished(rows, accuracy=math.nan)
said(training.end_step, batch)
assert training.client.steps == 1

# Settled descriptions come back as a group; when its worker dies, they are kept.
training = None
verl_images._current.client.close()
verl_images._current = None
again = dataset(configuration())
for _ in range(30):
    rows = again.__getitems__([0, 1, 2, 3])
    asked = rows[-1]["syngrpo"]
    if asked.sample is None:
        break
    again.end_step(finished(rows)[0])
assert len(asked.settled) == 4 and len(rows) == 4
held = len(again.held)
batch, kept = finished(rows[:3])
again.end_step(batch)
assert len(again.held) >= held + 4
rows = again.__getitems__([0, 1, 2, 3])
assert [one.pending.job_id for one in rows[-1]["syngrpo"].settled] == [
    one.pending.job_id for one in asked.settled
]
again.end_step(finished(rows, responses=2)[0])  # half of the group comes back
rows = again.__getitems__([0, 1, 2, 3])
left = [one.pending.job_id for one in rows[-1]["syngrpo"].settled]
assert left[:2] == [one.pending.job_id for one in asked.settled[2:]]
state = again.state_dict()
batch, kept = finished(rows)
held = len(again.held)
again.end_step(batch)
settled = [key for key, note in kept.notes.items() if isinstance(note, str)]
assert len(settled) == 4 and all("uid" in kept.written[key] for key in settled)
assert len(again.held) >= held
again.load_state_dict(state)
assert again.client.steps == state["client"]["steps"]
again.client.close()
