"""Says which files of a run the pages may show as they are: plain ones of the run itself."""

from __future__ import annotations

import os
from pathlib import Path

from syngrpo.sample import InputError
from syngrpo.serving.run_files import require_plain


def require_own(path: Path) -> None:
    """Raise InputError for a folder, a pipe or a device, which might make its reader wait for ever,
    and for a link to a file outside of the folder of ``path``: whoever can write into a run could
    show any file of the user who runs the dashboard. There need not be anything. Raises OSError for
    a folder that cannot be searched."""
    require_plain(path)
    top = os.path.realpath(path.parent)
    if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(top):
        raise InputError(f"{path} is a link to a file outside of the run, and is not read")
