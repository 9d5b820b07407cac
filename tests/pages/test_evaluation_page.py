"""The page of worst and best cases."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_page import Page, picture_svg

from syngrpo.evaluation.evaluation_result import summarise
from syngrpo.evaluation.predictions import Answer, Prediction
from syngrpo.pages.evaluation_cases import worst_and_best
from syngrpo.pages.evaluation_page import write_evaluation_page
from syngrpo.pages.labelled_picture import CASE_SIDE, answered_picture
from syngrpo.sample import EncodedImage, Sample
from syngrpo_rooms.dataset import rooms_samples


def answered(sample: Sample, prediction: object, accuracy: float, text: str = "") -> Prediction:
    return Prediction(
        id=sample.id,
        task=sample.task,
        question=sample.question,
        truth=sample.answer,
        kind=sample.columns.get("kind"),
        greedy=Answer(text, prediction, accuracy, True),
        sampled=(),
        diversity=0.0,
    )


def drawn(sample: Sample, found: object) -> str:
    return picture_svg(answered_picture(sample, sample.answer, found))


def test_the_page_shows_every_task_with_its_numbers_and_nothing_unescaped(tmp_path: Path) -> None:
    samples = [s for task in ("rec", "ovd", "isr") for s in rooms_samples("test", 8, task=task)]
    made = [
        answered(s, s.answer, place % 8 / 7, f"<script>alert({place})</script> & more")
        for place, s in enumerate(samples)
    ]
    results = {"mine": summarise(made)}
    path = write_evaluation_page(tmp_path, results, {"mine": samples}, title="runs/<mine>")
    page = path.read_text(encoding="utf-8")
    Page(page)
    assert path == tmp_path / "report.html" and path.stat().st_size < 3_000_000
    assert "<script" not in page and "&lt;script&gt;alert(7)&lt;/script&gt; &amp; more" in page
    assert "runs/&lt;mine&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    for title in ("Acc@0.5", "mean IoU", "COCO mAP", "AP50", "F1@0.5", "accuracy"):
        assert f"<td>{title}</td>" in page
    for task in ("rec", "ovd", "isr"):
        assert f"<h2>mine, {task}: worst</h2>" in page and f"<h2>mine, {task}: best</h2>" in page
    low, high = results["mine"].intervals["rec/greedy/accuracy"]
    assert f'<b>0.500</b></td><td class="n">{low:.3f} – {high:.3f}</td>' in page
    kinds = {s.columns["kind"] for s in samples if s.task == "isr"}
    assert kinds and all(f"<td>isr/{kind}</td>" in page for kind in kinds)
    assert (
        page.count('<figure class="case">') == page.count("data:image/jpeg;base64,") == len(samples)
    )


def test_boxes_are_drawn_where_they_are_in_two_colours() -> None:
    pixels = np.full((90, 120, 3), 200, dtype=np.uint8)
    sample = Sample(
        "s",
        "ovd",
        EncodedImage.from_pixels(pixels),
        "lamp, <sofa>",
        ({"label": "lamp", "box": (10.0, 20.0, 30.0, 60.0)},),
        (),
    )
    found = ({"label": "<sofa>", "box": (50.0, 5.0, 110.0, 85.0)},)
    drawing = ElementTree.fromstring(drawn(sample, found))
    assert drawing.attrib["viewBox"] == "0 0 120 90"
    rectangles = {
        kind: [
            tuple(float(one.attrib[key]) for key in ("x", "y", "width", "height"))
            for one in drawing.iter("rect")
            if one.attrib["class"] == kind
        ]
        for kind in ("truth", "found")
    }
    assert rectangles == {"truth": [(10, 20, 20, 40)], "found": [(50, 5, 60, 80)]}
    assert [(t.attrib["class"], t.text) for t in drawing.iter("text")] == [
        ("truth", "lamp"),
        ("found", "<sofa>"),
    ]
    (image,) = drawing.iter("image")
    data = base64.b64decode(image.attrib["href"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as embedded:
        assert embedded.size == (120, 90)
    unreadable = ElementTree.fromstring(drawn(sample, None))
    assert [r.attrib["class"] for r in unreadable.iter("rect")] == ["halo", "truth"]


def test_large_pictures_are_made_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 1500, 3), dtype=np.uint8)
    sample = Sample("s", "rec", EncodedImage.from_pixels(pixels), "it", (0.0, 0.0, 900.0, 9.0), ())
    (image,) = ElementTree.fromstring(drawn(sample, None)).iter("image")
    data = base64.b64decode(image.attrib["href"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as embedded:
        assert embedded.size == (CASE_SIDE, 144)


@pytest.mark.parametrize(("total", "worst", "best"), [(1, 1, 0), (3, 2, 1), (4, 2, 2), (9, 3, 3)])
def test_worst_and_best_share_nothing(total: int, worst: int, best: int) -> None:
    (sample,) = rooms_samples("test", 1, size=64)
    made = [answered(sample, None, place / 10) for place in range(total)]
    low, high = worst_and_best(made, 3)
    assert [p.greedy.accuracy for p in low] == [place / 10 for place in range(worst)]
    expected = [(total - 1 - place) / 10 for place in range(best)]
    assert [p.greedy.accuracy for p in high] == expected
