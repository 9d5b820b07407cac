"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from syngrpo.data_server.ray_cluster import RayCluster
    from syngrpo.workflow.on_ray.ray_launch import Ranks

DataTask = Annotated[
    str | None, typer.Option(help="rec, ovd or isr, where the format can give several.")
]
DataSplit = Annotated[str | None, typer.Option(help="refcoco, hf: a part of it: val, testA, …")]
Columns = Annotated[
    list[str] | None,
    typer.Option(help="hf: OUR_FIELD=THEIR_COLUMN; may be repeated."),
]


def column_mapping(pairs: list[str] | None) -> dict[str, str]:
    """``question=problem`` → {"question": "problem"}. Raises InputError for any other text."""
    from syngrpo.sample import InputError

    mapping = {}
    for pair in pairs or ():
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise InputError(f"--columns {pair}: write it as OUR_FIELD=THEIR_COLUMN")
        mapping[field] = column
    return mapping


WorkerGenerator = Annotated[
    str | None,
    typer.Option(help="What the workers paint with: a generator's name, or package.module:name."),
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
        "By itself 1 where the cluster has GPUs and the generator wants one, else 0."
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
        min=1, help="With --ray: processes that train together, each on a GPU if there are. 1."
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        min=0, help="With --ray: how often they go on by themselves after one has died. 3."
    ),
]


def trainer_ranks(address: str | None, processes: int | None, restarts: int | None) -> Ranks | None:
    """What --ray, --processes and --restarts say; None without --ray.

    Raises InputError for the others without it, and when Ray is not installed.
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
    """What --ray and --gpus-per-worker say. Raises InputError for the second without the first."""
    from syngrpo.data_server.ray_cluster import RayCluster
    from syngrpo.sample import InputError

    if address is None and gpus is not None:
        raise InputError("--gpus-per-worker is for workers on a Ray cluster; give --ray ADDRESS")
    return None if address is None else RayCluster(address, gpus)


def generator_options(given: list[str] | None) -> dict[str, Any]:
    """``key=value`` texts as options of a generator; values are written as in YAML."""
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
