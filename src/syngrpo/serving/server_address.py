"""The address of a server of ours: the data server or the rollout server."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServerAddress:
    """``url`` is ``http://host:port``; ``token`` is the bearer token that the server asks for, None
    when it asks for none."""

    url: str
    token: str | None = field(default=None, repr=False)
