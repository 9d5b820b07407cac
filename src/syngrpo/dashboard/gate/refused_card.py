"""Draws a refused picture beside its seed, with the score that was beyond its threshold."""

from __future__ import annotations

from nicegui import ui

from syngrpo.dashboard.evolution.relative_view import drawn_sample, picture_svg, score_table
from syngrpo.dashboard.gate.gate_decisions import RefusedJob
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.reading.gate_limits import ScoreLimit, reason_words
from syngrpo.pages.charts import number
from syngrpo.pages.labelled_picture import sample_picture
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.serving.wording import count

LONGEST_DESCRIPTION = 2000
"""Largest number of characters of a description that are shown."""


def refused_card(view: View, job: RefusedJob, limits: dict[str, ScoreLimit]) -> None:
    """Draw a card with the picture of a job, the description, and the scores."""
    with ui.element("section").classes("card refused"):
        with ui.element("div").classes("pair"):
            ui.html(drawn_sample(view, job.seed, 480), sanitize=False)
            _draw_refused(view, job)
        ui.label(_decided(job, limits)).classes("failed")
        ui.label(shown_text(job.description, LONGEST_DESCRIPTION)).classes("description").props(
            "dir=auto"
        )
        earned = "" if job.reward is None else f"ρ {job.reward:+.2f}"
        facts = [shown_line(fact, 120) for fact in (earned, job.view) if fact]
        ui.label(" · ".join(facts)).classes("note")
        with ui.element("details"):
            with ui.element("summary"):
                ui.label(count(len(job.scores), "score"))
            score_table(list(job.scores.items()), limits, job.reason)
        ui.link("its family", view.link("evolution", sample=job.parent))


def _draw_refused(view: View, job: RefusedJob) -> None:
    address = view.refused(job.job_id)
    if job.labelled is None:
        ui.element("img").props(f'src="{address}" alt="refused picture"')
        return
    ui.html(picture_svg(sample_picture(job.labelled, address)), sanitize=False)


def _decided(job: RefusedJob, limits: dict[str, ScoreLimit]) -> str:
    """Return in a line why the picture was refused: the score, and its limit."""
    for name, value in job.scores.items():
        limit = limits.get(name)
        if limit is not None and limit.reason == job.reason and limit.refuses(value):
            return f"{limit.title} {number(value)}, {limit.words}".rstrip(", ")
    return shown_line(reason_words(job.reason), 120)
