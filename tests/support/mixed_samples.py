"""Samples of three tasks on rooms pictures, and some made by hand that rooms has not."""

from __future__ import annotations

from dataclasses import replace

from syngrpo.sample import LabelledObject, Sample
from syngrpo_rooms.dataset import rooms_samples

TASKS = ("rec", "ovd", "isr")


def mixed_samples(count: int) -> list[Sample]:
    """``count`` of every task, each in a dataset named like its task."""
    return [
        replace(sample, dataset=task)
        for task in TASKS
        for sample in rooms_samples("train", count, task=task)
    ]


def found(picture: Sample) -> Sample:
    """Asks for the classes of all that is labelled, and for two that are not there."""
    labels = dict.fromkeys(thing.label for thing in picture.objects)
    return replace(
        picture,
        id=f"found-{picture.id}",
        task="ovd",
        question=", ".join([*labels, "fire hydrant", "shelf"]),
        answer=tuple({"label": thing.label, "box": thing.box} for thing in picture.objects),
        columns={},
        dataset="hand",
    )


def nothing_found(picture: Sample) -> Sample:
    """Asks for classes none of which is there, in a picture without labels."""
    return replace(
        found(picture),
        id=f"nothing-{picture.id}",
        question="fire hydrant, shelf",
        answer=(),
        objects=(),
    )


def counted(picture: Sample) -> Sample:
    """Asks how often the first object's class is there."""
    first = picture.objects[0].label
    return replace(
        picture,
        id=f"counted-{picture.id}",
        task="isr",
        question=f"how many {first} are there?",
        answer=count_of(picture.objects, first),
        columns={"kind": "count", "about": [first]},
        dataset="hand",
    )


def in_a_room(picture: Sample, room: str) -> Sample:
    """Asks what room it is."""
    return replace(
        picture,
        id=f"room-{picture.id}",
        task="isr",
        question="what room is this?",
        answer=room,
        columns={"kind": "room_type"},
        dataset="hand",
    )


def count_of(objects: tuple[LabelledObject, ...], label: str) -> int:
    return sum(thing.label == label for thing in objects)
