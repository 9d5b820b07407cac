"""Our own data format: JSONL, one sample a line, images beside it. See ``docs/data.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from syngrpo.formats.image_folder import ImageFolder
from syngrpo.formats.out.images import suffix_of
from syngrpo.formats.problems import OnBadRow, Problems
from syngrpo.formats.registry import ReadOptions, read_dataset
from syngrpo.formats.rows import parse_row, row_to_sample, sample_to_row
from syngrpo.sample import EncodedImage, InputError, Sample
from syngrpo.serving.atomic_files import atomic_file, atomic_write


def read_jsonl(
    path: Path,
    image_root: Path | None = None,
    on_bad_row: OnBadRow = "error",
    decode: bool = False,
) -> list[Sample]:
    """All samples of a data file, in order.

    Image paths in the file are relative to ``image_root``, by default the folder of the file.
    Every row is checked, and of every image the header; with ``decode`` every image is decoded
    once, which also finds truncated ones.

    Raises InputError naming file and line of the bad rows (the first 20, and their number), or,
    with ``on_bad_row="skip"``, logs that as a warning and leaves them out; InputError also when
    there is no such file or no (good) row in it.
    """
    images = (image_root,) if image_root is not None else ()
    options = ReadOptions(images=images, on_bad_row=on_bad_row, decode=decode)
    return read_dataset(path, "jsonl", options)


def read_rows(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    """The good rows of one file, a ``registry.Reader``; images are not decoded."""
    images = ImageFolder(*(options.images or (path.parent,)))
    samples: list[Sample] = []
    for place, line in data_lines(path):
        if len(samples) == options.limit:
            break
        try:
            sample = row_to_sample(parse_row(line), images)
        except InputError as error:
            problems.add(place, str(error))
            continue
        if problems.claim(sample.id, place):
            samples.append(sample)
    return samples


def data_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that are not blank, each with its place, ``path:number`` from 1.

    Raises InputError when the file cannot be read.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{name}:{number}", line
    except FileNotFoundError:
        raise InputError(f"data file {path} does not exist; check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None


def write_jsonl(samples: Iterable[Sample], path: Path, image_dir: Path) -> None:
    """Writes samples to ``path`` and their images, once each, to ``image_dir``.

    ``image_dir`` must lie in the folder of ``path``, so that ``read_jsonl(path)`` finds the images;
    raises InputError when it does not. Folders are created. The file appears when it is complete.
    """
    folder = path.parent.resolve()
    if not image_dir.resolve().is_relative_to(folder):
        raise InputError(f"image folder {image_dir} must lie inside {folder}, beside {path.name}")
    image_dir.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for sample in samples:
            stored = _store(sample.image, image_dir.resolve())
            row = sample_to_row(sample, stored.relative_to(folder).as_posix())
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _store(image: EncodedImage, image_dir: Path) -> Path:
    data = image.read()
    stored = image_dir / f"{image.digest()[:32]}.{suffix_of(data)}"
    if not stored.exists():
        atomic_write(stored, data)
    return stored
