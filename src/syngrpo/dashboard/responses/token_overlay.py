"""Lays a value over the tokens of a response: each token gets a colour by it, and says all of its
values when the pointer is over it. The template ``response_text.html`` shows the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syngrpo.dashboard.responses.response_groups import GroupResponse, TokenValues
from syngrpo.pages.shown_text import shown_text

OVERLAYS = {
    "text": "Text",
    "advantage": "Advantage",
    "entropy": "Entropy",
    "mismatch": "Mismatch",
    "part": "Part",
}
"""Name in the address → what the choice says."""
EXPLAINED = {
    "advantage": "weight of the token in the loss: green is made likelier, red less likely",
    "entropy": "of the distribution that the token was sampled from, in nats",
    "mismatch": "log-probability in training minus that at sampling; 0 where both agree",
    "part": "part of the response that the token belongs to",
}
EMPTY = "∅"
"""Stands for a token without text, such as the one that ends a response."""


@dataclass(frozen=True)
class ShownToken:
    """A token as the template shows it. ``strength`` in [0, 1] is that of its colour, which
    ``style``, a class of the style sheet, decides; ``values`` says its values."""

    text: str
    style: str
    strength: float
    values: str


def overlay_limit(responses: Iterable[GroupResponse], overlay: str) -> float:
    """Return the largest absolute value of the overlay in these responses, 0 without any: the same
    colour then means the same in all responses of a group."""
    found = (
        abs(value)
        for response in responses
        if response.tokens is not None
        for value in _values(response.tokens, overlay)
        if value is not None
    )
    return max(found, default=0.0)


def shown_tokens(
    tokens: TokenValues, overlay: str, limit: float, most: int | None = None
) -> list[ShownToken]:
    """Return the first ``most`` tokens with an overlay; its colours are strongest at ``limit``."""
    values = _values(tokens, overlay) or [None] * len(tokens.texts)
    shown = []
    for place, text in enumerate(tokens.texts[:most]):
        style, strength = f"part-{tokens.parts[place]}" if overlay == "part" else "", 0.0
        value = values[place]
        if value is not None and limit > 0:
            style = "amount" if overlay == "entropy" else "plus" if value >= 0 else "minus"
            strength = min(1.0, abs(value) / limit)
        shown.append(ShownToken(shown_text(text) or EMPTY, style, strength, _said(tokens, place)))
    return shown


def _values(tokens: TokenValues, overlay: str) -> Sequence[float | None]:
    known = {"advantage": tokens.advantage, "entropy": tokens.entropy, "mismatch": tokens.mismatch}
    return known.get(overlay, ())


def _said(tokens: TokenValues, place: int) -> str:
    """Return the values of a token, a line each."""
    said = [tokens.parts[place]]
    for name, form in (("advantage", "{:+.3f}"), ("entropy", "{:.3f}"), ("mismatch", "{:+.5f}")):
        value = _values(tokens, name)[place]
        said.append(f"{name} " + ("–" if value is None else form.format(value)))
    return "\n".join(said)
