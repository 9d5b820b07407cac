"""Reads answers that say that nothing of what was asked for is there, in several languages."""

from __future__ import annotations

import re

from syngrpo.tasks.answer_reading import without_fences
from syngrpo.tasks.answer_spelling import plain_spelling

_ABSENT = re.compile(
    # English, and Spanish with "no hay"
    r"\bnone\b|\bnothing\b|\bn/a\b|\babsent\b"
    r"|\b(?:no|zero)\s++(?!idea\b|clue\b|answer\b|image\b|picture\b|way\b|doubt\b|problem\b"
    r"|s[eé]\b|puedo\b|tengo\b|veo\s+(?:la|bien)\b|es\s+posible)[^\W\d_]"
    r"|(?:\bnot|n['’]t|\bcannot)\s++(?:[a-z]++\s++){0,3}any\b"
    r"|\bnot\s++(?:present|visible|found|detected|there|in\s)"
    r"|\A\W*+(?:no|empty|keine?|nichts|aucune?|rien|ningun[oa]|没有|沒有|无|無|不存在)\W*+\Z"
    # German
    r"|\bkein(?:e[nmrs]?)?\s++(?!ahnung\b|idee\b|antwort\b|bild\b|zweifel\b|problem\b|möglich"
    r"|weg\b)[^\W\d_]"
    r"|\bnicht\s++(?:vorhanden|sichtbar|zu\s++(?:sehen|finden|erkennen)|gefunden|enthalten|im\s)"
    # French
    r"|\baucune?\s++(?!idée\b|idee\b|réponse\b|image\b|doute\b|problème\b|moyen\b)[^\W\d_]"
    r"|\b(?:n['’]y\s++a|ne\s++vois|ne\s++trouve)\s++(?:rien\b|pas\s++d(?:e\s|['’])"
    r"(?!\s*+(?:moyen|doute|réponse|problème|image)\b))|\A\W*+pas\s++d(?:e\s|['’])"
    # Spanish, Italian, Portuguese
    r"|\bning[uú]n[oa]?s?\s++(?!idea\b|imagen\b)[^\W\d_]"
    r"|\bnessun[oa]?\b(?!\s++(?:idea|immagine)\b)|\bnon\s++(?:ci\s++sono|c['’]è)\s"
    r"|\bnenhuma?\b(?!\s++(?:ideia|imagem)\b)|\bnão\s++(?:há|existem?)\s"
    # Russian
    r"|\bнет\s++(?!ответа\b|идей\b|изображения\b)[^\W\d_]|\bне\s++(?:найден|обнаружен|видно)"
    # Chinese, Japanese, Korean
    r"|(?:没有|沒有|未|没能)(?:任何|看到|看见|见到|发现|發現|检测|檢測|找到|出现|出現)"
    r"|(?:无|無)(?:任何|目标|目標|物体|物體|对象|此类|该类)"
    r"|(?:[图圖]|[图圖]片|[图圖]像|[画畫]面)(?:中|里|裡|上|内)?(?:并|並)?(?:没有|沒有|不存在|无|無)"
    r"|見(?:つかり|当たり)ません|(?:は|が)(?:あり|い|存在し)ません|該当なし"
    r"|(?:이|가|는|은|도)\s?(?:없습니다|없어요|없음|없다)|보이지\s?않",
    re.IGNORECASE,
)
"""How models say that nothing of what was asked for is there."""
_EMPTY = re.compile(
    r"[\s\"'`]*+(?:null|[\[{](?:[\s\[\]{},]|\"[^\"\n]*+\"\s*+:|'[^'\n]*+'\s*+:|null|none|false)*+"
    r"(?<=[\]}]))[\s\"'`.]*+",
    re.IGNORECASE,
)
_KEY = re.compile(r"\"[^\"\n]*+\"\s*+:|'[^'\n]*+'\s*+:")
_COUNTS = re.compile(
    r"(?:[^:=\n,;0-9]{1,60}+[:=]\s*+(?:0|none|null|nothing)\b[\s,;.]*+)++", re.IGNORECASE
)
"""Names, each with none or 0."""
_OF_HOW_MANY = re.compile(r"\b(?:none\s+of|any\s+of)\s+(?:the|these|those)\s+[0-9]+\b", re.I)
_DIGIT = re.compile(r"[0-9]")


def says_none(answer: str) -> bool:
    """Return whether a text is an empty list or object, or says none and holds no number."""
    text = plain_spelling(without_fences(answer))
    if _EMPTY.fullmatch(text) or _COUNTS.fullmatch(text):
        return True
    text = _OF_HOW_MANY.sub("none", text)
    return _ABSENT.search(text) is not None and _DIGIT.search(_KEY.sub("", text)) is None
