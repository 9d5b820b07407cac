"""``syngrpo data view``: a page over data files, before anything is trained on them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping

from fastapi import APIRouter, FastAPI, Header, Query, Response
from fastapi.responses import PlainTextResponse
from nicegui import ui
from starlette.requests import Request

from syngrpo.dashboard.access import Access
from syngrpo.dashboard.parts.page_frame import add_style, mount_pages, theme_button
from syngrpo.dashboard.parts.view import FOLLOW_S, query_of
from syngrpo.dashboard.pictures import SIDES, no_picture, picture_response
from syngrpo.dashboard.samples.data_tab import draw_problems, draw_sources
from syngrpo.dashboard.samples.sample_browser import SampleBrowser
from syngrpo.dashboard.samples.sample_catalogue import ListedSamples
from syngrpo.dashboard.samples.viewed_data import ViewedData
from syngrpo.dashboard.server import run_server, token_for
from syngrpo.formats.label_sheet import label_sheet
from syngrpo.pages.shown_text import shown_line, shown_text
from syngrpo.sample import InputError, Sample


def serve_data_view(
    data: ViewedData, host: str, port: int, token: str | None, say: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, and decode all images meanwhile. Address and token as those of
    ``serve_dashboard``."""
    token = token_for(host, token)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(data_picture_routes(data))
    _add_page(data)
    mount_pages(app)
    app.add_middleware(Access, token=token)
    data.check_images()
    run_server(app, host, port, token, f"view of {data.title}", say)


def data_picture_routes(data: ViewedData) -> APIRouter:
    """Return the routes of the images of the samples, and of those whose boxes are in doubt."""
    router = APIRouter()

    @router.get("/picture")
    def picture(
        sample: str,
        side: int,
        source: str = Query("", alias="set"),
        if_none_match: str = Header(""),
    ) -> Response:
        """Return the image of a sample. FastAPI calls this in a thread."""
        found = data.sources[source].samples.get(sample) if source in data.sources else None
        if found is None or side not in SIDES:
            return PlainTextResponse("there is no such picture\n", 404)
        try:
            return picture_response(found.image, side, if_none_match)
        except (InputError, OSError) as error:  # it was removed meanwhile, or is damaged
            return no_picture(error)

    @router.get("/doubt")
    def doubt(number: int) -> Response:
        """Return some images of a file whose boxes may be meant in another way, with the boxes as
        they are read and as they may be meant."""
        doubts = data.doubts()
        sheet = label_sheet(doubts[number]) if 0 <= number < len(doubts) else None
        if sheet is None:
            return PlainTextResponse("no image with boxes can be drawn\n", 404)
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    return router


def _add_page(data: ViewedData) -> None:
    @ui.page("/", title="Syn-GRPO data")
    def page(request: Request) -> None:
        add_style()
        query = dict(request.query_params)
        names = list(data.sources)
        chosen = query.get("set", "") if query.get("set", "") in names else names[0]
        with ui.element("header"):
            ui.link("Syn-GRPO", "/").classes("home")
            ui.label(shown_line(data.title, 120))
            progress = ui.label().classes("state")
            theme_button()
        with ui.element("div").classes("page data"):
            if len(names) > 1:
                named = {name: name for name in names}
                draw_sources(named, chosen, lambda name: f"/{query_of({'set': name})}")
            found = ui.element("div")
            counts = ui.label().classes("note")
            SampleBrowser(ListedSamples(data.sources[chosen].samples), _AroundFile(chosen), query)
        _follow(data, progress, found)

        async def count() -> None:
            counts.set_text(shown_text(await asyncio.to_thread(data.counts, chosen)))

        ui.timer(0, count, once=True)


def _follow(data: ViewedData, progress: ui.label, found: ui.element) -> None:
    """Keep the number of decoded images and the problems on the page current."""
    shown: list[str] = []

    def show() -> None:
        if not progress.client.has_socket_connection:
            return
        progress.set_text(data.progress())
        lines, notes = data.lines(), data.notes()
        if [*notes, *lines] != shown:
            shown[:] = [*notes, *lines]
            found.clear()
            with found:
                for note in notes:
                    ui.label(shown_text(note, 1000)).classes("advice")
                draw_problems(lines)
                for number in range(len(data.doubts())):
                    sheet = ui.element("img").classes("doubt").props(f"src=/doubt?number={number}")
                    sheet.props["alt"] = "images with their boxes as read and as they may be meant"

    ui.timer(FOLLOW_S, show, immediate=True)


class _AroundFile:
    """The page around a browser of the samples of a source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def picture(self, sample_id: str, side: int) -> str:
        return "/picture" + query_of({"set": self._source, "sample": sample_id, "side": side})

    def remember(self, query: Mapping[str, object]) -> None:
        ui.navigate.history.replace("/" + query_of({"set": self._source, **query}))

    def links(self, sample: Sample) -> list[tuple[str, str]]:
        return []
