"""The tab that shows whether painting keeps up: the queue, the workers, the rate, and errors.

``queue_state`` reads them. With ``--allow-actions``, dead jobs can be put back into the queue
(``requeue``).
"""

from __future__ import annotations

import asyncio

from nicegui import ui

from syngrpo.dashboard.parts.curve_chart import Line, curve_options
from syngrpo.dashboard.parts.page_parts import chart_card, fact_line, set_options
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.queue.queue_state import (
    PAINTED,
    Failures,
    Lease,
    QueueCurves,
    QueueSettings,
    QueueState,
    SeenWorker,
    queue_curves,
    queue_settings,
    read_queue,
)
from syngrpo.dashboard.queue.requeue import requeue
from syngrpo.dashboard.reading.thread_reading import pool_in_thread, read_in_thread
from syngrpo.pages.run_data import RunData
from syngrpo.pages.run_headlines import duration
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import InputError
from syngrpo.serving.wording import count

SMOOTHING = 0.8
ENDS = {"admitted": "admitted", "rejected": "refused", "dead": "given up"}
"""How jobs end → the head of a column."""
NOTICED_S = 0.1
"""Seconds of waiting a step up to which the axis goes at least: less is not noticed."""
LONGEST_TRACEBACK = 20_000
"""Largest number of characters of a traceback that are shown: its end."""
NO_QUEUE = "This run has no queue of jobs yet."
PAINTS_NOTHING = "This run paints no pictures: its method is {}."


def data_server(view: View) -> None:
    """Draw the tab."""
    view.follow(_DataServer(view).follow)


class _DataServer:
    """The parts of the tab."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shown: QueueState | None = None
        self._metrics = -1
        self._said = ui.label().classes("note").props("role=status")
        with ui.element("div") as self._main:
            self._advice = ui.element("div")
            self._tiles = ui.element("div").classes("tiles")
            self._settings = ui.element("div")
            ui.html("<h2>Workers</h2>", sanitize=False)
            self._workers_note = ui.label().classes("note")
            self._workers = ui.element("div").classes("scroll")
            self._leases = ui.element("div").classes("scroll")
            self._charts = _Charts()
            self._dead = _FailureList(view, "Given up", can_requeue=True)
            self._retried = _FailureList(view, "Failed, and to be tried again", can_requeue=False)
        self._main.set_visibility(False)

    async def follow(self) -> None:
        """Read the queue again, and draw what has changed."""
        pool, why = await pool_in_thread(self._view.run, NO_QUEUE)
        if pool is None:
            self._said.set_text(why)
            return
        run = self._view.run
        read, why = await read_in_thread(
            lambda: (read_queue(pool, run.data()), queue_settings(run.data()), run.activity())
        )
        self._said.set_text(why)
        if read is None:
            return
        if read[1].mode == "off" and not any(read[0].stats.jobs.values()):
            method = shown_line(str(run.data().setting("method", "name")), 60)
            self._said.set_text(PAINTS_NOTHING.format(method))
            return
        self._main.set_visibility(True)
        state, settings, activity = read
        await self._show(state, settings, activity.state == "running", run.data())

    async def _show(
        self, state: QueueState, settings: QueueSettings, running: bool, run: RunData
    ) -> None:
        if state != self._shown:
            self._shown = state
            self._draw_advice(queue_advice(state, settings, running))
            self._draw_tiles(state, run)
            self._draw_workers(state, settings, running)
            self._dead.show(state.dead, state.stats.jobs["dead"])
            self._retried.show(state.retried, sum(len(one.job_ids) for one in state.retried))
        if len(run.metrics) != self._metrics:
            self._metrics = len(run.metrics)
            curves = await asyncio.to_thread(queue_curves, run)
            self._charts.show(curves, settings.queue_limit)
            self._draw_settings(settings)

    def _draw_advice(self, lines: list[str]) -> None:
        self._advice.clear()
        with self._advice:
            for line in lines:
                ui.label(shown_line(line, 600)).classes("advice")

    def _draw_tiles(self, state: QueueState, run: RunData) -> None:
        jobs = state.stats.jobs
        oldest = max((one.renewed_s or 0.0 for one in state.leases), default=None)
        dropped = run.total("synthesis/dropped")
        submitted = run.total("synthesis/submitted") + dropped
        share = f"{dropped / submitted:.0%} of all descriptions" if submitted else ""
        rate = "–" if state.a_minute is None else f"{state.a_minute:.1f}"
        unmeasured = f"{state.stats.unmeasured:,} wait to be measured"
        self._tiles.clear()
        with self._tiles:
            for what, value, since in (
                ("waiting", f"{jobs['queued']:,}", "jobs in the queue"),
                ("being painted", f"{jobs['leased']:,}", "jobs of workers"),
                ("oldest lease", "–" if oldest is None else duration(oldest), "since its renewal"),
                ("admitted", f"{jobs['admitted']:,}", unmeasured),
                ("refused", f"{jobs['rejected']:,}", "by the gate"),
                ("given up", f"{jobs['dead']:,}", "after errors"),
                ("dropped", f"{dropped:,.0f}", share),
                ("pictures a minute", rate, last_minute_words(state)),
            ):
                with ui.element("div").classes("tile"):
                    ui.label(what).classes("what")
                    ui.label(value).classes("value")
                    ui.label(since).classes("since")

    def _draw_settings(self, settings: QueueSettings) -> None:
        self._settings.clear()
        with self._settings:
            fact_line(
                [
                    ("generator", settings.generator),
                    ("mode", settings.mode),
                    ("data server", settings.server),
                    ("most open jobs", f"{settings.queue_limit:,}"),
                    ("a lease lasts", f"{settings.lease_s:g} s"),
                    ("given up after", count(settings.max_attempts, "failed attempt")),
                ]
            )

    def _draw_workers(self, state: QueueState, settings: QueueSettings, running: bool) -> None:
        self._workers_note.set_text(_workers_words(state, settings, running))
        self._workers.clear()
        if state.workers:
            with self._workers, ui.element("table").classes("workers"):
                _head("worker", "device", "paints now", *ENDS.values(), "last picture")
                for worker in state.workers:
                    _draw_worker(worker)
            with self._workers:
                ended = sum(sum(worker.ended.values()) for worker in state.workers)
                ui.label(f"Counted over the last {count(ended, 'job')} that ended.").classes("note")
        self._leases.clear()
        if state.leases:
            with self._leases:
                ui.html("<h2>Being painted</h2>", sanitize=False)
                with ui.element("table").classes("workers leases"):
                    _head("worker", "heard of", "attempt", "paints from", "description")
                    for lease in state.leases:
                        self._draw_lease(lease, settings)

    def _draw_lease(self, lease: Lease, settings: QueueSettings) -> None:
        heard = "unknown here"
        if lease.renewed_s is not None:
            heard = f"{duration(lease.renewed_s)} ago"
            if lease.renewed_s > settings.lease_s:
                heard += ", expired"
        with ui.element("tr"):
            for text in (
                _worker_words(lease.worker),
                heard,
                f"{lease.attempts} of {settings.max_attempts}",
            ):
                with ui.element("td"):
                    ui.label(shown_line(text, 80))
            with ui.element("td"):
                link = self._view.link("evolution", sample=lease.parent)
                ui.link(shown_line(lease.parent, 40), link)
            with ui.element("td").classes("words"):
                ui.label(shown_line(lease.description, 160)).props("dir=auto")


def last_minute_words(state: QueueState) -> str:
    """Return how many pictures were admitted in the last minute. No more than the last ``PAINTED``
    are counted."""
    least = "at least " if state.last_minute >= PAINTED else ""
    return f"{least}{state.last_minute:,} in the last minute"


def _head(*names: str) -> None:
    """Draw the first row of a table; numbers stand on the right."""
    with ui.element("tr"):
        for name in names:
            with ui.element("th").classes("n" if name in ENDS.values() else ""):
                ui.label(name)


def _draw_worker(worker: SeenWorker) -> None:
    """Draw the row of a worker."""
    _, _, device = worker_parts(worker.name)
    holds = count(worker.holds, "job") if worker.holds else "–"
    idle = "–" if worker.idle_s is None else f"{duration(worker.idle_s)} ago"
    with ui.element("tr"):
        for text in (_worker_words(worker.name), device or "–", holds):
            with ui.element("td"):
                ui.label(shown_line(text, 80))
        for state in ENDS:
            with ui.element("td").classes("n"):
                ui.label(f"{worker.ended.get(state, 0):,}")
        with ui.element("td"):
            ui.label(idle)


def _worker_words(name: str) -> str:
    host, process, _ = worker_parts(name)
    return f"{host}, process {process}" if process else host


def worker_parts(name: str) -> tuple[str, str, str]:
    """Return the host, the process and the device in the name of a worker, as workers of this
    version name themselves; ("name", "", "") for another name."""
    parts = name.split(":", 3)
    if len(parts) < 3 or not parts[1].isdigit():
        return name, "", ""
    return parts[0], parts[1], parts[3] if len(parts) > 3 else ""


def queue_advice(state: QueueState, settings: QueueSettings, running: bool) -> list[str]:
    """Return in words what is wrong with the queue now, and what to do about it."""
    jobs, lines = state.stats.jobs, []
    oldest = max((one.renewed_s or 0.0 for one in state.leases), default=0.0)
    if running and jobs["queued"] and not jobs["leased"] and not state.last_minute:
        lines.append(
            f"{count(jobs['queued'], 'job')} wait and nobody paints: are workers running, with the "
            "generator of this run? The tab Config & logs has their messages."
        )
    if running and oldest > settings.lease_s:
        lines.append(
            f"A worker was not heard of for {duration(oldest)}: its job goes to the next worker "
            "that asks for one."
        )
    if running and jobs["queued"] + jobs["leased"] >= settings.queue_limit:
        lines.append(
            f"The queue is full ({settings.queue_limit:,} jobs): further descriptions are dropped. "
            "Start more workers, or lower method.descriptions_per_group."
        )
    if jobs["dead"] and jobs["dead"] >= jobs["admitted"]:
        lines.append(
            f"{count(jobs['dead'], 'job')} were given up, {jobs['admitted']:,} admitted: the "
            "errors are below."
        )
    return lines


def _workers_words(state: QueueState, settings: QueueSettings, running: bool) -> str:
    if settings.server or state.mirrored:
        where = settings.server or "its data server"
        return (
            f"The jobs of this run are painted by {where}; here are only those that have ended. "
            "The data server shows its queue and its workers if it was started with --dashboard."
        )
    parts = []
    if settings.mode == "inline":
        parts.append("Pictures are painted within the training step.")
    elif settings.workers is not None:
        devices = f" on devices {', '.join(settings.devices)}" if settings.devices else ""
        parts.append(f"{count(settings.workers, 'worker')} of the configuration{devices}.")
    if not state.leases:
        parts.append("No job is being painted now.")
    elif not running:
        parts.append("The run has stopped: other workers get these jobs when it goes on.")
    elif state.stats.jobs["leased"] > len(state.leases):
        parts.append(f"The {len(state.leases)} leases that expire first are shown.")
    return " ".join(parts)


class _Charts:
    """The queue over the steps."""

    def __init__(self) -> None:
        with ui.element("div").classes("curves queue-curves") as self._box:
            self._open = chart_card("Open jobs", "Submitted and not yet ended, after each step.")
            self._jobs = chart_card(
                "Descriptions a step", "Submitted, and dropped for want of room."
            )
            self._rate = chart_card("Jobs that ended a minute", "Admitted, refused, given up.")
            self._waited = chart_card("Waiting for data", "Seconds of each step; it should be 0.")

    def show(self, curves: QueueCurves | None, limit: int) -> None:
        """Draw the curves; without any, hide the charts."""
        self._box.set_visibility(curves is not None)
        if curves is None:
            return
        steps = curves.steps
        lines = [Line("open jobs", steps, curves.open)]
        if max(curves.open) > limit / 4:
            lines.append(Line("most (synthesis.queue_limit)", steps, [limit] * len(steps)))
        set_options(self._open, curve_options(lines, whole=True))
        jobs = [Line("submitted", steps, curves.submitted), Line("dropped", steps, curves.dropped)]
        set_options(self._jobs, curve_options(jobs, SMOOTHING, whole=True))
        rates = [Line("ended", steps, curves.a_minute)]
        if any(curves.dead):
            rates.append(Line("given up, a step", steps, curves.dead, colour=5))
        set_options(self._rate, curve_options(rates, SMOOTHING))
        waited = [Line("seconds", steps, curves.waited)]
        set_options(self._waited, curve_options(waited, SMOOTHING, top=NOTICED_S))


class _FailureList:
    """Errors with the number of jobs that had each, and their tracebacks, closed at first. An error
    that is there already stays where it is, and open if somebody has opened it."""

    def __init__(self, view: View, title: str, can_requeue: bool) -> None:
        self._view = view
        self._can_requeue = can_requeue
        self._rows: dict[str, _FailureRow] = {}
        with ui.element("section") as self._box:
            ui.label(title).classes("failures-title")
            self._note = ui.label().classes("note")
            self._list = ui.element("div").classes("failures")
        self._box.set_visibility(False)

    def show(self, failures: tuple[Failures, ...], total: int) -> None:
        """Show failures; ``total`` is the number of jobs that have failed."""
        self._box.set_visibility(bool(failures))
        listed = sum(len(one.job_ids) for one in failures)
        words = f"{total:,} jobs" if total != 1 else "1 job"
        if listed < total:
            words += f", the last {listed:,} of which are listed"
        if self._can_requeue and not self._view.actions:
            words += "; with syngrpo dashboard --allow-actions they can be tried again from here"
        self._note.set_text(f"{words}.")
        for line in self._rows.keys() - {one.line for one in failures}:
            self._rows.pop(line).delete()
        for one in failures:
            if one.line not in self._rows:
                with self._list:
                    self._rows[one.line] = _FailureRow(self._view, one, self._can_requeue)
            self._rows[one.line].show(one)


class _FailureRow:
    """An error, and with actions a button that puts its jobs back into the queue."""

    def __init__(self, view: View, failures: Failures, can_requeue: bool) -> None:
        self._view = view
        self._failures = failures
        with ui.element("div").classes("failure") as self._box:
            with ui.element("details"):
                with ui.element("summary"):
                    self._number = ui.label().classes("number")
                    ui.label(shown_line(failures.line, 200)).classes("line")
                self._traceback = ui.label().classes("traceback")
                self._newest = ui.label().classes("note")
            if can_requeue and view.actions:
                ui.button("Try again", icon="replay", on_click=self._requeue).props(
                    "outline dense no-caps size=sm"
                )

    def show(self, failures: Failures) -> None:
        """Show the jobs that have failed with this error by now."""
        self._failures = failures
        text = failures.traceback
        start = "… " if len(text) > LONGEST_TRACEBACK else ""
        self._number.set_text(count(len(failures.job_ids), "job"))
        self._traceback.set_text(start + shown_text(text[-LONGEST_TRACEBACK:]))
        self._newest.set_text(f"newest job {failures.job_ids[0][:16]}")

    def delete(self) -> None:
        """Remove the row from the page."""
        self._box.delete()

    async def _requeue(self) -> None:
        try:
            number = await asyncio.to_thread(requeue, self._view, self._failures.job_ids)
        except (InputError, PermissionError, OSError) as error:
            ui.notify(shown_line(str(error)), type="negative", multi_line=True)
            return
        words = f"{count(number, 'job')} wait in the queue again."
        if self._view.run.activity().state != "running":
            words += " Nobody paints them until the run goes on."
        ui.notify(words, type="positive")
