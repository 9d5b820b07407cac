"""Our own data format: JSONL, one sample a line, images beside it. See ``docs/data.md``."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from PIL import Image

from syngrpo.formats.rows import ImageFolder, parse_row, row_to_sample, sample_to_row
from syngrpo.sample import EncodedImage, InputError, Sample

SHOWN_BAD_ROWS = 20

logger = logging.getLogger(__name__)


def read_jsonl(
    path: Path,
    image_root: Path | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
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
    images = ImageFolder(image_root if image_root is not None else path.parent)
    samples: dict[int, Sample] = {}
    problems: dict[int, str] = {}
    lines_by_id: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            sample = row_to_sample(parse_row(line), images)
            if sample.id in lines_by_id:
                raise InputError(f"id {sample.id!r} was used in line {lines_by_id[sample.id]}")
            lines_by_id[sample.id] = number
            samples[number] = sample
        except InputError as error:
            problems[number] = str(error)
    if decode:
        for number, problem in _undecodable(samples).items():
            problems[number] = problem
            del samples[number]
    if not samples and not problems:
        raise InputError(f"{path} is empty; write one sample a line, as docs/data.md says")
    _report(path, problems, on_bad_row, any_good=bool(samples))
    return list(samples.values())


def write_jsonl(samples: Iterable[Sample], path: Path, image_dir: Path) -> None:
    """Writes samples to ``path`` and their images, once each, to ``image_dir``.

    ``image_dir`` must lie in the folder of ``path``, so that ``read_jsonl(path)`` finds the images;
    raises InputError when it does not. Folders are created. The file appears when it is complete.
    """
    folder = path.parent.resolve()
    if not image_dir.resolve().is_relative_to(folder):
        raise InputError(f"image folder {image_dir} must lie inside {folder}, beside {path.name}")
    image_dir.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        for sample in samples:
            stored = _store(sample.image, image_dir.resolve())
            row = sample_to_row(sample, stored.relative_to(folder).as_posix())
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    unfinished.replace(path)


def _lines(path: Path) -> Iterable[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        raise InputError(f"data file {path} does not exist; check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"data file {path} cannot be read ({error.strerror})") from None


def _undecodable(samples: dict[int, Sample]) -> dict[int, str]:
    """Line number → what is wrong, for samples whose image cannot be decoded."""
    images = list({id(sample.image): sample.image for sample in samples.values()}.values())
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter lock
        problems = dict(zip(map(id, images), threads.map(_decode_problem, images), strict=True))
    return {
        number: problem
        for number, sample in samples.items()
        if (problem := problems[id(sample.image)]) is not None
    }


def _decode_problem(image: EncodedImage) -> str | None:
    try:
        image.decode()
    except InputError as error:
        return str(error)
    return None


def _report(path: Path, problems: dict[int, str], on_bad_row: str, any_good: bool) -> None:
    if not problems:
        return
    shown = [f"{path}:{number}: {problems[number]}" for number in sorted(problems)]
    more = len(shown) - SHOWN_BAD_ROWS
    rest = f"; and {more} more bad rows" if more > 0 else ""
    listing = "; ".join(shown[:SHOWN_BAD_ROWS]) + rest
    if on_bad_row == "error" or not any_good:
        raise InputError(listing)
    logger.warning("%s: skipped %d bad rows: %s", path, len(shown), listing)


def _store(image: EncodedImage, image_dir: Path) -> Path:
    data = image.read()
    with Image.open(io.BytesIO(data)) as header:
        suffix = {"JPEG": "jpg"}.get(str(header.format), str(header.format).lower())
    stored = image_dir / f"{image.digest()[:32]}.{suffix}"
    if not stored.exists():
        unfinished = stored.with_name(stored.name + ".unfinished")
        unfinished.write_bytes(data)
        unfinished.replace(stored)
    return stored
