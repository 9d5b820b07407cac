"""Keys that had another name, so that an old configuration file is refused with the new one."""

from __future__ import annotations

_RENAMED = {
    ("trainer", "micro_tokens"): "trainer.token_budget",
    ("rollout", "importance_cap"): "rollout.tis_cap",
    ("method", "relative_to_parent"): "method.credit: parent (true) or baseline (false)",
}


def renamed_key(location: tuple[str, ...]) -> str | None:
    """Return the line for a key that has another name now, None for any other key."""
    key = ".".join(location)
    if location in _RENAMED:
        return f"{key} has another name now: {_RENAMED[location]}"
    in_source = location[:2] in (("data", "train"), ("evaluation", "sets"))
    if in_source and len(location) == 4 and location[3] == "rooms":
        place = ".".join(location[:3])
        return (
            f"{key} has another name now: {place}.format is rooms and {place}.split the split, for "
            "example {format: rooms, split: train, count: 200}"
        )
    return None
