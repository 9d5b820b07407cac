"""Shows one sample large: the picture with all labels and masks, and every field of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from nicegui import ui

from syngrpo.dashboard.reading.thread_reading import FAULTS
from syngrpo.dashboard.samples.sample_catalogue import CatalogueEntry, SampleLinks, fields_of
from syngrpo.pages.labelled_picture import picture_of_masks, sample_picture
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import Sample
from syngrpo.serving.wording import first_line

LONGEST_FIELD = 2000
MOST_OBJECTS = 200
SIDE = 1024


class SampleDetail:
    """A dialog with one sample. ``changed`` is called when a sample is shown, and when the dialog
    is closed; ``step`` with -1 and 1 for the sample before and after."""

    def __init__(
        self,
        around: SampleLinks,
        changed: Callable[[], None],
        step: Callable[[int], Awaitable[None]],
    ) -> None:
        self._around, self._changed, self._step = around, changed, step
        self.shown = ""
        """The id of the sample that is open, "" without one."""
        with ui.dialog().classes("sample-dialog") as self._dialog:
            self._box = ui.element("div").classes("sample-detail")
        self._dialog.on("hide", self._closed, args=[])

    async def show(self, entry: CatalogueEntry) -> None:
        """Open the dialog with a sample."""
        href = self._around.picture(entry.sample.id, SIDE)
        picture = await asyncio.to_thread(large_picture, entry.sample, href)
        self.shown = entry.sample.id
        self._box.clear()
        with self._box:
            self._draw(entry, picture)
        self._dialog.open()
        self._changed()

    def _closed(self) -> None:
        self.shown = ""
        self._changed()

    def _draw(self, entry: CatalogueEntry, picture: LargePicture) -> None:
        sample = entry.sample
        with ui.element("div").classes("sample-head"):
            for icon, direction, says in (
                ("chevron_left", -1, "previous sample"),
                ("chevron_right", 1, "next sample"),
            ):
                ui.button(
                    icon=icon, on_click=lambda direction=direction: self._step(direction)
                ).props(f"flat dense round aria-label='{says}'")
            ui.label(shown_line(sample.id, 120)).classes("id")
            for what, address in self._around.links(sample):
                ui.link(what, address)
            ui.space()
            ui.button(icon="close", on_click=self._dialog.close).props(
                "flat dense round aria-label=close"
            )
        with ui.element("div").classes("sample-body"):
            with ui.element("div").classes("sample-large"):
                drawn = ui.html(picture.svg, sanitize=False)
                if picture.masks:
                    _mask_switch(drawn)
                if picture.problem:
                    ui.label(shown_text(picture.problem, LONGEST_FIELD)).classes("problem")
            with ui.element("div").classes("sample-fields"):
                _fields(entry)
                _objects(sample)


@dataclass(frozen=True)
class LargePicture:
    """The picture of a sample with all labels as SVG, "" if it cannot be drawn. ``problem``: what
    cannot be shown of it, "" for nothing; ``masks``: whether masks are drawn."""

    svg: str
    masks: bool
    problem: str = ""


def large_picture(sample: Sample, href: str) -> LargePicture:
    """Draw a sample large. ``href`` is the address of its image."""
    problem, masks = "", ""
    try:
        masks = picture_of_masks(sample)
        sample.image.decode()
    except FAULTS as error:
        problem = first_line(error)
    try:
        picture = replace(sample_picture(sample, href, labels=True), masks=masks)
        svg = shown_text(render("sample_picture.html", picture=picture))
    except FAULTS as error:  # the task cannot draw it, or a box is none
        return LargePicture("", False, first_line(error))
    return LargePicture(svg, bool(masks), problem)


def _mask_switch(drawn: ui.html) -> None:
    """Draw the switch that takes the masks off the picture."""
    ui.checkbox("masks", value=True, on_change=lambda: drawn.classes(toggle="no-masks")).props(
        "dense"
    )


def _fields(entry: CatalogueEntry) -> None:
    with ui.element("dl"):
        for what, value in fields_of(entry):
            with ui.element("dt"):
                ui.label(shown_line(what, 60))
            with ui.element("dd").props("dir=auto"):
                ui.label(shown_text(value, LONGEST_FIELD))


def _objects(sample: Sample) -> None:
    if not sample.objects:
        return
    with ui.element("table"):
        with ui.element("tr"):
            for head in ("labelled object", "box in pixels", "mask"):
                with ui.element("th"):
                    ui.label(head)
        for thing in sample.objects[:MOST_OBJECTS]:
            box = ", ".join(f"{number:g}" for number in thing.box)
            with ui.element("tr"):
                for cell in (shown_line(thing.label, 80), box, "yes" if thing.mask else ""):
                    with ui.element("td"):
                        ui.label(cell)
    left = len(sample.objects) - MOST_OBJECTS
    if left > 0:
        ui.label(f"and {left:,} more").classes("note")
