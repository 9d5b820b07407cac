"""Texts of users and models become texts that a page can show."""

from __future__ import annotations

from syngrpo.pages.shown_text import shown_line, shown_text


def test_control_characters_are_seen_and_can_be_sent() -> None:
    shown = shown_text("a\x00b\x1b[31m\x7f\x85\ud800 \u202eabc\tד\r\nc\nd")
    assert shown == "a␀b␛[31m␡�� \u202eabc\tד\nc\nd"
    shown.encode()  # half a surrogate pair has no encoding


def test_long_texts_are_cut() -> None:
    assert shown_text("x" * 10, 10) == "x" * 10
    assert shown_text("x" * 1_000_000, 10) == "x" * 10 + " …"
    assert shown_line("a\n\n  b" + "c " * 400, 10) == "a bc c c c …"
