"""``syngrpo data view``: what it shows of a file, and in a browser."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dashboard_browser
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from service_process import until
from starlette.testclient import TestClient

from syngrpo.cli.main import main
from syngrpo.dashboard.data_page import data_picture_routes
from syngrpo.dashboard.samples.viewed_data import ViewedData, ViewedSource
from syngrpo.formats.base import Problems
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset

FIXTURES = Path(__file__).parents[1] / "fixtures"
MASKED = FIXTURES / "coco" / "annotations" / "instances_rooms2026.json"


def write_rows(path: Path, boxes: Sequence[Sequence[float]], image: str = "a.png") -> Path:
    """A data file about one image of 200x100 pixels, a row for each box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 255, (100, 200, 3), np.uint8)).save(path.parent / image)
    rows = [
        {"id": f"{path.stem}-{n}", "task": "rec", "image": image, "question": f"cup {n}",
         "answer": list(box)}
        for n, box in enumerate(boxes)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def wide_boxes() -> list[tuple[float, ...]]:
    """Boxes with a width and a height, which most of them cannot be as corners."""
    corners = np.random.default_rng(0).uniform(0, 60, (40, 2))
    return [(x, y, 30 + x / 9, 20 + y / 9) for x, y in corners.round(1).tolist()]


def viewed(path: Path, **keys: Any) -> ViewedData:
    problems = Problems()
    samples = read_dataset(source_from_keys({"path": path, **keys}), problems)
    return ViewedData("some", {"": ViewedSource({one.id: one for one in samples}, problems)})


def test_images_are_checked_while_they_are_shown(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "cups.jsonl", [(1, 2, 30, 40), (5, 5, 60, 70), (5, 5, 900, 70)])
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    data = viewed(path)
    assert data.counts("") == "2 samples (2 rec) of 1 image; 2 boxes"
    assert len(data.lines()) == 1 and "cups.jsonl:3" in data.lines()[0]
    assert data.progress() == "decoded 0 of 1 image"
    data.check_images()
    until(lambda: data.progress() == "1 image decoded" and len(data.lines()) > 1, "the images")
    assert any("a.png" in line for line in data.lines())


def test_boxes_that_may_be_meant_in_another_way_are_noted(tmp_path: Path) -> None:
    data = viewed(write_rows(tmp_path / "wide.jsonl", wide_boxes()), boxes="xywh")
    assert data.lines() == data.notes() == data.doubts() == []
    told = viewed(tmp_path / "wide.jsonl")
    (doubt,) = told.doubts()
    said = "\n".join([*told.notes(), *told.lines()])
    assert doubt.message() in said and "xywh" in doubt.message()


def test_masks_are_counted() -> None:
    data = viewed(MASKED, task="ovd")
    assert "with a mask" in data.counts("")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["syngrpo", "data", "view", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value))


def test_data_without_a_sample_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "none.jsonl") == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert run(monkeypatch, write_rows(tmp_path / "bad.jsonl", [(5, 5, 900, 70)])) == 2
    error = capsys.readouterr().err
    assert "bad.jsonl:1" in error and error.count("\n") == 1
    (tmp_path / "run.yaml").write_text("model: {path: starter}\n")
    assert run(monkeypatch, tmp_path / "run.yaml", "--boxes", "xywh") == 2
    assert "edit" in capsys.readouterr().err


@dashboard_browser.needs_browser
def test_a_configuration_is_seen_before_training(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    hostile = "<script>window.hit = 1</script>\x07"
    cups = write_rows(
        tmp_path / "data" / "cups.jsonl", [(1, 2, 30, 40), (7, 7, 9, 9), (5, 5, 900, 9)]
    )
    tests = write_rows(
        tmp_path / "data" / "tests.jsonl", [(n, 2, 90, 40) for n in range(30)], "b.png"
    )
    tests.write_text(tests.read_text().replace("cup 0", json.dumps(hostile)[1:-1]))
    config = {
        "model": {"path": "starter"},
        "data": {"train": [{"path": str(cups)}]},
        "evaluation": {"sets": {"unlike": {"path": str(tests)}}},
        "method": {"name": "grpo"},
        "trainer": {"steps": 1},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    with dashboard_browser.pages_of(tmp_path, "data", "view", tmp_path / "run.yaml") as address:
        page = open_page(f"{address}/")
        page.get_by_text("2 samples (2 rec) of 1 image; 2 boxes").wait_for()
        page.get_by_text("1 to 2 of 2").wait_for()
        assert page.locator(".sample-grid .sample").count() == 2
        page.get_by_text("cups.jsonl:3").wait_for()  # what data check finds
        page.get_by_text("2 images decoded").wait_for()
        page.get_by_label("sorted by").click()
        page.get_by_text("smallest object first").click()
        page.wait_for_url("**order=small**")
        page.locator(".sample-grid .sample .title").first.filter(has_text="cup 1").wait_for()
        page.get_by_text("held out: unlike").click()
        page.get_by_text("1 to 24 of 30").wait_for()
        page.locator(".sample-grid .sample").first.click()
        box = page.locator(".sample-detail svg rect.asked")
        assert [box.get_attribute(name) for name in ("x", "width")] == ["0.0", "90.0"]
        shown = page.locator(".sample-detail dd").first.inner_text()
        assert shown.startswith("<script>") and page.evaluate("window.hit") is None
        for image in page.locator(".sample-detail svg image").all():
            picture = httpx.get(address + str(image.get_attribute("href")), trust_env=False)
            assert picture.headers["content-type"] == "image/jpeg"
        assert page.locator("img.doubt").count() == 0
        assert httpx.get(f"{address}/doubt?number=0", trust_env=False).status_code == 404
        for wrong in ("set=x&sample=cups-0", "set=train: cups&sample=../../cups.jsonl"):
            answer = httpx.get(f"{address}/picture?side=480&{wrong}", trust_env=False)
            assert answer.status_code == 404


@pytest.mark.parametrize("left", [b"", b"\x89PNG\r\n\x1a\n", None])
def test_images_that_are_lost_while_they_are_shown_are_a_line(
    tmp_path: Path, left: bytes | None
) -> None:
    data = viewed(write_rows(tmp_path / "wide.jsonl", wide_boxes()))
    image, (sample, *_) = tmp_path / "a.png", data.sources[""].samples
    app = FastAPI()
    app.include_router(data_picture_routes(data))
    visitor = TestClient(app)  # raises what the application raises
    assert data.doubts()
    image.unlink() if left is None else image.write_bytes(left)
    for address in (f"/picture?sample={sample}&side=160", "/doubt?number=0"):
        answer = visitor.get(address)
        assert answer.status_code == 404 and answer.text.count("\n") == 1


def test_a_picture_that_was_replaced_by_one_of_its_size_is_sent_anew(tmp_path: Path) -> None:
    data = viewed(write_rows(tmp_path / "cups.jsonl", [(1, 2, 30, 40)]))
    app = FastAPI()
    app.include_router(data_picture_routes(data))
    visitor, (sample,) = TestClient(app), data.sources[""].samples
    address = f"/picture?sample={sample}&side=160"
    before = visitor.get(address)
    assert before.headers["cache-control"] == "private, no-cache"
    same = visitor.get(address, headers={"If-None-Match": before.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    Image.new("RGB", (200, 100), "red").save(tmp_path / "a.png")
    after = visitor.get(address, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200 and after.headers["etag"] != before.headers["etag"]
    red = np.asarray(Image.open(io.BytesIO(after.content)))
    assert red[..., 0].min() > 240 and red[..., 1:].max() < 15


@dashboard_browser.needs_browser
def test_doubted_boxes_are_seen_as_read_and_as_meant(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    wide = [(90 + x, 30 + y / 2, w, h) for x, y, w, h in wide_boxes()]
    path = write_rows(tmp_path / "wide.jsonl", wide)
    assert not viewed(path).sources[""].samples  # as read, no row can be used
    with dashboard_browser.pages_of(tmp_path, "data", "view", path) as address:
        page = open_page(f"{address}/")
        page.get_by_text("40 of 40 boxes do not fit").wait_for()
        page.get_by_text("No samples.").wait_for()
        page.wait_for_function("() => document.querySelector('img.doubt')?.naturalWidth > 300")


def test_other_hosts_need_the_token(tmp_path: Path) -> None:
    cups = write_rows(tmp_path / "cups.jsonl", [(1, 2, 30, 40)])
    (tmp_path / "token").write_text("a-secret\n")
    options = ("--host", "0.0.0.0", "--token-file", tmp_path / "token")
    with dashboard_browser.pages_of(tmp_path, "data", "view", cups, *options) as address:
        base, _, token = address.partition("/?token=")
        assert token == "a-secret"
        for path in ("/", "/picture?set=&sample=cups-0&side=160", "/_nicegui_ws/socket.io/"):
            assert httpx.get(base + path, trust_env=False).status_code == 401
        with httpx.Client(trust_env=False) as visitor:
            assert visitor.get(address).status_code == 303
            assert visitor.get(f"{base}/").status_code == 200
