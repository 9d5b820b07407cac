"""Draws the group that is looked at in the tab Responses: its picture with all answers, the list of
its responses, and the chosen response with its tokens."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import events, ui

from syngrpo.dashboard.parts.page_parts import fact_line
from syngrpo.dashboard.parts.view import View
from syngrpo.dashboard.responses.drawn_group import DrawnGroup
from syngrpo.dashboard.responses.response_groups import GroupLine, GroupResponse
from syngrpo.dashboard.responses.token_overlay import (
    EXPLAINED,
    OVERLAYS,
    overlay_limit,
    shown_tokens,
)
from syngrpo.pages.labelled_picture import HIT
from syngrpo.pages.page_templates import render
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.responses.response_rows import parts_of_text

MOST_CHARACTERS, MOST_TOKENS = 20_000, 3_000
"""How much of a response is shown at first."""
_EMIT_ANSWER = (
    "(event) => { const mark = event.target.closest('[data-answer]');"
    " if (mark) emit(Number(mark.dataset.answer)); }"
)
"""JavaScript that tells which answer a click on the picture was on."""


class GroupView:
    """The right side of the tab. ``choose`` is called with the place of a response that is clicked,
    ``overlaid`` when another ``overlay`` was chosen."""

    def __init__(
        self,
        view: View,
        overlay: str,
        choose: Callable[[int], None],
        overlaid: Callable[[], None],
    ) -> None:
        self._view, self._choose, self._overlaid = view, choose, overlaid
        self.overlay = overlay if overlay in OVERLAYS else "text"
        self._group: DrawnGroup | None = None
        self._buttons: list[ui.element] = []
        self._box = ui.element("div").classes("kept-group")
        self._detail: ui.element = self._box

    @property
    def count(self) -> int:
        """The number of responses that are shown."""
        return 0 if self._group is None else len(self._group.responses)

    def clear(self, line: str = "") -> None:
        """Show no group, but a line."""
        self._group = None
        self._box.clear()
        if line:
            with self._box:
                ui.label(line).classes("note")

    def show(self, group: DrawnGroup, chosen: int | None) -> None:
        """Show a group, and of its responses the one at the place ``chosen``, or the first."""
        self._group = group
        self._box.clear()
        with self._box:
            _head(self._view, group)
            if not group.responses:
                ui.label("The responses of this group are not there any more.").classes("note")
                return
            with ui.element("div").classes("group-body"):
                with ui.element("div").classes("group-picture"):
                    self._draw_picture(group)
                with ui.element("div").classes("group-answers"):
                    with ui.element("div").classes("answers").props("aria-label=responses"):
                        self._buttons = [
                            self._answer(place, one) for place, one in enumerate(group.responses)
                        ]
                    self._detail = ui.element("section").classes("response")
        self.choose(chosen)

    def choose(self, chosen: int | None) -> None:
        """Show another response of the group. None: the first, and none is set apart."""
        if self._group is None or not self._group.responses:
            return
        self._box.props["data-chosen"] = "" if chosen is None else str(chosen)
        for place, button in enumerate(self._buttons):
            button.props["aria-pressed"] = "true" if place == chosen else "false"
        if chosen is not None:
            self._buttons[chosen].run_method("scrollIntoView", {"block": "nearest"})
        self._show_response(chosen or 0)

    def _draw_picture(self, group: DrawnGroup) -> None:
        if group.picture is None:
            ui.label(shown_text(group.why, 1000)).classes("no-picture")
        else:
            svg = render("kept_group.html", picture=group.picture, count=len(group.responses))
            picture = ui.html(shown_text(svg), sanitize=False)
            picture.on("click", lambda event: self._choose(event.args), js_handler=_EMIT_ANSWER)
            with ui.element("div").classes("key") as key:
                for kind, words in (
                    ("truth", "truth"),
                    ("right", f"accuracy of {HIT} or more"),
                    ("wrong", "other answer"),
                ):
                    with ui.element("span"):
                        ui.element("i").classes(kind)
                        ui.label(words)
            key.set_visibility(bool(group.picture.drawn))
        if group.truth:
            ui.label(f"truth: {shown_line(group.truth)}").classes("truth-words")

    def _answer(self, place: int, response: GroupResponse) -> ui.element:
        """Draw the button of a response."""
        button = ui.element("button").classes("answer").props(f'data-answer="{place}" type=button')
        button.on("click", lambda: self._choose(place), args=[])
        right = response.accuracy is not None and response.accuracy >= HIT
        with button:
            ui.label(str(response.number + 1)).classes("number right" if right else "number wrong")
            said = response.answer if response.answer is not None else "no answer"
            ui.label(shown_line(said, 120)).classes("said").props("dir=auto")
            ui.label(_signed(response.advantage)).classes("advantage").props(
                'title="advantage, for the tokens outside of the description"'
            )
            ui.label(_decimals(response.accuracy)).classes("accuracy").props('title="accuracy"')
        return button

    def _show_response(self, place: int, whole: bool = False) -> None:
        assert self._group is not None
        response = self._group.responses[place]
        self._detail.clear()
        with self._detail:
            with ui.element("div").classes("response-head"):
                ui.label(f"Response {response.number + 1}").classes("title")
                if response.tokens is not None:
                    ui.toggle(OVERLAYS, value=self.overlay, on_change=self._overlay_chosen).props(
                        "dense flat no-caps aria-label='overlay'"
                    )
            _facts(response)
            self._show_text(response, whole)
            if _hidden(response, self.overlay) and not whole:
                ui.button(
                    f"Show all of it ({len(response.text):,} characters)",
                    on_click=lambda: self._show_response(place, whole=True),
                ).props("flat dense no-caps")
            if response.tokens is None:
                ui.label(
                    "The tokens of this group are not kept; logging.responses.tokens is the share "
                    "of groups whose tokens are."
                ).classes("note")

    def _show_text(self, response: GroupResponse, whole: bool) -> None:
        assert self._group is not None
        if response.tokens is None or self.overlay == "text":
            text = response.text if whole else response.text[:MOST_CHARACTERS]
            html = render("response_text.html", tokens=None, parts=parts_of_text(text))
        else:
            limit = overlay_limit(self._group.responses, self.overlay)
            most = None if whole else MOST_TOKENS
            tokens = shown_tokens(response.tokens, self.overlay, limit, most)
            html = render("response_text.html", tokens=tokens, parts=())
            scale = f" Strongest colour: {limit:.3g}." if limit else ""
            ui.label(EXPLAINED[self.overlay].capitalize() + "." + scale).classes("note")
        ui.html(shown_text(html), sanitize=False)

    def _overlay_chosen(self, event: events.ValueChangeEventArguments) -> None:
        self.overlay = event.value
        self._overlaid()
        chosen = self._box.props.get("data-chosen")
        self._show_response(int(chosen) if chosen else 0)


def _head(view: View, group: DrawnGroup) -> None:
    """Draw the question, what the group is, and the way to the other responses to its sample."""
    line = group.line
    ui.label(shown_line(line.question)).classes("question").props("dir=auto")
    facts = (
        ("step", f"{line.step:,}"),
        ("D", _decimals(line.diversity)),
        ("accuracy", _decimals(line.accuracy)),
        ("", "synthetic" if line.synthetic else "seed"),
        ("", line.task),
        ("", line.dataset if line.dataset != line.task else ""),
    )
    with fact_line(facts):
        if not view.query.get("sample"):
            ui.link("all responses to this picture", _of_sample(view, line))
        ui.link("its family", view.link("evolution", sample=line.sample_id))
        ui.label(shown_line(line.sample_id, 80)).classes("id")


def _of_sample(view: View, line: GroupLine) -> str:
    return view.link("responses", sample=line.sample_id, step=line.step, group=line.group_index)


def _facts(response: GroupResponse) -> None:
    tokens, version = (
        "–" if number is None else f"{number:,}"
        for number in (response.length, response.policy_version)
    )
    fact_line(
        [
            ("accuracy", _decimals(response.accuracy)),
            ("format", _decimals(response.format)),
            *((name, _decimals(value)) for name, value in response.rewards.items()),
            ("advantage", _signed(response.advantage)),
            ("entropy", _decimals(response.entropy)),
            ("tokens", tokens + ("" if response.finished else ", cut off")),
            ("policy version", version),
            ("", "in the loss" if response.in_loss else "not in the loss"),
        ]
    )


def _hidden(response: GroupResponse, overlay: str) -> bool:
    if overlay == "text" or response.tokens is None:
        return len(response.text) > MOST_CHARACTERS
    return len(response.tokens.texts) > MOST_TOKENS


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
