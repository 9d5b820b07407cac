"""What the "full" prompts of all tasks have in common: the three parts of a response."""

from __future__ import annotations

CORNERS = "x1, y1 is the top-left and x2, y2 the bottom-right corner"

_FULL = """\
{ask} Afterwards picture {keep} in a completely different place.
Reply with these three parts, one after the other, and with nothing else:
<think>{think}</think>
<answer>{answer}</answer>
<scene>the new place around the {things}</scene>
{explain} In <scene>, say in one or two sentences what the walls and the floor look like, their \
materials, patterns and colours, where the light comes from and how strong it is, and what clutter \
lies around. {stay}\
"""


def full_prompt(
    *,
    ask: str,
    think: str,
    answer: str,
    explain: str,
    keep: str,
    stay: str,
    things: str = "labelled objects",
) -> str:
    """The text that teaches any model the response format.

    ``ask`` is the question, ``think`` and ``answer`` stand for the parts of that name, ``explain``
    says how to write the answer; ``keep`` and ``things`` name what keeps its pixels, ``stay`` says
    what may not be added. None of them may give the answer away.
    """
    return _FULL.format(
        ask=ask, think=think, answer=answer, explain=explain, keep=keep, stay=stay, things=things
    )
