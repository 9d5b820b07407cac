"""Names of classes as OVD questions need them: joined by commas, so none may hold one."""

from __future__ import annotations

from collections.abc import Iterable

from syngrpo.formats.problems import Problems


def class_name(text: str) -> str:
    """The name with spaces for commas: ``"dog, sitting"`` → ``"dog sitting"``."""
    return " ".join(text.replace(",", " ").split())


def note_renamed(names: Iterable[str], where: str, problems: Problems) -> None:
    """Says which of the names hold a comma and are used without it."""
    renamed = [name for name in dict.fromkeys(names) if "," in name]
    if renamed:
        problems.note(
            f"{where}: class names hold no comma here: "
            + "; ".join(f"{name!r} is called {class_name(name)!r}" for name in renamed[:5])
            + (f"; and {len(renamed) - 5} more" if len(renamed) > 5 else "")
        )
