"""What the address of the tab Responses asks for, and the groups that are shown for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from syngrpo.dashboard.parts.view import whole_number
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.responses.response_groups import (
    KINDS,
    SORTS,
    GroupFilter,
    GroupLine,
    groups_of_sample,
    groups_of_step,
    groups_with_text,
    selected,
)
from syngrpo.responses.response_reading import KeptResponses


@dataclass(frozen=True)
class Asked:
    """What the address asks for. ``sample``: "" for the groups of a step; ``group`` is (step, place
    in its batch) of the group that is looked at, ``response`` the place of the chosen response."""

    step: int | None
    sample: str
    sort: str
    wanted: GroupFilter
    group: tuple[int, int] | None
    response: int | None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Read the query of an address. What has no sense there is left out."""
        step, group = whole_number(query.get("step")), whole_number(query.get("group"))
        sample = query.get("sample", "")
        sort, kind = query.get("sort", ""), query.get("kind", "")
        return cls(
            step=step,
            sample=sample,
            sort=sort if sort in SORTS else "order" if sample else "D",
            wanted=GroupFilter(
                task=query.get("task", ""),
                kind=kind if kind in KINDS else "",
                low=_share(query.get("low"), 0.0),
                high=_share(query.get("high"), 1.0),
                search=query.get("search", ""),
            ),
            group=None if step is None or group is None else (step, group),
            response=whole_number(query.get("response")),
        )

    def query(self) -> dict[str, Any]:
        """Return the query of the address that asks for the same."""
        wanted = self.wanted
        return {
            "step": self.group[0] if self.group else self.step,
            "sample": self.sample,
            "group": self.group[1] if self.group else None,
            "response": self.response,
            "sort": None if self.sort == ("order" if self.sample else "D") else self.sort,
            "task": wanted.task,
            "kind": wanted.kind,
            "low": wanted.low or None,
            "high": None if wanted.high == 1 else wanted.high,
            "search": wanted.search,
        }


@dataclass(frozen=True)
class Listed:
    """The groups that are asked for. ``read`` are those of the step or of the sample, ``groups``
    those of them that the filters take; ``note`` says what is not as it was asked for."""

    asked: Asked
    read: list[GroupLine]
    groups: list[GroupLine]
    note: str = ""


def listed(run: FollowedRun, asked: Asked) -> Listed:
    """Read what the address asks for. A step without responses becomes the nearest one that has
    any; without a step it is the newest."""
    kept, note, step = run.responses, "", asked.step
    if asked.sample:
        read = groups_of_sample(kept, run.pool(), asked.sample)
        if not read:
            note = "No responses to this sample are kept."
    else:
        step = _nearest(kept, asked.step)
        read = groups_of_step(kept, step) if step is not None else []
        if asked.step not in (None, step):
            note = f"There are no responses of step {asked.step:,}; these are the nearest."
    return filtered(run, replace(asked, step=step), read, note)


def filtered(run: FollowedRun, asked: Asked, read: list[GroupLine], note: str = "") -> Listed:
    """Return those of the groups that the filters take. The group that is looked at is the one that
    was, or the first."""
    wanted = asked.wanted
    found = groups_with_text(run.responses, read, wanted.search) if wanted.search else read
    groups = selected(found, wanted, asked.sort)
    if read and not groups:
        note = f"The filters take none of the {len(read):,} groups."
    keys = [group.key for group in groups]
    if asked.group not in keys:
        asked = replace(asked, group=keys[0] if keys else None, response=None)
    return Listed(asked, read, groups, note)


def no_responses(config: Mapping[str, Any]) -> str:
    """Return why a run with this configuration has no responses, and what to do."""
    logging = config.get("logging")
    kept = logging.get("responses") if isinstance(logging, dict) else None
    if isinstance(kept, dict) and kept.get("keep") not in (None, "none"):
        return "There are no responses yet. They are written every ten steps, or after 30 s."
    return (
        "This run keeps no responses. logging.responses.keep: all keeps every one of them, "
        "8-per-step those to 8 samples of each step (--set logging.responses.keep=all)."
    )


def _nearest(kept: KeptResponses, step: int | None) -> int | None:
    """Return the step that has responses and is nearest to this one; the newest for None."""
    if step is None:
        return kept.last_step()
    before, after = kept.step_up_to(step), kept.step_from(step)
    found = [one for one in (before, after) if one is not None]
    return min(found, key=lambda one: abs(one - step), default=None)


def _share(text: str | None, default: float) -> float:
    try:
        share = float(text) if text else default
    except ValueError:
        return default
    return share if 0 <= share <= 1 else default
