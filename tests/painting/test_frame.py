"""Labelled objects that move sideways together: labels, pixels and answers stay true."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.rooms.truth import fault
from service_client import RUN, jobs, lease, open_run, painted, seed_of, service

from syngrpo.boxes import decode_mask, mask_box
from syngrpo.data_server.client import InlineClient
from syngrpo.data_server.sample_wire import sample_from
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.displacement import displacement, moved_pixels, with_labels_moved
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo_rooms.dataset import rooms_samples

SHARE = 0.3


def shifts(sample, share=SHARE):
    return [displacement(sample, seed, share) for seed in range(200)]


def test_objects_move_both_ways_as_far_as_there_is_room():
    sample = rooms_samples("train", 1, seed=3)[0]
    left = min(thing.box[0] for thing in sample.objects)
    right = sample.image.width - max(thing.box[2] for thing in sample.objects)
    found = shifts(sample)
    assert -left < min(found) < 0 < max(found) < right
    assert max(map(abs, found)) <= SHARE * sample.image.width
    assert found == shifts(sample)
    assert set(shifts(sample, share=0)) == {0}
    assert max(map(abs, shifts(sample, share=0.02))) <= 2


def test_what_touches_an_edge_stays():
    sample = rooms_samples("train", 1, seed=3)[0]
    for edge in ((0.0, 40.0, 30.0, 60.0), (100.0, 40.0, 128.0, 60.0)):
        cut = replace(sample.objects[0], box=edge, mask=None)
        assert set(shifts(replace(sample, objects=(cut, *sample.objects[1:])))) == {0}
    assert set(shifts(replace(sample, objects=()))) == {0}


@pytest.mark.parametrize("right", [-7, 0, 7])
def test_masks_boxes_and_pixels_move_alike(right):
    sample = rooms_samples("train", 1, seed=3)[0]
    there = with_labels_moved(sample, right)
    pixels = sample.image.decode()
    after = moved_pixels(pixels, right)
    edge = pixels[:, [0]] if right >= 0 else pixels[:, [-1]]
    came_in = after[:, :right] if right >= 0 else after[:, right:]
    assert (came_in == edge).all()
    for before, thing in zip(sample.objects, there.objects, strict=True):
        mask = decode_mask(thing.mask)
        assert mask_box(mask) == thing.box == mask_box(np.roll(decode_mask(before.mask), right, 1))
        assert (after[mask] == pixels[decode_mask(before.mask)]).all()


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_painted_samples_carry_the_moved_labels(tmp_path: Path, task):
    """The answer is still the objects', whose own pixels lie under the moved masks."""
    samples = rooms_samples("train", 6, seed=5, task=task)
    settings = SynthesisSettings(directory=tmp_path, displacement=SHARE, generator="rooms")
    pool = Pool.open(tmp_path)
    pool.add_seeds(samples)
    pool.close()
    client = InlineClient(settings, SamplingPolicy())
    parents = {sample.id: sample for sample in samples}
    client.submit(
        [
            JobRequest(sample.id, "a green brick wall, stone floor", seed, client.fingerprint)
            for seed, sample in enumerate(samples)
        ]
    )
    children = [client.get(one.sample_id) for one in client.outcomes() if one.sample_id]
    assert len(children) >= 4
    moves = []
    for child in children:
        parent = parents[child.parent]
        (right,) = {
            thing.box[0] - before.box[0]
            for thing, before in zip(child.objects, parent.objects, strict=True)
        }
        moves.append(right)
        assert child.answer == with_labels_moved(parent, int(right)).answer
        assert fault(child) is None  # by the renderer, which knows nothing of displacement
        for thing, before in zip(child.objects, parent.objects, strict=True):
            mask, origin = decode_mask(thing.mask), decode_mask(before.mask)
            assert (child.image.decode()[mask] == parent.image.decode()[origin]).all()
    assert len(set(moves)) > 2


def test_labels_go_where_the_worker_says_it_moved_the_objects(tmp_path: Path):
    """Also when the run has been opened anew, with another displacement, while it painted."""
    with service(tmp_path) as client:
        open_run(client, canvas={"displacement": SHARE})
        client.post(f"{RUN}/jobs", json=jobs(1))
        (leased,) = lease(client)
        client.put(RUN, json={"canvas": {"displacement": 0.0}})
        parent = seed_of(leased)
        result = painted(leased, parent.image.read())
        for right, accepted in ((parent.image.width, 422), (3, 200)):
            result["painted"]["right"] = right
            answer = client.post("/v1/complete", json={"worker": "w", "results": [result]})
            assert answer.status_code == accepted, answer.text
        (ended,) = client.get(f"{RUN}/outcomes").json()["jobs"]
    child = sample_from(ended["sample"], parent.image)
    assert child.answer == with_labels_moved(parent, 3).answer
    assert child.objects == with_labels_moved(parent, 3).objects
