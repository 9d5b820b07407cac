"""Puts all commands together and runs one of them. ``main`` is the entry point of ``syngrpo``.

Exit status: 0 for success; 2 for wrong usage or input, with one line on standard error that says
what is wrong and where; 1 for any other error, with its traceback.
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from syngrpo.cli.config import config_app
from syngrpo.cli.dashboard import dashboard
from syngrpo.cli.data import data_app
from syngrpo.cli.data_view import view
from syngrpo.cli.doctor import doctor
from syngrpo.cli.evaluate import evaluate_app
from syngrpo.cli.list_extensions import COMMANDS, extensions
from syngrpo.cli.pool import pool_app
from syngrpo.cli.rollout_server import rollout_server
from syngrpo.cli.serve import serve
from syngrpo.cli.train import report, train
from syngrpo.cli.worker import worker
from syngrpo.extensions import unreadable_packages

USAGE_ERROR = 2

app = typer.Typer(
    help="Syn-GRPO: reinforcement learning for visual perception on data that keeps evolving.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Print the version if it is asked for."""
    if version:
        typer.echo(f"syngrpo {importlib.metadata.version('syngrpo')}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


for command in (train, serve, worker, rollout_server, report, dashboard, doctor, extensions):
    app.command()(command)
app.add_typer(evaluate_app, name="evaluate")
data_app.command()(view)
app.add_typer(data_app, name="data")
app.add_typer(pool_app, name="pool")
app.add_typer(config_app, name="config")


for name, group in COMMANDS.working():  # commands of installed packages
    app.add_typer(group, name=name)


def main() -> NoReturn:
    """Run the command that the arguments name. Print an error of the user in one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show every script
        sys.stdout.reconfigure(errors="backslashreplace")
    for package in unreadable_packages():
        problem = f"the entry_points.txt of package {package} is malformed"
        print(f"note: {problem}, so its extensions are not found; reinstall it", file=sys.stderr)
    try:
        status = app(prog_name="syngrpo", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "syngrpo"
        problem = error.format_message().replace("Value error, ", "")
        _fail(f"{problem} ({command} --help says more)")
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        message = _fault_of_user(error)
        if message is None:
            raise
        _fail(message)
    sys.exit(status if isinstance(status, int) else 0)


def _fault_of_user(error: Exception) -> str | None:
    """Return the message of an error that the user can fix, None for any other error."""
    from syngrpo.sample import InputError

    if isinstance(error, InputError):
        return str(error)
    if unreadable_packages() and _raised_in_package_metadata(error):
        torn = " and ".join(unreadable_packages())
        return (
            "this command needs a library (torch, pydantic) that cannot be imported while the "
            f"entry_points.txt of package {torn} is malformed; reinstall or uninstall that package"
        )
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; free some space or write elsewhere, then run again"
    unusable = (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    )
    if isinstance(error, OSError) and error.filename and error.errno in unusable:
        return f"{error.filename} cannot be used ({error.strerror}); check the path"
    if type(error).__name__ == "OutOfMemoryError":  # that of torch, which need not be imported here
        first = str(error).strip().partition(". GPU")[0]
        return (
            f"the device has too little memory ({first}); use a smaller model or model.dtype "
            "bfloat16, train adapters (model.lora: {}), or share the weights among several GPUs "
            "(trainer.sharding: full)"
        )
    return None


def _raised_in_package_metadata(error: Exception) -> bool:
    """Return whether the standard library raised the error while it read what is installed."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename == importlib.metadata.__file__ for frame in frames)


def _fail(message: str) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(USAGE_ERROR)
