"""``syngrpo config``: prints the keys of a configuration, what they mean, and a JSON schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syngrpo.cli.shared_options import Overrides

if TYPE_CHECKING:
    from syngrpo.config.explain import Key

config_app = typer.Typer(help="Show and explain what a configuration file can hold.")


@config_app.command("show")
def show(
    config: Annotated[
        Path | None,
        typer.Argument(help="A configuration file. Without one, all defaults are shown."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print all keys with their defaults, or a configuration file with all defaults filled in."""
    from syngrpo.config import dump_config, load_config
    from syngrpo.config.explain import defaults

    if config is not None:
        print(dump_config(load_config(config, overrides or [])), end="")
    else:
        _print(defaults())


@config_app.command("explain")
def explain(
    key: Annotated[
        str, typer.Argument(help="A key or a section: trainer.steps, pool, data.train.")
    ],
) -> None:
    """Print what a key means, with its type, bounds and default."""
    from syngrpo.config.explain import explain as explain_key

    _print(explain_key(key))


@config_app.command("schema")
def schema() -> None:
    """Print a JSON schema of configuration files, from which editors complete keys.

    Save it and put "# yaml-language-server: $schema=FILE" on the first line of a configuration.
    """
    import json

    from syngrpo.config.explain import schema as schema_of_runs

    print(json.dumps(schema_of_runs(), indent=2))


def _print(keys: list[Key]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for key in keys:
        console.print(f"[bold]{key.name}[/bold] = {key.default}", soft_wrap=True)
        console.print(f"    {key.kind}. {key.description}".rstrip(), markup=False, soft_wrap=True)
