"""What every page of NiceGUI here has: the style, and its place in the application."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from syngrpo.pages.page_templates import stylesheet

_PREFERS_DARK = "return matchMedia('(prefers-color-scheme: dark)').matches"
STYLE = Path(__file__).parents[1] / "dashboard.css"


def mount_pages(app: FastAPI, at: str = "") -> None:
    """Serve the pages that were registered, below the path ``at``."""
    ui.run_with(
        app,
        mount_path=at or "/",
        title="Syn-GRPO",
        dark=None,
        show_welcome_message=False,
        reconnect_timeout=30,
        tailwind=False,  # the style is in the files below, and the browser has less to run
    )


def add_style() -> None:
    """Give the page the style of all pages."""
    ui.add_css(stylesheet())
    ui.add_css(STYLE.read_text(encoding="utf-8"))


def theme_button() -> None:
    """Draw the button that changes between light and dark; at first the page is as the browser
    prefers it."""
    dark = ui.dark_mode(nicegui_app.config.dark)

    async def change() -> None:
        is_dark = dark.value
        if is_dark is None:
            is_dark = await ui.run_javascript(_PREFERS_DARK)
        dark.set_value(not is_dark)

    ui.button(icon="contrast", on_click=change).props("flat dense round aria-label='light or dark'")
