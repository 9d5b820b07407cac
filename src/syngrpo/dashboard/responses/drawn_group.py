"""Puts a group of kept responses together with its picture, if the pool still has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.dashboard.responses.response_groups import GroupLine, GroupResponse, group_responses
from syngrpo.pages.labelled_picture import Picture, picture_with_answers, words_beside_picture
from syngrpo.pool.store import Pool
from syngrpo.sample import Sample
from syngrpo.serving.wording import first_line

TRANSFORMED = (
    "The method has transformed this picture before the model saw it. The pool has only the "
    "picture as it was before, on which these answers cannot be drawn."
)


@dataclass(frozen=True)
class DrawnGroup:
    """A group with its responses. ``picture`` is None, and ``why`` says why, if it cannot be shown.
    ``truth`` is the ground truth in words, "" if the picture shows it."""

    line: GroupLine
    responses: Sequence[GroupResponse]
    picture: Picture | None
    why: str
    truth: str


def drawn_group(run: FollowedRun, line: GroupLine, href: str) -> DrawnGroup:
    """Read a group. ``href`` is the address of its picture."""
    responses = group_responses(run.responses, line.step, line.group_index)
    stored = next((one.truth for one in responses if one.truth), "")
    found = _sample(run.pool(), line)
    if isinstance(found, str):
        return DrawnGroup(line, responses, None, found, stored)
    answers = [(one.accuracy or 0.0, one.marks) for one in responses]
    try:
        picture = picture_with_answers(found, answers, href)
        return DrawnGroup(line, responses, picture, "", words_beside_picture(found))
    except FAULTS as error:  # the task cannot draw its answers
        return DrawnGroup(line, responses, None, first_line(error), stored)


def _sample(pool: Pool | None, line: GroupLine) -> Sample | str:
    """Return the sample of a group, or why its picture cannot be shown."""
    if line.transformed:
        return TRANSFORMED
    if pool is None:
        return "There is no picture: the pool of this run is not here, or cannot be read."
    try:
        sample = pool.get(line.sample_id)
        sample.image.decode()
    except FAULTS as error:
        return f"There is no picture: {first_line(error)}."
    return sample
