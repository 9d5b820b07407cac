"""Draws the member of a family that is looked at: its picture beside the one it was painted from,
what its description has earned, its visits, and its gate scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nicegui import ui

from syngrpo.dashboard.evolution.pool_families import Relative
from syngrpo.dashboard.parts.curve_chart import Line, curve_options
from syngrpo.dashboard.parts.page_parts import fact_line, set_options
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.reading.gate_limits import ScoreLimit, score_title
from syngrpo.pages.charts import number
from syngrpo.pages.labelled_picture import Picture, sample_picture, words_beside_picture
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import Sample
from syngrpo.serving.wording import count

LONGEST_DESCRIPTION = 1500
"""Largest number of characters of a description that are shown at first."""
SIDE = 1024


@dataclass(frozen=True)
class Shown:
    """What is drawn: a member of a family, the samples that it can be compared with by what they
    are to it, and the limits of the gate by the names of the scores."""

    relative: Relative
    compared: dict[str, Sample]
    limits: dict[str, ScoreLimit]


def drawn_sample(view: View, sample: Sample, side: int) -> str:
    """Return the SVG of a sample with its answer. The browser asks for the image."""
    return picture_svg(sample_picture(sample, view.picture(sample.id, side)))


def picture_svg(picture: Picture) -> str:
    """Return the SVG of a picture."""
    short = replace(picture, question=shown_line(picture.question))
    return shown_text(render("sample_picture.html", picture=short))


class RelativeView:
    """The panel beside the tree. What changes while the run goes on is drawn anew; the pictures and
    the place of the slider stay."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shown: Shown | None = None
        self._box = ui.element("section").classes("relative")
        with self._box:
            self._pictures = ui.element("div")
            self._description = ui.element("div")
            self._facts = ui.element("div")
            self._chart = ui.echart({"series": []}).classes("visits-chart")
            self._scores = ui.element("div")

    def show(self, shown: Shown) -> None:
        """Draw a member, or what has changed of the one that is drawn."""
        before, self._shown = self._shown, shown
        if before == shown:
            return
        relative = shown.relative
        if before is None or before.relative.sample != relative.sample:
            self._pictures.clear()
            with self._pictures:
                self._draw_pictures(shown)
            self._description.clear()
            with self._description:
                self._draw_description(relative)
            self._draw_scores(shown)
        self._facts.clear()
        with self._facts:
            self._draw_facts(relative)
        self._draw_chart(relative)

    def _draw_pictures(self, shown: Shown) -> None:
        sample = shown.relative.sample
        if not shown.compared:
            ui.html(drawn_sample(self._view, sample, SIDE), sanitize=False)
            ui.label("A seed: a picture of the training data.").classes("note")
        else:
            _Comparison(self._view, shown.compared, sample)
        answer = words_beside_picture(sample)
        if answer:
            ui.label(f"answer: {shown_line(answer)}").classes("truth-words")

    def _draw_description(self, relative: Relative, whole: bool = False) -> None:
        text = relative.sample.description
        if text is None:
            return
        longest = None if whole else LONGEST_DESCRIPTION
        ui.label("Painted from the description").classes("what")
        ui.label(shown_text(text, longest)).classes("description").props("dir=auto")
        if longest is not None and len(text) > longest:

            def show_whole() -> None:
                self._description.clear()
                with self._description:
                    self._draw_description(relative, whole=True)

            ui.button(f"Show all of it ({len(text):,} characters)", on_click=show_whole).props(
                "flat dense no-caps"
            )

    def _draw_facts(self, relative: Relative) -> None:
        visits = relative.visits
        last = visits[-1] if visits else None
        earned = "" if relative.sample.description is None else "not settled"
        if relative.reward is not None:
            earned = f"ρ {relative.reward:+.2f} at step {relative.settled:,}"
        state = relative.state + (f" ({relative.reason})" if relative.reason else "")
        fact_line(
            [
                ("earned", earned),
                ("D", f"{last.diversity:.2f}" if last else ""),
                ("accuracy", f"{last.accuracy:.2f}" if last else ""),
                ("", count(len(visits), "visit") if visits else "not visited yet"),
                ("seen and lit", relative.view),
                ("written by policy", _number(relative.written_at)),
                ("", state),
            ]
        )
        sample = relative.sample
        with ui.element("div").classes("facts"):
            ui.link("its responses", self._view.link("responses", sample=sample.id))
            if relative.settled is not None:
                link = self._view.link("responses", step=relative.settled)
                ui.link(f"step {relative.settled:,}", link)
            ui.label(shown_line(sample.id, 80)).classes("id")

    def _draw_chart(self, relative: Relative) -> None:
        steps = [one.step for one in relative.visits]
        self._chart.set_visibility(len(steps) > 1)
        lines = [
            Line("D", steps, [one.diversity for one in relative.visits]),
            Line("accuracy", steps, [one.accuracy for one in relative.visits], colour=2),
        ]
        options = curve_options(lines if len(steps) > 1 else [])
        options["yAxis"] |= {"scale": False, "max": 1}
        options["xAxis"] |= {"minInterval": 1}
        set_options(self._chart, options)

    def _draw_scores(self, shown: Shown) -> None:
        self._scores.clear()
        scores = shown.relative.scores
        if not scores:
            return
        rows = [(name, scores[name]) for name in shown.limits if name in scores]
        rows += [(name, value) for name, value in scores.items() if name not in shown.limits]
        with self._scores, ui.element("details"):
            with ui.element("summary"):
                ui.label(f"{count(len(rows), 'score')} of the gate")
            score_table(rows, shown.limits)


def score_table(
    rows: list[tuple[str, float]], limits: dict[str, ScoreLimit], failed: str = ""
) -> None:
    """Draw scores of the gate with their limits. Those of the check ``failed`` that are beyond
    their limit are marked."""
    with ui.element("table").classes("scores"):
        for name, value in rows:
            limit = limits.get(name)
            wrong = limit is not None and limit.reason == failed and limit.refuses(value)
            with ui.element("tr").classes("failed" if wrong else ""):
                with ui.element("td"):
                    ui.label(shown_line(score_title(name), 60))
                with ui.element("td").classes("n"):
                    ui.label(number(value))
                with ui.element("td"):
                    ui.label(limit.words if limit is not None else "")


class _Comparison:
    """Two pictures on top of each other, with a slider that shows more of one or of the other. It
    can be dragged, and moved by the arrow keys."""

    def __init__(self, view: View, compared: dict[str, Sample], sample: Sample) -> None:
        self._view, self._sample, self._compared = view, sample, compared
        names = list(compared)
        with ui.splitter(value=50).classes("compare") as self._splitter:
            with self._splitter.before:
                self._before = ui.element("div").classes("before")
            with self._splitter.after, ui.element("div").classes("after"):
                ui.html(drawn_sample(view, sample, SIDE), sanitize=False)
        self._splitter.style(f"aspect-ratio: {sample.image.width} / {sample.image.height}")
        with ui.element("div").classes("compare-row"):
            if len(names) > 1:
                ui.toggle(
                    names, value=names[0], on_change=lambda event: self._show(event.value)
                ).props("dense unelevated no-caps aria-label='compared with'")
            else:
                ui.label(names[0]).classes("what")
            ui.slider(min=0, max=100, step=2).bind_value(self._splitter, "value").props(
                "aria-label='before and after' dense"
            )
            ui.label("child").classes("what")
        self._show(names[0])

    def _show(self, name: str) -> None:
        self._before.clear()
        with self._before:
            ui.html(drawn_sample(self._view, self._compared[name], SIDE), sanitize=False)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
