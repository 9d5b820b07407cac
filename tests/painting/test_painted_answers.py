"""Children of detection and reasoning samples keep what their answers say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mixed_samples import count_of, counted, found, in_a_room, mixed_samples, nothing_found

from syngrpo.boxes import iou
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.compositing import keep_mask
from syngrpo.painting.prompt import build_prompt, without_names
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.descriptions import parse_description, random_description

PICTURES = rooms_samples("train", 4)
BY_HAND = [
    *(make(picture) for picture in PICTURES[:2] for make in (found, counted)),
    in_a_room(PICTURES[0], "kitchen"),
    in_a_room(PICTURES[1], "bathroom"),
]


def paint(folder: Path, seeds: Sequence[Sample], descriptions: Sequence[str]) -> list[Sample]:
    """One admitted child a seed, of the description at its place."""
    pool = Pool.open(folder)
    pool.add_seeds(seeds)
    client = InlineClient(SynthesisSettings(folder, generator="rooms"), SamplingPolicy())
    pairs = zip(seeds, descriptions, strict=True)
    client.submit([JobRequest(seed.id, text, 3, client.fingerprint) for seed, text in pairs])
    outcomes = client.outcomes()
    assert [outcome.state for outcome in outcomes] == ["admitted"] * len(seeds)
    children = [pool.get(str(outcome.sample_id)) for outcome in outcomes]
    client.close()
    pool.close()
    return children


def assert_the_answer_still_holds(child: Sample, parent: Sample) -> None:
    for name in ("task", "question", "answer", "objects", "dataset"):
        assert getattr(child, name) == getattr(parent, name), name
    assert parent.columns.items() <= child.columns.items()
    old, new = parent.image.decode(), child.image.decode()
    keep = keep_mask(parent)
    assert keep.any() and (old[keep] == new[keep]).all()
    assert (old[~keep] != new[~keep]).any(axis=1).mean() > 0.5
    if child.task == "ovd":
        for instance in child.answer:
            (thing,) = [t for t in child.objects if iou(t.box, instance["box"]) > 0.99]
            assert thing.label == instance["label"]
    elif child.columns["kind"] == "count" and child.dataset == "hand":
        assert child.answer == count_of(child.objects, *child.columns["about"])
    task = get_task(child.task)
    assert task.score(child.answer, child) == 1.0


def test_children_of_every_task_have_their_parents_labels(tmp_path: Path) -> None:
    seeds = [*BY_HAND, *(seed for seed in mixed_samples(3) if seed.task != "rec")]
    rng = np.random.default_rng(5)
    children = paint(tmp_path, seeds, [random_description(rng) for _ in seeds])
    for child, parent in zip(children, seeds, strict=True):
        assert_the_answer_still_holds(child, parent)


def test_classes_asked_for_are_not_painted_by_name(tmp_path: Path) -> None:
    picture = PICTURES[0]
    label = picture.objects[0].label
    description = f"blue wall, two fire hydrants, some shelves, three {label}s, wooden floor"
    seeds = [found(picture), counted(picture)]
    detected, reasoned = paint(tmp_path, seeds, [description] * 2)
    prompt = detected.columns["synthesis"]["prompt"]
    assert "hydrant" not in prompt and "shel" not in prompt
    assert prompt.count(label) == 1, "named once, as what is kept"
    assert reasoned.columns["synthesis"]["prompt"].count(label) == 1
    assert "fire hydrants" in reasoned.columns["synthesis"]["prompt"], "nobody asked"


@pytest.mark.parametrize("asked", ["kitchen", "bathroom"])
@pytest.mark.parametrize("other", ["a gym, blue wall", "blue wall in an office, a kitchen"])
def test_a_room_that_is_the_answer_stays_that_room(asked: str, other: str) -> None:
    sample = in_a_room(PICTURES[0], asked)
    prompt = without_names(build_prompt(other, sample, get_task("isr").constraints(sample)))
    assert prompt.startswith(f"{asked}, ")
    read = parse_description(prompt)
    assert (read.room, read.wall_colour) == (asked, "blue")
    free = without_names(build_prompt(other, sample, get_task("isr").constraints(counted(sample))))
    assert parse_description(free).room in ("gym", "office")


def test_a_picture_without_labels_has_nothing_to_keep() -> None:
    empty = nothing_found(PICTURES[0])
    constraints = get_task("ovd").constraints(empty)
    assert constraints.keep == () and set(constraints.forbidden_labels) == {"fire hydrant", "shelf"}
