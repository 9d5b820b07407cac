"""Keys that do something on a page, such as the arrows that go from one sample to the next."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from nicegui import events, ui


def on_keys(actions: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Call an action when its key is pressed, except while somebody writes into a field. The page
    does not scroll by such a key."""

    async def pressed(event: events.KeyEventArguments) -> None:
        action = actions.get(event.key.name)
        held = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if action is not None and event.action.keydown and not held:
            await action()

    keyboard = ui.keyboard(pressed, ignore=["input", "select", "textarea"])
    keyboard.on(
        "key",
        js_handler=f"(key) => {{ if ({json.dumps(list(actions))}.includes(key.key) "
        "&& !key.ctrlKey && !key.altKey && !key.metaKey) key.event.preventDefault(); }",
    )
