"""One sample drawn with the truth and the model's answer, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from syngrpo.evaluation.predictions import Prediction
from syngrpo.formats.answers import answer_boxes
from syngrpo.formats.thumbnails import data_uri
from syngrpo.sample import Box, Sample

LONGER_SIDE = 360
"""Of an embedded picture in pixels, at most."""

Labelled = tuple[str, Box]


def picture(sample: Sample, prediction: Prediction) -> str:
    """The image, embedded as a JPEG, with the boxes of truth and greedy answer where the task has
    boxes. Raises InputError for an image that cannot be decoded."""
    width, height = sample.image.width, sample.image.height
    truth = answer_boxes(prediction.truth)
    found = answer_boxes(prediction.greedy.prediction)
    size = max(width, height) / 24
    drawn = _draw(truth, "truth", size, above=True) + _draw(found, "found", size, above=False)
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' "
        f"aria-label='{escape(sample.question, quote=True)}'><image width='{width}' "
        f"height='{height}' href='{data_uri(sample.image, LONGER_SIDE, quality=85)}'/>{drawn}</svg>"
    )


def _draw(boxes: Sequence[Labelled], kind: str, size: float, above: bool) -> str:
    """``size`` of the letters, in pixels of the image; labels of truth and answer do not meet."""
    parts = []
    for label, (x1, y1, x2, y2) in boxes:
        shape = f"x='{x1:.1f}' y='{y1:.1f}' width='{x2 - x1:.1f}' height='{y2 - y1:.1f}'"
        parts.append(f"<rect class='halo' {shape}/><rect class='{kind}' {shape}/>")
        if label:
            y = max(y1 - size / 4, size) if above else y2 - size / 4
            parts.append(
                f"<text class='{kind}' x='{x1 + size / 5:.1f}' y='{y:.1f}' "
                f"font-size='{size:.1f}'>{escape(label)}</text>"
            )
    return "".join(parts)
