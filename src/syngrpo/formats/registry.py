"""Every data format that can be read, by name, and the one function that reads any of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from syngrpo.formats.problems import OnBadRow, Problems
from syngrpo.sample import EncodedImage, InputError, Sample

__all__ = [
    "FORMATS",
    "READERS",
    "Problems",
    "ReadOptions",
    "Reader",
    "detect",
    "distinct_images",
    "drop_undecodable",
    "image_key",
    "read_dataset",
]


@dataclass(frozen=True)
class ReadOptions:
    """How a data set is read.

    ``images``: image folders, empty for the format's own; ``task``: rec, ovd, …, where a format
    can give several; ``split``: a part of the data set (RefCOCO, Hugging Face); ``columns``: our
    field → their column (Hugging Face); ``negatives``: absent classes asked for in an image, drawn
    with ``seed`` (COCO); ``decode``: decode every image once; ``limit``: no more samples than that.
    """

    images: tuple[Path, ...] = ()
    task: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    negatives: int = 2
    seed: int = 0
    on_bad_row: OnBadRow = "error"
    decode: bool = False
    limit: int | None = None


Reader = Callable[[Path, ReadOptions, Problems], list[Sample]]
"""Reads one file or folder. A defect goes to ``problems.add`` and its row is left out; every id is
claimed with ``problems.claim``. Raises InputError only when nothing can be read at all."""


def _read_jsonl(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    from syngrpo.formats.jsonl import read_rows

    return read_rows(path, options, problems)


def _read_vlm_r1(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    from syngrpo.formats.vlm_r1 import read_vlm_r1

    return read_vlm_r1(path, options, problems)


def _read_coco(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    from syngrpo.formats.coco import read_coco

    return read_coco(path, options, problems)


def _read_refcoco(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    from syngrpo.formats.refcoco import read_refcoco

    return read_refcoco(path, options, problems)


def _read_hugging_face(path: Path, options: ReadOptions, problems: Problems) -> list[Sample]:
    from syngrpo.formats.hugging_face import read_hugging_face

    return read_hugging_face(path, options, problems)


READERS: dict[str, Reader] = {
    "jsonl": _read_jsonl,
    "vlm-r1": _read_vlm_r1,
    "coco": _read_coco,
    "refcoco": _read_refcoco,
    "hf": _read_hugging_face,
}
FORMATS = ("auto", *READERS)


def detect(path: Path) -> str:
    """The format of a file or folder, by its name and first bytes.

    Raises InputError when it does not exist or is none of the formats.
    """
    if path.is_dir():
        return _detect_folder(path)
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is not None and path.exists():
        return kind
    first = _first_line(path)
    if path.suffix.lower() == ".json":
        if first.lstrip().startswith(b"["):
            raise InputError(f"{path} is one JSON list; write one JSON object a line (JSONL)")
        return "coco"
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return "jsonl"  # its reader says what is wrong with the line
    return "vlm-r1" if isinstance(row, dict) and "conversations" in row else "jsonl"


_BY_SUFFIX = {".parquet": "hf", ".arrow": "hf", ".p": "refcoco", ".pkl": "refcoco"}


def _detect_folder(path: Path) -> str:
    if any(path.glob("refs(*).p")):
        return "refcoco"
    marks = ("dataset_info.json", "dataset_dict.json", "state.json", "metadata.jsonl")
    if any((path / mark).exists() for mark in marks) or any(path.rglob("*.parquet")):
        return "hf"
    raise InputError(
        f"folder {path} is no data set in a known format; name a file, or say the format: "
        f"one of {', '.join(READERS)}"
    )


def _first_line(path: Path) -> bytes:
    """The first line that is not blank, cut off at 1 MB."""
    try:
        with path.open("rb") as file:
            while line := file.readline(1_000_000):
                if line.strip():
                    return line
    except FileNotFoundError:
        raise InputError(
            f"data file {path} does not exist; check the path (a data set of the Hugging Face hub "
            "needs format: hf)"
        ) from None
    except OSError as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None
    return b""


def read_dataset(
    path: Path | Sequence[Path],
    format: str = "auto",
    options: ReadOptions | None = None,
    problems: Problems | None = None,
) -> list[Sample]:
    """All samples of a data set that may lie in several files, in order.

    With as many image folders as files they belong together one by one; else every file looks
    its images up in all of them.

    Defects go to ``problems``, to be told by whoever made it, with those of other data sets.
    Without, they are told here: raises InputError, or logs a warning (``options.on_bad_row``).
    Raises InputError for an unknown format in either case.
    """
    options = options or ReadOptions()
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; use one of: {', '.join(FORMATS)}")
    gathered = problems if problems is not None else Problems()
    files = [path] if isinstance(path, Path) else list(path)
    paired = len(files) == len(options.images) > 1
    samples: list[Sample] = []
    for number, file in enumerate(files):
        images = (options.images[number],) if paired else options.images
        left = None if options.limit is None else options.limit - len(samples)
        if left != 0:
            own = replace(options, images=images, limit=left)
            with _garbage_kept():
                samples += _read_file(file, format, own, gathered)
    if options.decode:
        samples = drop_undecodable(samples, gathered)
    if problems is None:
        gathered.settle(options.on_bad_row)
    return samples


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Millions of small objects that all live on: the collector, which looks at them again and
    again as they grow, would take a fifth of the time and find nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read_file(path: Path, format: str, options: ReadOptions, problems: Problems) -> list[Sample]:
    """One file; a file without any good row is refused, whatever is done about bad rows."""
    before = len(problems.found)
    try:
        name = detect(path) if format == "auto" else format
        samples = READERS[name](path, options, problems)[: options.limit]
    except InputError as error:
        problems.refuse(str(error))
        return []
    if not samples and len(problems.found) == before:
        problems.refuse(f"{path} is empty, or has nothing for the task; see docs/data.md")
    elif not samples and options.on_bad_row == "skip":
        problems.refuse(f"{path} holds no good row")
    return samples


def drop_undecodable(
    samples: Sequence[Sample], problems: Problems, advance: Callable[[], object] = lambda: None
) -> list[Sample]:
    """Decodes every image once; the samples whose image can be. The others are defects.

    ``advance`` is called once for each of ``distinct_images``.
    """
    images = distinct_images(samples)
    broken: dict[Path | int, str] = {}
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter lock
        for start in range(0, len(images), _AT_ONCE):
            batch = images[start : start + _AT_ONCE]
            for image, problem in zip(batch, threads.map(_decode_problem, batch), strict=True):
                if problem is not None:
                    broken[image_key(image)] = problem
                advance()
    for sample in samples:
        problem = broken.get(image_key(sample.image))
        if problem is not None:
            problems.add(problems.place_of(sample.id), problem)
    return [sample for sample in samples if image_key(sample.image) not in broken]


def distinct_images(samples: Sequence[Sample]) -> list[EncodedImage]:
    """Each image once, however many samples ask about it."""
    return list({image_key(sample.image): sample.image for sample in samples}.values())


def image_key(image: EncodedImage) -> Path | int:
    """The same for the same image: its file, else the object."""
    return image.path if image.path is not None else id(image)


_AT_ONCE = 64
"""Images handed to the threads together: a hundred thousand at once would be many promises."""


def _decode_problem(image: EncodedImage) -> str | None:
    try:
        image.decode()
    except InputError as error:
        return str(error)
    return None
