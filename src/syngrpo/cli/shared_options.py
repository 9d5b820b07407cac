"""Options that several commands have, the functions that read them, and the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from syngrpo.data_server.ray_cluster import RayCluster
    from syngrpo.workflow.on_ray.ray_launch import Ranks

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override a key: trainer.steps=16; may be repeated. syngrpo config explain says what "
        "keys mean.",
    ),
]
DataFormat = Annotated[
    str,
    typer.Option(
        help="Format of the files; auto: by name and content. syngrpo extensions lists all."
    ),
]
DataImages = Annotated[
    list[str] | None, typer.Option(help="Image folder; may be repeated, or joined by colons.")
]
DataTask = Annotated[
    str | None,
    typer.Option(help="The task, where a format can give several. syngrpo extensions lists them."),
]
DataSplit = Annotated[
    str | None, typer.Option(help="A part of the data set, where the format has any: val, testA, …")
]
DataLimit = Annotated[int | None, typer.Option(min=1, help="Most samples to read.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        help="For tables: the column of a field, as OUR_FIELD=THEIR_COLUMN; may be repeated."
    ),
]
BoxOrder = Annotated[
    str | None,
    typer.Option(
        help="What the four numbers of a box are: xyxy, xywh, cxcywh or yxyx. "
        "Default: as usual in the format."
    ),
]
Coordinates = Annotated[
    str | None, typer.Option(help="What the numbers of a box count: pixels, 0-1 or 0-1000.")
]
Negatives = Annotated[
    int | None,
    typer.Option(
        min=0, help="Absent classes asked for in each image, in formats without questions."
    ),
]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Another key of the source or its format: KEY=VALUE, as in YAML, for example "
        "exif=stored; may be repeated."
    ),
]


def require_dashboard() -> None:
    """Raise InputError if the dashboard's library is not installed."""
    from importlib.util import find_spec

    from syngrpo.sample import InputError

    if find_spec("nicegui") is None:
        raise InputError("the dashboard needs NiceGUI; run: pip install 'syngrpo[dashboard]'")


def source_keys(**given: Any) -> dict[str, Any]:
    """Return the keys of a data source from options of the command line, without those not given.

    ``columns`` is a list of OUR_FIELD=THEIR_COLUMN, ``option`` a list of KEY=VALUE. Raises
    InputError for any other text.
    """
    keys = {key: value for key, value in given.items() if value not in (None, "auto", [])}
    if "columns" in keys:
        keys["columns"] = _column_mapping(keys["columns"])
    if "images" in keys:
        from syngrpo.formats.source import paths_in

        keys["images"] = [path for text in keys["images"] for path in paths_in(text)]
    return keys | option_values(keys.pop("option", None))


def _column_mapping(pairs: list[str]) -> dict[str, str]:
    from syngrpo.sample import InputError

    mapping = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise InputError(f"--columns {pair}: write it as OUR_FIELD=THEIR_COLUMN")
        mapping[field] = column
    return mapping


Host = Annotated[
    str, typer.Option(help="Address to listen on. If other hosts can reach it, it needs a token.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")]

WorkerGenerator = Annotated[
    str | None,
    typer.Option(help="The generator that paints: its name, or package.module:name."),
]
GeneratorOption = Annotated[
    list[str] | None,
    typer.Option(help="One option of the generator, such as steps=4; may be repeated."),
]
UserTask = Annotated[
    list[str] | None,
    typer.Option(help="A task of your own as package.module:name; may be repeated."),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Put the workers on this Ray cluster: auto, HOST:PORT or ray://HOST:PORT.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        help="With --ray: GPUs that each worker reserves, below 1 a share of one. "
        "Default: 1 if the cluster has GPUs and the generator wants one, else 0."
    ),
]

TrainerRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Train on this Ray cluster, from one of its nodes: auto or HOST:PORT.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="With --ray: number of processes, each on a GPU if there are any. Default: 1."
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        min=0, help="With --ray: how often all are restarted after one has died. Default: 3."
    ),
]


def trainer_ranks(address: str | None, processes: int | None, restarts: int | None) -> Ranks | None:
    """Return what --ray, --processes and --restarts say, None without --ray.

    Raises InputError when one of the others is given without --ray, and when Ray is not installed.
    """
    from syngrpo.data_server.ray_cluster import import_ray
    from syngrpo.sample import InputError

    given = {"processes": processes, "restarts": restarts}
    chosen = {name: value for name, value in given.items() if value is not None}
    if address is None:
        if chosen:
            raise InputError(f"--{min(chosen)} is for a run on a Ray cluster; give --ray ADDRESS")
        return None
    import_ray()
    from syngrpo.workflow.on_ray.ray_launch import Ranks

    return Ranks(address, **chosen)


def ray_cluster(address: str | None, gpus: float | None) -> RayCluster | None:
    """Return what --ray and --gpus-per-worker say, None without --ray. Raises InputError for
    --gpus-per-worker without --ray."""
    from syngrpo.data_server.ray_cluster import RayCluster
    from syngrpo.sample import InputError

    if address is None and gpus is not None:
        raise InputError("--gpus-per-worker is for workers on a Ray cluster; give --ray ADDRESS")
    return None if address is None else RayCluster(address, gpus)


def option_values(given: list[str] | None) -> dict[str, Any]:
    """Parse the texts KEY=VALUE of --option, values as in YAML. Raises InputError."""
    from yaml import YAMLError, safe_load

    from syngrpo.sample import InputError

    options: dict[str, Any] = {}
    for text in given or []:
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise InputError(f"--option {text}: write it as key=value")
        try:
            options[key] = safe_load(value)
        except YAMLError:
            raise InputError(f"--option {text}: the value is not YAML") from None
    return options


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error if that is a terminal.

    Yield a function that is called once for each of the ``total`` things when it is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
