"""Pictures in the report: parents beside the children painted from them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from syngrpo.dashboard.charts import number
from syngrpo.dashboard.lineage import Family, Member
from syngrpo.sample import Sample

THUMBNAIL = 320
"""Longer side of an embedded picture in pixels, at most."""


def gallery_section(families: Sequence[Family]) -> str:
    """Parents with their children; "" when nothing was painted."""
    if not families:
        return ""
    return (
        "<h2>Parents and children</h2><p class='lead'>The labelled objects stay, pixel by pixel; "
        "the surroundings are new, painted from the description below each picture. The frame is "
        "the object the question asks for. D is the mean response diversity measured on the "
        "picture, over all its visits.</p>" + "".join(_family(family) for family in families)
    )


def extremes_section(highest: Sequence[Member], lowest: Sequence[Member]) -> str:
    """The pictures on which the answers disagreed most, and least; "" when none was measured."""
    if not highest:
        return ""
    rows = [("disagreed most", highest)]
    if len(lowest) > 1:
        rows.append(("disagreed least", lowest))
    parts = "".join(
        f"<h3>Where the answers {title}</h3><div class='family'><div class='children' "
        f"style='grid-column:1/-1'>{''.join(_child(m, question=True) for m in members)}</div></div>"
        for title, members in rows
    )
    return f"<h2>What the descriptions brought</h2>{parts}"


def picture(sample: Sample) -> str:
    """The image with the answer framed, embedded as a JPEG in an inline ``<svg>``."""
    width, height = sample.image.width, sample.image.height
    frame = ""
    if sample.task == "rec":
        x1, y1, x2, y2 = sample.answer
        frame = f"<rect x='{x1:.1f}' y='{y1:.1f}' width='{x2 - x1:.1f}' height='{y2 - y1:.1f}'/>"
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' "
        f"aria-label='{escape(sample.question, quote=True)}'><image width='{width}' "
        f"height='{height}' href='{_data_uri(sample)}'/>{frame}</svg>"
    )


def _family(family: Family) -> str:
    parent = family.parent
    facts = _facts(parent)
    return (
        f"<section class='family'><figure class='picture'>{picture(parent.sample)}"
        f"<figcaption><b>{escape(parent.sample.question)}</b><br>{facts}</figcaption></figure>"
        f"<div class='children'>{''.join(_child(child) for child in family.children)}</div>"
        "</section>"
    )


def _child(child: Member, question: bool = False) -> str:
    title = f"<b>{escape(child.sample.question)}</b>" if question else ""
    return (
        f"<figure class='picture'>{picture(child.sample)}<figcaption>{title}"
        f"<span class='words'>{escape(child.sample.description or '')}</span>"
        f"{_facts(child)}{_scores(child.scores)}</figcaption></figure>"
    )


def _facts(member: Member) -> str:
    measured = "not visited yet" if member.diversity is None else f"D <b>{member.diversity:.2f}</b>"
    visits = f"visits <b>{member.visits}</b>" if member.visits else ""
    return f"<span class='fact'>{measured}</span><span class='fact'>{visits}</span>"


def _scores(scores: dict[str, float]) -> str:
    if not scores:
        return ""
    lines = "<br>".join(f"{escape(k.replace('_', ' '))} {number(v)}" for k, v in scores.items())
    return f"<details><summary>gate</summary>{lines}</details>"


def _data_uri(sample: Sample) -> str:
    image = Image.fromarray(sample.image.decode())
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
