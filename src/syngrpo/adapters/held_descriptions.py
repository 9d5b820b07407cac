"""Settled descriptions for trainers that learn from groups of one size.

A trainer of this kind takes a settled description as a response that is complete already. Its
groups have G responses each, so settled descriptions wait here until there are G of them; such a
group takes the place of a prompt.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from syngrpo.data_server.client import DataClient, Settled, as_lists
from syngrpo.method.ledger import PendingDescription
from syngrpo.sample import InputError, with_pixels

log = logging.getLogger(__name__)


class HeldDescriptions:
    """The settled descriptions that wait, oldest first."""

    def __init__(self) -> None:
        self._held: list[Settled] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, settled: Sequence[Settled]) -> None:
        """Keep settled descriptions."""
        self._held += settled

    def put_back(self, group: Sequence[Settled]) -> None:
        """Keep a group that was taken and not learned from; it comes first again."""
        self._held[:0] = group

    def take(self, size: int) -> list[Settled]:
        """Remove and return a group of ``size``, empty while there are fewer."""
        if len(self._held) < size:
            return []
        group, self._held = self._held[:size], self._held[size:]
        return group

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the descriptions as JSON data."""
        return [
            as_lists({"pending": vars(one.pending), "reward": one.reward, "weight": one.weight})
            for one in self._held
        ]

    def load_state_dict(self, state: Sequence[dict[str, Any]], client: DataClient) -> None:
        """Restore what ``state_dict`` returned. The parents are read from the client's pool; a
        description whose parent is not there is left out, with a warning."""
        held = [_loaded(one, client) for one in state]
        self._held = [one for one in held if one is not None]


def _loaded(kept: dict[str, Any], client: DataClient) -> Settled | None:
    pending = PendingDescription(**kept["pending"])
    pending.scene_token_span = (pending.scene_token_span[0], pending.scene_token_span[1])
    try:
        parent = with_pixels(client.get(pending.parent_id))
    except InputError as error:
        log.warning("a description of %s is not learned: %s", pending.parent_id, error)
        return None
    return Settled(parent, pending, kept["reward"], kept["weight"])
