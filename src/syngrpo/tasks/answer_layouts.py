"""Rewrites tables of Markdown and lists of YAML, which some models answer with, in braces.

Each row of a table and each item of a list becomes one object, ``{label: "dog", bbox: [1, 2, 3,
4]}``, as ``answer_reading`` finds them. Takes time linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from syngrpo.tasks.box_notation import BOX_KEY, NUMBER, is_key_of_label

_RULE = re.compile(r"(?=[^\n]*\|)[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)*(?:[ \t]*:?-+:?)?[ \t]*")
"""The line of a table between its head and its rows."""
_CELL = re.compile(r"(?<!\\)\|")
_COLUMN_OF_LABELS = re.compile(
    r"(?:(?:detected|found|target)[ _])?(?:object|class|label|category|item|name|phrase|entity)e?s?"
    r"(?:[ _](?:name|label|class|type|category))?",
    re.IGNORECASE,
)
_EMPHASIS = " \t*_`"
_LONGEST_HEAD = 60
"""Number of characters of a head that are used. Each row of the table repeats it."""

_ENTRY = re.compile(
    r"(?P<indent>[ \t]*+)(?P<dashes>(?:-[ \t]++)*+)"
    r"(?P<key>\"[^\"\n]{1,200}\"|'[^'\n]{1,200}'|[^\s:\[{(\"'#|-][^:\[{(|\n]{0,200}?)[ \t]*+"
    r":(?:[ \t]++(?P<value>[^\n]*+))?"
)
"""A line of YAML with a key."""
_LEADING_DASH = re.compile(r"^[ \t]*+-[ \t]++(?=[\[(][ \t]*+[-+.0-9])", re.MULTILINE)
_COLUMN_OF_NUMBERS = re.compile(
    rf":[ \t]*+(?P<numbers>(?:\n[ \t]*+-[ \t]++{NUMBER}[ \t]*+(?=\n|\Z))+)", re.IGNORECASE
)
_BARE_LABEL = re.compile(
    r"(?![\"'\[{|>&*!~#])(?!(?:null|[-+.0-9]*+)[ \t]*+\Z)"
    r"(?P<label>[^\n\"{}\[\]]+?)[ \t]*(?=[,;][ \t]*\w{1,30}[ \t]*:|[ \t]#|\Z)",
    re.IGNORECASE,
)
"""A label without quotes, up to another key on the same line."""


def without_tables(text: str) -> str:
    """Return the text with each row of a table of Markdown as an object. A column is that of the
    label if its head says so; the others keep their heads as their keys."""
    if "|" not in text or "--" not in text:
        return text
    lines, heads = list[str](), list[str]()
    for line in text.split("\n"):
        if "|" not in line:
            heads = []
        elif heads:
            line = _row(heads, _cells(line))
        elif "--" in line and lines and "|" in lines[-1] and _RULE.fullmatch(line):
            heads = [_head(cell) for cell in _cells(lines.pop())]
            continue
        lines.append(line)
    return "\n".join(lines)


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    return [cell.strip() for cell in _CELL.split(line.removesuffix("|"))]


def _head(cell: str) -> str:
    """Return the key that a head stands for: ``Bounding Box (x1, y1, x2, y2)`` is ``Bounding
    Box``."""
    name = cell.partition("(")[0].strip(_EMPHASIS)
    return "label" if _COLUMN_OF_LABELS.fullmatch(name) else name.replace('"', "")[:_LONGEST_HEAD]


def _row(heads: Sequence[str], cells: Sequence[str]) -> str:
    pairs = (
        f'"{head}": {json.dumps(cell.strip(_EMPHASIS), ensure_ascii=False)}'
        if head == "label"
        else f'"{head.replace(" ", "_")}": {cell}'
        for head, cell in zip(heads, cells, strict=False)
    )
    return "{" + ", ".join(pairs) + "}"


def without_lists(text: str) -> str:
    """Return the text with each item of a list of YAML, and each part that is indented below a key,
    as an object. Only what has a key of a label or of a box is taken for YAML."""
    if "\n" not in text:
        return text
    if "-" in text:
        text = _LEADING_DASH.sub("", text)
    if "{" in text or ":" not in text:
        return text
    if "-" in text:
        text = _COLUMN_OF_NUMBERS.sub(_numbers, text)
    entries = [(_ENTRY.fullmatch(line) if ":" in line else None, line) for line in text.split("\n")]
    if not any(entry is not None and _is_known(entry["key"]) for entry, _ in entries):
        return text
    return "\n".join(_in_braces(entries))


def _numbers(match: re.Match[str]) -> str:
    numbers = [line.strip()[1:].strip() for line in match["numbers"].split("\n")[1:]]
    return f": [{', '.join(numbers)}]"


def _is_known(key: str) -> bool:
    key = key.strip("\"'")
    return is_key_of_label(key) or BOX_KEY.fullmatch(key) is not None


def _in_braces(entries: Sequence[tuple[re.Match[str] | None, str]]) -> Iterator[str]:
    """Yield the lines with a brace where an item or a deeper part begins, and one where it ends.

    ``open`` are the columns of the parts that are open; ``above`` is the column of the last key
    without a value, whose part may follow.
    """
    open_parts: list[int] = []
    above: int | None = None
    for entry, line in entries:
        if not line.strip():
            yield line
            continue
        indent = len(line) - len(line.lstrip(" \t"))
        item = entry is not None and bool(entry["dashes"])
        column = entry.start("key") if entry is not None else indent
        closed = 0
        while open_parts and (open_parts[-1] > column or (item and open_parts[-1] == column)):
            open_parts.pop()
            closed += 1
        line = "}" * closed + line
        if entry is not None:
            deeper = above is not None and column > above
            begin = "{" if item or deeper else ""
            if begin:
                open_parts.append(column)
            line = "}" * closed + begin + _labelled(entry)
            above = column if not (entry["value"] or "").strip() else None
        yield line
    yield "}" * len(open_parts)


def _labelled(entry: re.Match[str]) -> str:
    """Return the line of a key without its dashes, and with quotes around a label."""
    key, value = entry["key"], entry["value"] or ""
    if is_key_of_label(key.strip("\"'")) and (bare := _BARE_LABEL.match(value)):
        quoted = json.dumps(bare["label"], ensure_ascii=False)
        value = quoted + value[bare.end() :]
    return f"{key}: {value}"
