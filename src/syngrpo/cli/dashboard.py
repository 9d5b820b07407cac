"""``syngrpo dashboard``: shows runs in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syngrpo.cli.shared_options import Host, Port, require_dashboard


def dashboard(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directories, or folders of them. Default: runs."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8430,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the token that visitors must give. Default: none on 127.0.0.1, "
            "otherwise a new one, which is printed."
        ),
    ] = None,
    allow_actions: Annotated[
        bool,
        typer.Option(
            "--allow-actions",
            help="Let visitors put jobs that were given up back into the queue. They always need a "
            "token then.",
        ),
    ] = False,
) -> None:
    """Show runs in the browser while they go on: curves, responses, images, the gate, the queue.

    It only reads, unless --allow-actions is given, so that it can be started and stopped at any
    time, also on another machine that has the folder mounted.
    """
    from functools import partial

    require_dashboard()
    from syngrpo.dashboard.server import serve_dashboard
    from syngrpo.serving.bearer_token import read_token

    say = partial(print, flush=True)
    token = read_token(token_file)
    serve_dashboard(folders or [Path("runs")], host, port, token, say, allow_actions)
