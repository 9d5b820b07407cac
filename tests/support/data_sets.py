"""Reading and writing a data set in one call, as tests want it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from syngrpo.formats import FORMATS, Problems, ReadRequest
from syngrpo.formats.base import OnBadRow
from syngrpo.formats.export import write_dataset
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset
from syngrpo.options import read_options
from syngrpo.sample import Sample
from syngrpo.tasks import get_task


def read_data(
    path: Path | Sequence[Path],
    format: str = "auto",
    problems: Problems | None = None,
    on_bad_row: OnBadRow = "error",
    check_images: bool = False,
    **keys: Any,
) -> list[Sample]:
    """Read the source with this path, format and keys."""
    source = source_from_keys({"path": path, "format": format, **keys})
    return read_dataset(source, problems, on_bad_row, check_images)


def read_file(path: Path, format: str, problems: Problems, **keys: Any) -> list[Sample]:
    """Call the reader of a format itself: it raises what makes the whole file unreadable."""
    source = source_from_keys({"path": path, "format": format, **keys})
    known = FORMATS.get(format)
    task = get_task(source.task) if source.task is not None else None
    own = read_options(known.options, source.options, "a source")
    return known.read(path, ReadRequest(source.images, task, source.limit, own), problems)


def write_data(samples: Sequence[Sample], path: Path) -> None:
    """Write samples as our JSONL to a file, the images to the folder ``images`` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        write_dataset(samples, Path(folder) / "out", "jsonl")
        (path.parent / "images").mkdir(exist_ok=True)
        for image in (Path(folder) / "out" / "images").iterdir():
            image.replace(path.parent / "images" / image.name)
        (Path(folder) / "out" / "data.jsonl").replace(path)
