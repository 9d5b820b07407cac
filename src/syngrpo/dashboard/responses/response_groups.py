"""Reads the kept responses that the tab Responses shows: a list of groups, and one group whole.

A group is the responses of one step to one sample. The list needs a few columns of the files of its
steps; texts are only read to be searched, and tokens only for the group that is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, TypeVar

import pyarrow.compute as pc

from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.pages.response_gallery import response_marks
from syngrpo.pool.store import Pool
from syngrpo.responses.response_reading import KeptResponses
from syngrpo.responses.response_rows import OUTSIDE, TOKEN_COLUMNS
from syngrpo.tasks import Mark

T = TypeVar("T")

NEWEST_STEPS = 200
"""Number of steps in which a sample is looked for without the pool having a record of it."""
SEARCHED = ("text", "question", "sample_id")
_LIST_COLUMNS = (
    *("step", "group_index", "sample_id", "parent", "dataset", "task", "question", "transformed"),
    *("accuracy", "advantage", "diversity"),
)

SORTS = {
    "D": "D, highest first",
    "-D": "D, lowest first",
    "accuracy": "accuracy, lowest first",
    "-accuracy": "accuracy, highest first",
    "advantage": "advantage, largest first",
    "order": "in order",
}
KINDS = {"": "all", "seed": "seed only", "synthetic": "synthetic only"}
"""Name in the address → what the choice says."""


@dataclass(frozen=True)
class GroupLine:
    """What the list says of a group. ``accuracy`` is the mean of its responses, ``advantage`` the
    largest absolute one; a number is None if no response has it."""

    step: int
    group_index: int
    sample_id: str
    question: str
    task: str
    dataset: str
    synthetic: bool
    transformed: bool
    diversity: float | None
    accuracy: float | None
    advantage: float | None
    responses: int

    @property
    def key(self) -> tuple[int, int]:
        """Step and place in its batch, which no other group of the run has."""
        return self.step, self.group_index


@dataclass(frozen=True)
class GroupFilter:
    """Which groups are listed. "" leaves a property out; ``low`` and ``high`` bound the mean
    accuracy; ``search`` is a text for ``groups_with_text``."""

    task: str = ""
    kind: str = ""
    low: float = 0.0
    high: float = 1.0
    search: str = ""

    def takes(self, group: GroupLine) -> bool:
        """Return whether a group is listed, the search apart."""
        accuracy = _or(group.accuracy, self.low)
        return (
            self.task in ("", group.task)
            and self.kind in ("", "synthetic" if group.synthetic else "seed")
            and self.low <= round(accuracy, 6) <= self.high
        )


@dataclass(frozen=True)
class TokenValues:
    """The tokens of a response, and for each of them its part and its values, None where it has
    none. ``mismatch`` is its log-probability in training minus that at sampling."""

    texts: Sequence[str]
    parts: Sequence[str]
    advantage: Sequence[float | None]
    entropy: Sequence[float | None]
    mismatch: Sequence[float | None]


@dataclass(frozen=True)
class GroupResponse:
    """One response of the group that is looked at. ``truth`` is the ground truth, JSON; a property
    that a file of an earlier version does not have is None or ""."""

    number: int
    text: str
    answer: str | None
    accuracy: float | None
    format: float | None
    rewards: Mapping[str, float]
    advantage: float | None
    entropy: float | None
    length: int | None
    finished: bool
    policy_version: int | None
    in_loss: bool
    truth: str
    marks: Sequence[Mark] = field(repr=False, default=())
    tokens: TokenValues | None = field(repr=False, default=None)


def groups_of_step(kept: KeptResponses, step: int) -> list[GroupLine]:
    """Return the groups of a step, in the order of its batch."""
    return _lines(kept, [step], None)


def groups_of_sample(kept: KeptResponses, pool: Pool | None, sample_id: str) -> list[GroupLine]:
    """Return the groups of all steps at which a sample was drawn, in order.

    The pool says at which steps that was. The ``NEWEST_STEPS`` are searched in any case: the pool
    may not have them yet, and may not know the sample at all.
    """
    last = kept.last_step() or 0
    steps = set(range(last - NEWEST_STEPS + 1, last + 1))
    if pool is not None:
        with suppress(*FAULTS):
            steps |= {visit.step for visit in pool.observations(sample_id)}
    return _lines(kept, steps, pc.field("sample_id") == sample_id)


def groups_with_text(
    kept: KeptResponses, groups: Sequence[GroupLine], text: str
) -> list[GroupLine]:
    """Return those of the groups that have the text in their question, in the id of their sample,
    or in a response, in upper or lower case."""
    where = reduce(or_, (_contains(column, text) for column in SEARCHED))
    steps = {group.step for group in groups}
    hits = kept.read(steps, where, ["step", "group_index"]).to_pylist()
    found = {(hit["step"], hit["group_index"]) for hit in hits}
    return [group for group in groups if group.key in found]


def selected(groups: Sequence[GroupLine], wanted: GroupFilter, sort: str) -> list[GroupLine]:
    """Return the groups that the filter takes, its search apart, sorted by one of ``SORTS``."""
    taken = [group for group in groups if wanted.takes(group)]
    return sorted(taken, key=lambda group: _rank(group, sort))


def group_responses(kept: KeptResponses, step: int, group_index: int) -> list[GroupResponse]:
    """Return the responses of a group with everything that is kept of them, [] if there are none
    any more."""
    where = pc.field("group_index") == group_index
    rows = kept.read([step], where).to_pylist()
    tokens = kept.read([step], where, ["response_index", *TOKEN_COLUMNS]).to_pylist()
    by_number = {row["response_index"]: _tokens(row) for row in tokens}
    found = [_response(row, by_number.get(row["response_index"])) for row in rows]
    return sorted(found, key=lambda one: one.number)


def _lines(
    kept: KeptResponses, steps: Collection[int], where: pc.Expression | None
) -> list[GroupLine]:
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in kept.read(steps, where, _LIST_COLUMNS).to_pylist():
        rows.setdefault((row["step"], row["group_index"]), []).append(row)
    return [_line(rows[key]) for key in sorted(rows)]


def _rank(group: GroupLine, sort: str) -> float:
    """Return the number by which a group is sorted; one without it comes last."""
    value = {"D": group.diversity, "accuracy": group.accuracy, "advantage": group.advantage}.get(
        sort.removeprefix("-")
    )
    if value is None:
        return math.inf if sort in SORTS and sort != "order" else 0.0
    return -value if sort in ("D", "-accuracy", "advantage") else value


def _contains(column: str, text: str) -> pc.Expression:
    return pc.match_substring(pc.field(column), text, ignore_case=True)


def _line(rows: Sequence[Mapping[str, Any]]) -> GroupLine:
    first = rows[0]
    accuracies = [row["accuracy"] for row in rows if _number(row["accuracy"]) is not None]
    advantages = [abs(row["advantage"]) for row in rows if _number(row["advantage"]) is not None]
    return GroupLine(
        step=first["step"],
        group_index=first["group_index"],
        sample_id=first["sample_id"] or "",
        question=first["question"] or "",
        task=first["task"] or "",
        dataset=first["dataset"] or "",
        synthetic=first["parent"] is not None,
        transformed=bool(first["transformed"]),
        diversity=_number(first["diversity"]),
        accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        advantage=max(advantages, default=None),
        responses=len(rows),
    )


def _response(row: Mapping[str, Any], tokens: TokenValues | None) -> GroupResponse:
    places = {name: row[name] or [] for name in ("boxes", "points")}
    accuracy = _number(row["accuracy"])
    rewards = {
        name.removeprefix("reward/"): value
        for name, value in row.items()
        if name.startswith("reward/") and _number(value) is not None
    }
    return GroupResponse(
        number=row["response_index"],
        text=row["text"] or "",
        answer=row["answer"],
        accuracy=accuracy,
        format=_number(row["format"]),
        rewards=rewards,
        advantage=_number(row["advantage"]),
        entropy=_number(row["entropy"]),
        length=row["length"],
        finished=row["finished"] is not False,
        policy_version=row["policy_version"],
        in_loss=row["in_loss"] is not False,
        truth=row["truth"] or "",
        marks=response_marks({**row, **places, "accuracy": _or(accuracy, 0)}),
        tokens=tokens,
    )


def _tokens(row: Mapping[str, Any]) -> TokenValues | None:
    texts = row["token_texts"]
    if not texts:
        return None
    sampling, training = (
        _values(row[f"token_logp_{when}"], len(texts)) for when in ("sampling", "training")
    )
    both = zip(sampling, training, strict=True)
    return TokenValues(
        texts=[text or "" for text in texts],
        parts=[part or OUTSIDE for part in _as_long(row["token_parts"], len(texts))],
        advantage=_values(row["token_advantages"], len(texts)),
        entropy=_values(row["token_entropy"], len(texts)),
        mismatch=[None if a is None or b is None else b - a for a, b in both],
    )


def _values(numbers: Sequence[float] | None, length: int) -> list[float | None]:
    return [_number(number) for number in _as_long(numbers, length)]


def _as_long(values: Sequence[T | None] | None, length: int) -> Sequence[T | None]:
    """Return the values of the tokens; None for each where there are not as many of them."""
    return values if values is not None and len(values) == length else [None] * length


def _number(value: float | None) -> float | None:
    """Return a number; None for one that is missing or not finite."""
    return value if value is not None and math.isfinite(value) else None


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
