"""What an address of the tab Evaluation asks for, and the answers and pictures that it is shown.

``looked_up`` reads what ``AskedAnswers`` names; ``samples_of`` finds the samples with their images
in the evaluation sets of the configurations, and ``shown_cases`` puts both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from syngrpo.dashboard.evaluations.answered_sets import (
    CHANGES,
    ORDERS,
    ORDERS_OF_TWO,
    AnsweredBy,
    AnsweredSet,
    ComparedAnswers,
    answered_by,
    compared_answers,
    in_order,
    kinds_of,
    read_answers,
)
from syngrpo.dashboard.parts.view import View, whole_number
from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.held_out import held_out_names, held_out_set
from syngrpo.pages.evaluation_cases import Case, evaluation_case
from syngrpo.pages.shown_text import shown_line
from syngrpo.sample import InputError, Sample

AT_ONCE = 24
"""Number of cases on a page."""
_MOST_SETS_READ = 4
"""Largest number of evaluation sets that are read to find the images of a set of another name."""
_COMPARED = 5


@dataclass(frozen=True)
class AskedAnswers:
    """The parts of the address: two models by their references, a set, a kind of question, one of
    ``CHANGES``, the order, and the page, from 0. "" stands for the first there is, or for all."""

    model: str = ""
    before: str = ""
    set: str = ""
    kind: str = ""
    change: str = ""
    order: str = "worst"
    page: int = 0

    @classmethod
    def of(cls, query: Mapping[str, str]) -> AskedAnswers:
        """Return what the query of an address asks for. What it says wrongly is left out."""
        before, page = query.get("before", ""), whole_number(query.get("page"))
        change, order = query.get("change", ""), query.get("order", "worst")
        return cls(
            model=query.get("model", ""),
            before=before,
            set=query.get("set", ""),
            kind=query.get("kind", ""),
            change=change if before and change in CHANGES else "",
            order=order if order in ORDERS or (before and order in ORDERS_OF_TWO) else "worst",
            page=page or 0,
        )

    def changed(self, **changes: Any) -> AskedAnswers:
        """Return this with other values, without what does not fit them: another model or set may
        not have the kind of question, and one model has no changes."""
        asked = replace(self, **changes)
        if (asked.model, asked.set) != (self.model, self.set):
            asked = replace(asked, kind=changes.get("kind", ""))
        if not asked.before:
            order = asked.order if asked.order in ORDERS else "worst"
            asked = replace(asked, change="", order=order)
        return asked


@dataclass(frozen=True)
class LookedUp:
    """What there is of what was asked for. ``sources`` are all evaluations whose answers are kept,
    ``sets`` those of the model. ``now`` and ``before`` are None, and ``problem`` says why, when
    they cannot be read."""

    sources: tuple[AnsweredBy, ...]
    sets: tuple[str, ...] = ()
    set: str = ""
    now: AnsweredSet | None = None
    before: AnsweredSet | None = None
    problem: str = ""

    def answers(self, asked: AskedAnswers, change: str = "") -> list[ComparedAnswers]:
        """Return the answers to questions of the kind that was asked for, with a change."""
        if self.now is None:
            return []
        return compared_answers(self.now, self.before, self.kind(asked), change)

    def kinds(self) -> list[str]:
        """Return the kinds of question in the set."""
        return kinds_of(self.now) if self.now is not None else []

    def kind(self, asked: AskedAnswers) -> str:
        """Return the kind of question that was asked for, "" if the set does not have it."""
        return asked.kind if asked.kind in self.kinds() else ""


@dataclass(frozen=True)
class FoundSamples:
    """The samples of a set by their ids, from the evaluation set ``set`` in the configuration of
    the run ``of``. ``problem`` says why there are none."""

    of: str = ""
    set: str = ""
    samples: Mapping[str, Sample] = field(default_factory=dict)
    problem: str = ""


def sources_for(run: FollowedRun, runs: Iterable[FollowedRun]) -> tuple[AnsweredBy, ...]:
    """Return all evaluations whose answers are kept, those of ``run`` first."""
    return tuple(sorted(answered_by(runs), key=lambda one: one.of != run.name))


def looked_up(asked: AskedAnswers, run: FollowedRun, sources: tuple[AnsweredBy, ...]) -> LookedUp:
    """Read the answers that are asked for; without a model those of the newest evaluation of
    ``run``. Only what is not in memory is read."""
    by_reference = {one.reference: one for one in sources}
    own = next((one for one in sources if one.of == run.name), None)
    model = by_reference.get(asked.model) if asked.model else own
    if model is None:
        problem = f"{asked.model} has no answers here" if asked.model else _none_kept(run)
        return LookedUp(sources, problem=problem)
    sets: list[str] = []
    try:
        sets = model.sets()
        name = asked.set or next(iter(sets), "")
        now = read_answers(model, name)
        before = None
        if asked.before:
            if asked.before not in by_reference:
                raise InputError(f"{asked.before} has no answers here")
            before = read_answers(by_reference[asked.before], name)
    except InputError as error:
        return LookedUp(sources, tuple(sets), problem=str(error))
    return LookedUp(sources, tuple(sets), name, now, before)


def samples_of(answered: AnsweredSet, name: str, runs: Sequence[FollowedRun]) -> FoundSamples:
    """Return the samples that were asked. They are looked for in the evaluation sets of the
    configurations of ``runs``, in order, first in those called ``name``. Reading a set the first
    time may take seconds."""
    problems: list[str] = []
    for run, set_name in islice(_places(name, runs), _MOST_SETS_READ):
        found = held_out_set(run.data().config, set_name)
        problems += found.problems
        if _has_questions(found.samples, answered):
            return FoundSamples(run.name, set_name, found.samples)
    why = problems[0] if problems else "no configuration of a run here has the set with these ids"
    return FoundSamples(problem=f"The images of {name} are not shown: {why}")


def shown_cases(
    looked: LookedUp, asked: AskedAnswers, found: FoundSamples, view: View
) -> tuple[list[Case], int]:
    """Return the cases of the page that is asked for, and the number of all."""
    answers = in_order(looked.answers(asked, asked.change), asked.order)
    names = [one.by.title for one in (looked.now, looked.before) if one is not None]
    start = asked.page * AT_ONCE
    cases = [_case(one, names, found, view) for one in answers[start : start + AT_ONCE]]
    return cases, len(answers)


def _case(one: ComparedAnswers, names: Sequence[str], found: FoundSamples, view: View) -> Case:
    predictions = [one.now] if one.before is None else [one.now, one.before]
    named = dict(zip(names, predictions, strict=True))
    sample = found.samples.get(one.now.id)
    problem = ""
    if sample is None and found.samples:
        problem = "The data do not have this sample any more."
    elif sample is not None and (changed := _changed(sample, one)):
        sample, problem = None, changed
    href = view.picture(one.now.id, held_out=found.set, of=found.of)
    try:
        return evaluation_case(named, sample, href, problem)
    except InputError as error:
        question = shown_line(one.now.question)
        return Case(one.now.id, question, one.now.kind, "", (), None, str(error))


def _changed(sample: Sample, one: ComparedAnswers) -> str:
    """Return a line when the sample is not the one that was answered, or its image cannot be
    read."""
    if sample.question != one.now.question:
        return "The question of this sample has changed since."
    try:
        digest = sample.image.digest()
    except (InputError, OSError) as error:
        return f"The image cannot be read: {error}"
    asked = one.now.image
    return "" if digest.startswith(asked) else "The image of this sample has changed since."


def _places(name: str, runs: Sequence[FollowedRun]) -> Iterator[tuple[FollowedRun, str]]:
    """Yield the evaluation sets of the configurations: first those of the name, then the others of
    the first runs."""
    seen: set[tuple[str, str]] = set()
    for only_same in (True, False):
        for run in runs:
            config = run.data().config
            for other in held_out_names(config):
                keys = repr(((config.get("evaluation") or {}).get("sets") or {}).get(other))
                if (other == name or not only_same) and (other, keys) not in seen:
                    seen.add((other, keys))
                    yield run, other


def _has_questions(samples: Mapping[str, Sample], answered: AnsweredSet) -> bool:
    """Return whether the samples are those that were asked, as far as the first ones tell."""
    first = list(islice(answered.predictions.values(), _COMPARED))
    known = [samples[one.id] for one in first if one.id in samples]
    return bool(known) and all(
        sample.question == answered.predictions[sample.id].question for sample in known
    )


def _none_kept(run: FollowedRun) -> str:
    return (
        f"{run.name} has kept no answers of an evaluation. A run keeps those of its first and its "
        "newest one; syngrpo evaluate --out writes those of a model into a folder, which this tab "
        "shows if it is below the folders of the dashboard."
    )
