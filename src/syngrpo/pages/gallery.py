"""Pictures in the report: parents beside the children painted from them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from syngrpo.pages.charts import number
from syngrpo.pages.lineage import Family, Member
from syngrpo.pages.pictures import picture, question_and_answer


def gallery_section(families: Sequence[Family]) -> str:
    """Parents with their children; "" when nothing was painted."""
    if not families:
        return ""
    return (
        "<h2>Parents and children</h2><p class='lead'>The labelled objects stay, pixel by pixel; "
        "the surroundings are new, painted from the description below each picture. Frames are "
        "the answer to the question, dashed ones the other labelled objects. D is the mean "
        "response diversity measured on the picture, over all its visits.</p>"
        + "".join(_family(family) for family in families)
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


def _family(family: Family) -> str:
    parent = family.parent
    facts = _facts(parent)
    return (
        f"<section class='family'><figure class='picture'>{picture(parent.sample)}"
        f"<figcaption>{question_and_answer(parent.sample)}<br>{facts}</figcaption></figure>"
        f"<div class='children'>{''.join(_child(child) for child in family.children)}</div>"
        "</section>"
    )


def _child(child: Member, question: bool = False) -> str:
    title = question_and_answer(child.sample) if question else ""
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
