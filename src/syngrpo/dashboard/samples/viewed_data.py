"""The data that ``syngrpo data view`` shows: samples of several sources, and what is wrong with
them. Images are decoded in the background, so that the page opens before all of them are."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from syngrpo.formats.base import Problems
from syngrpo.formats.box_doubt import BoxDoubt
from syngrpo.formats.image_check import drop_undecodable
from syngrpo.formats.image_files import distinct_images
from syngrpo.formats.survey import survey
from syngrpo.formats.turned_labels import TurnedLabels
from syngrpo.sample import Sample
from syngrpo.serving.wording import count


@dataclass(frozen=True)
class ViewedSource:
    """The samples of a source by their ids, and the report to which their defects go. Sources that
    must not have the same ids share a report."""

    samples: Mapping[str, Sample]
    problems: Problems

    def can_be_seen(self) -> bool:
        """Return whether there is a picture to show: of a sample, or of boxes that may be meant in
        another way, although no row can be used as they are read."""
        return bool(self.samples or self.problems.doubts or self.problems.turned)


@dataclass
class ViewedData:
    """Sources by their names; a single one may have the name "". ``title`` says what they are."""

    title: str
    sources: Mapping[str, ViewedSource]
    _decoded: int = field(default=0, init=False)
    _lines: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._images = sum(len(distinct_images(one)) for one in self._every())
        self._collect()

    def check_images(self) -> None:
        """Decode all images in a thread, which ends with the process."""
        threading.Thread(target=self._check, name="image check", daemon=True).start()

    def lines(self) -> list[str]:
        """Return what is wrong, in a line each, as far as it is known."""
        return self._lines

    def notes(self) -> list[str]:
        """Return what is not wrong but may be meant in another way, in a line each."""
        every = [note for source in self.sources.values() for note in source.problems.notes]
        return list(dict.fromkeys(every))

    def doubts(self) -> list[BoxDoubt | TurnedLabels]:
        """Return what may be meant in another way than it is read, each once."""
        every: list[BoxDoubt | TurnedLabels] = []
        for source in self.sources.values():
            every += [*source.problems.doubts, *source.problems.turned]
        return list({doubt.message(): doubt for doubt in every}.values())

    def progress(self) -> str:
        """Return in a line how many images have been decoded."""
        if self._decoded < self._images:
            return f"decoded {self._decoded:,} of {count(self._images, 'image')}"
        return f"{count(self._images, 'image')} decoded"

    def counts(self, name: str) -> str:
        """Return in a line what a source holds."""
        found = survey(self.sources[name].samples.values())
        boxes = count(len(found.area_shares), "box") if found.area_shares else "no boxes"
        masks = f", {found.masks:,} with a mask" if found.masks else ""
        tasks = ", ".join(f"{number:,} {task}" for task, number in found.tasks.most_common())
        samples, images = count(found.rows, "sample"), count(len(found.sizes), "image")
        return f"{samples} ({tasks}) of {images}; {boxes}{masks}"

    def _every(self) -> list[Sequence[Sample]]:
        return [list(source.samples.values()) for source in self.sources.values()]

    def _check(self) -> None:
        for source, samples in zip(self.sources.values(), self._every(), strict=True):
            drop_undecodable(samples, source.problems, self._advance)
            self._collect()

    def _advance(self) -> None:
        self._decoded += 1

    def _collect(self) -> None:
        reports = {id(source.problems): source.problems for source in self.sources.values()}
        self._lines = [line for problems in reports.values() for line in problems.lines()]
