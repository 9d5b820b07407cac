"""Reads boxes, labels and values from a model's answer, which is usually JSON; and writes boxes.

No JSON parser is used: boxes are found even if the answer has a missing bracket, a trailing comma,
a comment, a code fence or a sentence around it, and in the notations of several model families
(``box_notation``). The parts of an answer are found from left to right, without recursion and in
time linear in its length; what follows after ``LONGEST`` characters is not read. A list of objects
that is written exactly as asked for is read in a shorter way with the same result (``asked_form``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import NamedTuple

from syngrpo.boxes import CoordinateFrame
from syngrpo.sample import Box
from syngrpo.tasks.answer_spelling import LONGEST, plain_spelling
from syngrpo.tasks.asked_form import LabelledBox, objects_as_asked
from syngrpo.tasks.box_notation import (
    BARE,
    BBOX,
    BOX_IN_TEXT,
    BOXES,
    CONTINUES,
    LOOSE,
    NO_LEAD,
    NOTHING,
    SIDES,
    TEXT,
    TOKEN,
    WEAK_LABEL,
    Lead,
    box_of,
    checked,
    is_two_points,
    label_rank,
    lead_of,
    plain_text,
    side_box,
    tagged_lead,
    texts_of,
)

_VALUE = re.compile(
    r"(?<![A-Za-z_])([A-Za-z_]{1,32})[\"']?\s*+[:=]\s*+(?:\[\s*+)?"
    rf"(?:(?P<text>{TEXT})|([^\s,{{}}\[\]\"'][^,{{}}\[\]\"'\n]*+))"
)
_FENCE = re.compile(
    r"(?:```|~~~)[ \t]*+(?:(?:json[5cl]|py|txt|plaintext|markdown|md|xml|html|ya?ml|javascript|js"
    r"|csv|latex)(?![\w-])|json|python|text)?",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\[^\n])*+\"")
_QUOTE_OR_COMMENT = re.compile(r"\"|/\*|[,\[{\]}0-9]\s++(?://|#\s)")
_MORE_COMMENT = re.compile(r"\s++(?://|#\s)")
"""A comment of a line begins with // or #, after a comma, a bracket or a digit."""


class FoundBox(NamedTuple):
    """A box in a text, in the units of the text. ``box`` is None when it is not finite or has no
    area; ``rank`` says how sure it is that it is the box that was asked for: BBOX, KEYED, BARE or
    LOOSE, the surest first."""

    box: Box | None
    rank: int


def find_boxes(text: str) -> list[FoundBox]:
    """Return every box in the text, in order. Takes linear time, never raises."""
    return _Reading(text).boxes


def find_objects(text: str) -> list[LabelledBox]:
    """Return every labelled box in the text, in order, in the units of the text. A box is None when
    it is not finite or has no area. Takes linear time, never raises.

    An object is what is between two braces. Its label is the value of a key such as label or name
    (the first of the surest kind), and its boxes that of a key such as bbox_2d, a list of them or
    four coordinates with names of their own. Without such a label, it is the key before the object
    or its list (``{"dog": [[1, 2, 3, 4]]}``), or the name before a box (``dog: [1, 2, 3, 4]``,
    ``<ref>dog</ref><box>…``). If an object has several keys of a box, the first is used.
    """
    found = objects_as_asked(text) if len(text) <= LONGEST else None
    return objects_in_any_form(text) if found is None else found


def objects_in_any_form(text: str) -> list[LabelledBox]:
    """Return what ``find_objects`` does, and take the same way for every text."""
    return [(label, box) for _, label, box in _Reading(text).objects]


def find_values(text: str) -> Iterator[tuple[str, str]]:
    """Yield every key with a text or a number as its value, or as the first item of its value.

    Takes linear time, never raises.
    """
    for match in _VALUE.finditer(text[:LONGEST]):
        key, quoted, bare = match.groups()
        yield key, plain_text(quoted[1:-1]) if bare is None else bare.strip()


def without_fences(text: str) -> str:
    """Return the text without code fences and the white space around it."""
    return _FENCE.sub(" ", text[:LONGEST]).strip()


def written_box(box: Box, frame: CoordinateFrame) -> list[float]:
    """Return a box, given in original pixels, as a model writes it: in whole model units, or in
    thousandths if coordinates run from 0 to 1. It always has an area."""
    if frame.width <= 1:
        thousandths = replace(frame, width=1000.0, height=1000.0)
        return [value / 1000 for value in written_box(box, thousandths)]
    x1, y1, x2, y2 = (round(value) for value in frame.to_model(box))
    x1, y1 = min(x1, round(frame.width) - 1), min(y1, round(frame.height) - 1)
    return [x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)]


Labelled = tuple[int, str, Box | None]
"""The place of a box in the text, its label, and the box."""


@dataclass(slots=True)
class _Object:
    """What is known so far of an object that is being read.

    ``before`` is the text before its opening brace, or what that says. ``labels`` are the values of
    the key of a label, one for all boxes or one each; ``label_rank`` is the rank of that key.
    ``boxes`` are those of the key of a box, with their places in the text; ``lead_of_boxes`` is the
    lead of the first. ``named`` are boxes with a name directly before them, ``sides`` single
    coordinates.
    """

    before: str | Lead
    labels: Sequence[str] = ()
    label_rank: int = NOTHING.rank
    boxes: list[tuple[int, Box | None]] = field(default_factory=list)
    lead_of_boxes: Lead = NOTHING
    named: list[Labelled] = field(default_factory=list)
    sides: dict[str, float] = field(default_factory=dict)

    @property
    def lead(self) -> Lead:
        """What the text before the opening brace says; read when it is asked for."""
        if isinstance(self.before, str):
            self.before = lead_of(self.before, adjoins=False)
        return self.before

    def add_box(self, place: int, box: Box | None, lead: Lead) -> None:
        """Add a box of a key. A box with the very same lead is one more of the same list; any other
        one is used only if its key is a surer one."""
        if lead is self.lead_of_boxes:
            self.boxes.append((place, box))
        elif lead.rank < self.lead_of_boxes.rank:
            self.boxes, self.lead_of_boxes = [(place, box)], lead

    def labelled(self) -> list[Labelled]:
        """Return the labelled boxes of the object. If it has a label, and no box but those of one
        unknown key, they are its boxes."""
        boxes, labels = self.boxes, self.labels
        if not boxes:
            if not labels or len({name for _, name, _ in self.named}) > 1:
                return self.named
            boxes = [(place, box) for place, _, box in self.named]
        weak = not labels or self.label_rank == WEAK_LABEL
        if weak and self.lead.name is not None:
            labels = [self.lead.name]
        if len(labels) == 1:
            labels = [labels[0]] * len(boxes)
        return [(place, name, box) for name, (place, box) in zip(labels, boxes, strict=False)]


class _Reading:
    """Reads a text once. ``boxes`` are all boxes, in order; ``objects`` all labelled ones.

    ``_open`` are the objects that have begun and not ended, the innermost last; the first of them
    is the text outside all braces. An object without anything in it is only what is before its
    brace. ``_last`` is the object, or the lead of the box, that has just ended.
    """

    def __init__(self, text: str) -> None:
        self.boxes: list[FoundBox] = []
        self.objects: list[Labelled] = []
        self._open: list[_Object | str | Lead] = [NO_LEAD]
        self._last: _Object | str | Lead | None = None
        text, end = _without_comments(plain_spelling(text[:LONGEST])), 0
        for match in TOKEN.finditer(text):
            self._take(match, text[end : match.start()])
            end = match.end()
        for _ in range(len(self._open)):
            self._end_object()
        self.objects.sort(key=itemgetter(0))

    def _take(self, match: re.Match[str], before: str) -> None:
        kind = match.lastgroup
        if kind in BOXES:
            self._box(match, before)
        elif match.group() == "{":
            self._open.append(self._same_lead(before) or before)
            self._last = None
        elif kind == "brace":
            self._last = self._open[-1]
            self._end_object()
        else:
            self._last = None
            if kind == "label":
                self._label(match["label"], 0)
            elif kind == "labels":
                self._label(match["labels"], label_rank(match["key"]))
                for key, box in BOX_IN_TEXT.findall(match["labels"]):  # may be a whole sentence
                    self.boxes.append(FoundBox(box_of(box), BBOX if key else BARE))
            elif kind == "value":
                self._side(match)

    def _innermost(self) -> _Object:
        one = self._open[-1]
        if not isinstance(one, _Object):
            one = self._open[-1] = _Object(one)
        return one

    def _same_lead(self, before: str) -> Lead | None:
        """Return the lead of what has just ended, if nothing but a comma or the like follows it."""
        last = self._last
        if last is None or not CONTINUES.fullmatch(before):
            return None
        if isinstance(last, str):
            return lead_of(last, adjoins=False)
        return last.lead if isinstance(last, _Object) else last

    def _box(self, match: re.Match[str], before: str) -> None:
        kind = match.lastgroup
        lead = self._same_lead(before)
        if lead is None:
            lead = tagged_lead(before) if kind == "tagged" else lead_of(before)
        self._last = lead
        if lead.no_box or lead.points:
            return
        if kind == "points" and not is_two_points(match.group()):
            return
        box = box_of(match["tagged"] if kind == "tagged" else match.group())
        loose = lead.rank == BARE and kind != "square"
        self.boxes.append(FoundBox(box, LOOSE if loose else lead.rank))
        if lead.name is not None:
            self._innermost().named.append((match.start(), lead.name, box))
        elif lead.rank < BARE:
            self._add_box(match.start(), box, lead)

    def _side(self, match: re.Match[str]) -> None:
        one = self._innermost()
        one.sides[SIDES[match["side"].lower()]] = float(match["value"])
        corners = side_box(one.sides)
        if corners is not None:
            one.sides = {}
            if one.lead.no_box:
                return
            box = checked(corners)
            self.boxes.append(FoundBox(box, one.lead.rank if one.lead.rank < BARE else LOOSE))
            self._add_box(match.start(), box, Lead(LOOSE))

    def _label(self, quoted: str, rank: int) -> None:
        if rank >= self._innermost().label_rank:
            self._begin_again()
        one = self._innermost()
        if rank < one.label_rank:
            one.labels, one.label_rank = texts_of(quoted), rank

    def _add_box(self, place: int, box: Box | None, lead: Lead) -> None:
        lead_before = self._innermost().lead_of_boxes
        if lead is not lead_before and lead.rank >= lead_before.rank:
            self._begin_again()
        self._innermost().add_box(place, box, lead)

    def _begin_again(self) -> None:
        """Outside all braces, begin a new object if the one before has a label and a box."""
        if len(self._open) == 1 and (one := self._innermost()).labels and one.boxes:
            self._end_object()

    def _end_object(self) -> None:
        """End the innermost object. A closing brace too many ends the text outside all braces, and
        begins it again."""
        one = self._open.pop()
        if not self._open:
            self._open.append(NO_LEAD)
        if not isinstance(one, _Object) or not (one.boxes or one.named):
            return
        if one.labels and one.lead.attributes and len(self._open) > 1:
            self._add_attributes(one)
            return
        inside = len(self._open) > 1 and one.lead.name is None
        if not one.labels and (one.lead.rank < BARE or inside):
            for place, box in one.boxes:
                self._innermost().add_box(place, box, one.lead)
        self.objects += one.labelled()

    def _add_attributes(self, one: _Object) -> None:
        """Give what is among the attributes of an object to it, unless it has that itself."""
        outer = self._innermost()
        for place, box in one.boxes:
            outer.add_box(place, box, one.lead)
        if not outer.labels:
            outer.labels, outer.label_rank = one.labels, WEAK_LABEL


def _without_comments(text: str) -> str:
    """Return the text without the comments that some models write into JSON. What is between
    double quotes stays as it is; behind a quote without its end, the rest of the line stays."""
    parts, kept, place = list[str](), 0, 0
    while match := _QUOTE_OR_COMMENT.search(text, place):
        begin, place = match.start(), match.end()
        if match.group() == '"':
            quoted = _QUOTED.match(text, begin)
            place = quoted.end() if quoted else text.find("\n", place)
        elif match.group() == "/*":
            end = text.find("*/", place)
            place = end + len("*/") if end >= 0 else end
        else:
            begin, place = begin + 1, _end_of_lines(text, place)
        if place < 0:
            break  # it does not end
        if match.group() != '"':
            parts.append(text[kept:begin])
            kept = place
    return "".join(parts) + text[kept:]


def _end_of_lines(text: str, place: int) -> int:
    """Return the place of the line feed that ends the comment at ``place`` and those on the lines
    below it; -1 if it does not end."""
    end = text.find("\n", place)
    while end >= 0 and (more := _MORE_COMMENT.match(text, end)):
        following = text.find("\n", more.end())
        if following < 0:
            break
        end = following
    return end
