"""Samples that can be browsed: a page of them at a time, filtered, sorted and searched.

``Catalogue`` is what the browser of samples needs. ``ListedSamples`` has them in memory, those of
an evaluation set or of a data file; ``pool_catalogue`` reads those of a pool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from syngrpo.boxes import area
from syngrpo.pages.labelled_picture import answer_words
from syngrpo.sample import InputError, Sample

PAGE = 24
"""Samples on a page."""


@dataclass(frozen=True)
class SampleFilter:
    """Which samples are shown, and in which order. "" leaves a property out; ``search`` is a text
    in the question or in the answer, in upper or lower case."""

    kind: str = ""
    dataset: str = ""
    task: str = ""
    state: str = ""
    search: str = ""
    order: str = ""


@dataclass(frozen=True)
class CatalogueEntry:
    """A sample, and what is known of it beyond itself, as (what, value)."""

    sample: Sample
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CataloguePage:
    """A page of samples. ``more``: whether there is a next one; ``total``: how many samples the
    filter takes, None if they were not counted."""

    entries: Sequence[CatalogueEntry]
    more: bool
    total: int | None


@dataclass(frozen=True)
class Choices:
    """What a filter can choose from: name in the address → what the choice says."""

    kinds: Mapping[str, str]
    datasets: Sequence[str]
    tasks: Sequence[str]
    states: Mapping[str, str]
    orders: Mapping[str, str]


class Catalogue(Protocol):
    """Samples that can be browsed. Its methods are called in threads; they raise InputError when
    the samples cannot be read."""

    def choices(self) -> Choices:
        """Return what a filter can choose from."""

    def page(self, wanted: SampleFilter, number: int) -> CataloguePage:
        """Return the page of this number, counted from 0."""

    def size(self) -> int:
        """Return the number of all samples. It may grow meanwhile."""

    def entry(self, sample_id: str) -> CatalogueEntry | None:
        """Return one sample with everything that is known of it, None if there is none."""


class SampleLinks(Protocol):
    """What the page around the browser knows."""

    def picture(self, sample_id: str, side: int) -> str:
        """Return the address of the image of a sample."""

    def remember(self, query: Mapping[str, object]) -> None:
        """Write what is shown into the address."""

    def links(self, sample: Sample) -> list[tuple[str, str]]:
        """Return what there is elsewhere about a sample, as (what, address)."""


ORDERS: Mapping[str, tuple[str, Callable[[Sample], float]]] = {
    "small": ("smallest object first", lambda sample: min(_shares(sample), default=2.0)),
    "large": ("largest object first", lambda sample: -max(_shares(sample), default=0.0)),
    "many": ("most objects first", lambda sample: -len(sample.objects)),
}
"""Orders of listed samples other than that of the data."""


class ListedSamples:
    """Samples in memory, in the order of the data."""

    def __init__(self, samples: Mapping[str, Sample]) -> None:
        self._samples = samples

    def choices(self) -> Choices:
        every = self._samples.values()
        return Choices(
            kinds={},
            datasets=(),
            tasks=sorted({sample.task for sample in every}),
            states={},
            orders={"": "in the order of the data"} | {key: ORDERS[key][0] for key in ORDERS},
        )

    def page(self, wanted: SampleFilter, number: int) -> CataloguePage:
        found = [sample for sample in self._samples.values() if _takes(wanted, sample)]
        if wanted.order in ORDERS:
            found.sort(key=ORDERS[wanted.order][1])
        start = number * PAGE
        entries = [CatalogueEntry(sample) for sample in found[start : start + PAGE]]
        return CataloguePage(entries, len(found) > start + PAGE, len(found))

    def size(self) -> int:
        return len(self._samples)

    def entry(self, sample_id: str) -> CatalogueEntry | None:
        sample = self._samples.get(sample_id)
        return None if sample is None else CatalogueEntry(sample)


def _takes(wanted: SampleFilter, sample: Sample) -> bool:
    if wanted.task not in ("", sample.task):
        return False
    text = wanted.search.lower()
    return not text or text in sample.question.lower() or text in str(sample.answer).lower()


def _shares(sample: Sample) -> list[float]:
    """Return the share of the image that each labelled object covers."""
    whole = sample.image.width * sample.image.height
    return [area(thing.box) / whole for thing in sample.objects]


def fields_of(entry: CatalogueEntry) -> list[tuple[str, str]]:
    """Return all fields of a sample as (what, value), without those that are empty."""
    sample = entry.sample
    image = sample.image
    try:
        answer = answer_words(sample, sample.answer)
    except InputError:  # the task cannot write it
        answer = str(sample.answer)
    fields = [
        ("question", sample.question),
        ("answer", answer),
        ("task", sample.task),
        ("dataset", sample.dataset),
        ("image", f"{image.width} × {image.height} pixels"),
        ("file", image.path.name if image.path is not None and image.path.suffix else ""),
        ("painted from", sample.parent or ""),
        ("description", sample.description or ""),
        ("depth", str(sample.depth) if sample.depth else ""),
        *entry.facts,
        *((name, _plain(value)) for name, value in sample.columns.items()),
    ]
    return [(what, value) for what, value in fields if value]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
