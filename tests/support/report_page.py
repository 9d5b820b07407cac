"""Pages and their parts, read as a browser reads them."""

from html.parser import HTMLParser
from pathlib import Path

from syngrpo.pages.charts import Chart
from syngrpo.pages.labelled_picture import Picture
from syngrpo.pages.page_templates import ENVIRONMENT

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what the page refers to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.references += [
            named[key] or "" for key in ("src", "href", "xlink:href", "srcset") if key in named
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> tuple[str, Page]:
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def picture_svg(picture: Picture) -> str:
    """The markup of a picture, as pages hold it."""
    return str(ENVIRONMENT.get_template("picture.html").module.labelled_picture(picture)).strip()


def chart_figure(chart: Chart | None) -> str:
    """The markup of a chart, as pages hold it."""
    assert chart is not None
    return str(ENVIRONMENT.get_template("chart.html").module.line_chart(chart)).strip()
