"""``syngrpo data``: checks data sets, and converts them from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syngrpo.cli.data_sources import is_config, parts_in, source_of
from syngrpo.cli.shared_options import (
    BoxOrder,
    Columns,
    Coordinates,
    DataFormat,
    DataImages,
    DataLimit,
    DataSplit,
    DataTask,
    FormatOption,
    Negatives,
    progress_bar,
    source_keys,
)
from syngrpo.serving.wording import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image
    from rich.console import Console
    from rich.table import Table

    from syngrpo.formats import Problems
    from syngrpo.formats.box_doubt import BoxDoubt
    from syngrpo.formats.data_folders import Section
    from syngrpo.formats.source import Source
    from syngrpo.formats.survey import Survey
    from syngrpo.formats.turned_labels import TurnedLabels
    from syngrpo.sample import Sample
    from syngrpo.workflow.run_options import RunOptions

SHOWN_CLASSES = 10
"""Number of classes named in the table, the most frequent ones."""
SIDE_BY_SIDE = 3
"""Number of sources in one table, so that it fits into a terminal."""

DEFAULT_SHEET = Path("data-check.png")

data_app = typer.Typer(help="Check and convert data sets.")


@data_app.command()
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files or folders of one data set, FORMAT:[TASK:]SPLIT of a format that generates "
            "samples, or a configuration (YAML)."
        ),
    ],
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Negatives = None,
    boxes: BoxOrder = None,
    coordinates: Coordinates = None,
    option: FormatOption = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Draw six images with their boxes to this PNG file. Without it, they are drawn to "
            "data-check.png when the boxes look as if they were meant in another way."
        ),
    ] = None,
) -> None:
    """Read a whole data set, decode every image, and print what is in it and what is wrong.

    With a configuration (YAML), all of its sources are read.
    """
    from rich.console import Console

    from syngrpo.formats import Problems

    problems = Problems()
    given = source_keys(
        format=format,
        images=images,
        task=task,
        split=split,
        columns=columns,
        negatives=negatives,
        boxes=boxes,
        coordinates=coordinates,
        option=option,
    )
    if len(files) == 1 and is_config(Path(files[0])):
        surveys, samples, places = _check_config(Path(files[0]), given, problems)
    else:
        surveys, samples, places = _check_files(source_of(files, given, "data check"), problems)
    _draw(problems, samples, places, sheet)
    _tell(surveys, problems, Console(soft_wrap=True, highlight=False))


def _check_files(
    source: Source, problems: Problems
) -> tuple[dict[str, Survey], list[Sample], dict[str, str]]:
    """Return the counts of a source, of each part of a folder that has several, and the samples
    with their places."""
    parts, told = parts_in(source, problems)
    every: list[Sample] = []
    places: dict[str, str] = {}
    surveys = {}
    for part, own in (parts or {"": source}).items():
        problems.forget_ids()
        samples, surveys[part] = _survey(own, part or "the files", problems)
        places |= _places(samples, problems)
        every += samples
    if parts:
        each = "one by one: " if len(parts) > 1 else ""
        problems.note(f"checked {each}{', '.join(parts)}; a source of a configuration {told}")
    return surveys, every, places


def _check_config(
    path: Path, given: dict[str, Any], problems: Problems
) -> tuple[dict[str, Survey], list[Sample], dict[str, str]]:
    """Return the counts of each source of a configuration, and the seed samples with their
    places."""
    from syngrpo.config import load_config
    from syngrpo.formats.data_folders import HELD_OUT, TRAIN
    from syngrpo.formats.source_reading import every_source
    from syngrpo.sample import InputError

    if given:
        raise InputError(f"{', '.join(given)}: a config says that of its sources; edit {path}")
    options = load_config(path)
    titles = {TRAIN: "train", HELD_OUT: "held out"}
    seeds: list[Sample] = []
    places: dict[str, str] = {}
    held_out: dict[str, list[Sample]] = {}
    surveys = {}
    sources = every_source(options.data.train, options.evaluation.sets, problems)
    for (section, name), source in sources:
        samples, found = _survey(source, name, problems, section)
        surveys[f"{titles[section]}: {name}"] = found
        if section == TRAIN:
            seeds += samples
            places |= _places(samples, problems)
        else:
            held_out[name] = samples
    _check_sizes(options, seeds, held_out, problems)
    return surveys, seeds, places


def _places(samples: Sequence[Sample], problems: Problems) -> dict[str, str]:
    """Return where samples are in the data, by their ids."""
    return {sample.id: problems.place_of(sample.id) for sample in samples}


def _check_sizes(
    options: RunOptions, seeds: list[Sample], held_out: dict[str, list[Sample]], problems: Problems
) -> None:
    """Report the samples whose images the model of the configuration refuses for their size."""
    from syngrpo.policy import model_directory
    from syngrpo.policy.loading import model_files
    from syngrpo.sample import InputError
    from syngrpo.workflow.size_check import refused_for_size

    path, _ = model_directory(options.model.path)
    try:
        model = model_files(path, options.model.family, options.model.max_pixels)
    except InputError as error:
        problems.note(f"the sizes of images were not compared with those the model takes: {error}")
        return
    for refusal in refused_for_size(options, model, seeds, held_out):
        problems.refuse(refusal.told(), "images")


def _survey(
    source: Source, name: str, problems: Problems, section: Section = "evaluation.sets"
) -> tuple[list[Sample], Survey]:
    """Read a source and decode its images with a progress bar. Return the readable samples and
    their counts."""
    from syngrpo.formats.image_check import drop_undecodable
    from syngrpo.formats.image_files import distinct_images
    from syngrpo.formats.source_reading import read_dataset
    from syngrpo.formats.survey import survey

    samples = read_dataset(source, problems, section=section)
    with progress_bar(f"decoding {name}", len(distinct_images(samples))) as advance:
        samples = drop_undecodable(samples, problems, advance)
    return samples, survey(samples)


def _draw(
    problems: Problems, samples: Sequence[Sample], places: Mapping[str, str], sheet: Path | None
) -> None:
    """Draw images with boxes that may be meant in another way than they are read, and note where.
    If there are none, draw some of all images to ``sheet`` if that is given. ``places``: where the
    samples are in the data, by their ids."""
    from syngrpo.formats.label_sheet import label_sheet, sample_sheet

    path = sheet or DEFAULT_SHEET
    doubts: list[BoxDoubt | TurnedLabels] = [*problems.doubts, *problems.turned]
    doubts = list({doubt.message(): doubt for doubt in doubts}.values())
    for number, doubt in enumerate(doubts):
        own = path if number == 0 else path.with_stem(f"{path.stem}-{number + 1}")
        shows = f"images of {doubt.path} with their boxes"
        if any(doubt is one and not one.only_stored for one in problems.turned):
            shows += (
                ", turned by their EXIF orientation and as they are stored; the numbers cannot "
                "show which view is meant, so compare the two"
            )
        _save(label_sheet(doubt), own, shows, problems)
    if sheet is not None and not doubts:
        drawn = sample_sheet(samples, places.__getitem__)
        _save(drawn, sheet, "some images with their boxes", problems)
    if sheet is not None or doubts:
        _note_letters(samples, doubts, problems)


def _note_letters(
    samples: Sequence[Sample], doubts: Sequence[BoxDoubt | TurnedLabels], problems: Problems
) -> None:
    """Note that the labels of a sheet have letters that no font of this computer has."""
    from syngrpo.formats.sheet_text import undrawable, written

    labels = {thing.label for sample in samples for thing in sample.objects}
    labels |= {sample.question for sample in samples}
    labels |= {box.label for doubt in doubts for box in doubt.seen}
    if label := undrawable(sorted(labels)):
        problems.note(
            f"no font here has all letters of {label}: the sheet shows them as code points, "
            f"{written(label, 12)[0]}; install a font that has them, such as Noto Sans of its "
            "script, or look with syngrpo data view"
        )


def _save(drawn: Image.Image | None, path: Path, shows: str, problems: Problems) -> None:
    if drawn is None:
        problems.note(f"{path} is not written: no image with boxes can be drawn")
        return
    try:
        drawn.save(path, format="PNG")
    except OSError as error:
        problems.note(f"{path} cannot be written ({error.strerror}); set --sheet")
        return
    problems.note(f"{path} shows {shows}")


def _tell(surveys: dict[str, Survey], problems: Problems, console: Console) -> None:
    """Print the table, the notes, and a line for every defect. Raises InputError for a defect."""
    lines = problems.lines()
    if any(found.rows for found in surveys.values()):
        names = list(surveys)
        for start in range(0, len(names), SIDE_BY_SIDE):
            console.print(_table({n: surveys[n] for n in names[start : start + SIDE_BY_SIDE]}))
    for note in dict.fromkeys([*problems.notes, *_rotations(problems)]):
        console.print(f"note: {note}", markup=False)
    _refuse(lines, problems, console)
    rows = sum(survey.rows for survey in surveys.values())
    doubted = "; but see the notes on its boxes" if problems.doubts or problems.turned else ""
    console.print(f"ok: nothing is wrong with {count(rows, 'row')}{doubted}")


def _refuse(lines: Sequence[str], problems: Problems, console: Console) -> None:
    """Raise InputError if there are defects: with the only line, or after all lines are printed."""
    from syngrpo.sample import InputError

    if len(lines) == 1:
        raise InputError(lines[0])
    for line in lines:
        console.print(line, markup=False)
    if lines:
        first = _advice(problems)
        raise InputError(
            f"the data have {count(len(lines), 'error')}; they are listed above{first}"
        )


def _advice(problems: Problems) -> str:
    """Return what to do first about boxes that are meant in another way than they are read."""
    turned = [one for one in problems.turned if one.only_stored]
    every: list[BoxDoubt | TurnedLabels] = [*problems.doubts, *turned]
    doubts = {(one.advice, one.path): None for one in every}
    several = len({path for _, path in doubts}) > 1
    advice = [f"{what} for {path}" if several else what for what, path in doubts]
    return f"; first {', and '.join(advice)}, and check again" if advice else ""


def _rotations(problems: Problems) -> list[str]:
    """Return a note when images have an EXIF orientation."""
    if not problems.rotated:
        return []
    what = f"{count(len(problems.rotated), 'image')} with an EXIF orientation"
    if any(one.only_stored for one in problems.turned):  # it is said what to do
        return [f"{what}: used as viewers show them, turned"]
    return [
        f"{what}: used as viewers show them, turned; boxes must be in pixels of the turned image; "
        "if they are for the images as stored, set exif: stored (--option exif=stored)"
    ]


def _table(surveys: dict[str, Survey]) -> Table:
    from rich.table import Table

    columns = {name: _cells(found) for name, found in surveys.items()}
    table = Table(show_header="" not in surveys)
    table.add_column("")
    for name in columns:
        table.add_column(name)
    for head in next(iter(columns.values())):
        table.add_row(head, *(cells[head] for cells in columns.values()))
    return table


def _cells(found: Survey) -> dict[str, str]:
    """Return the cells of a column by the head of their row. Every survey has the same heads."""
    from rich.markup import escape

    from syngrpo.formats.survey import spread

    boxes = len(found.area_shares)
    cells = {
        "rows": str(found.rows),
        "tasks": _counts(found.tasks.most_common()),
        "question kinds": _counts(found.kinds.most_common()),
        "with nothing to find": str(found.nothing_to_find),
        "images": str(len(found.sizes)),
        "width": "",
        "height": "",
        "boxes": f"{boxes}, {found.masks} with a mask",
        "boxes an image": "",
        "share of the image": "",
        "classes": f"{len(found.classes)}: "
        + _counts(found.classes.most_common(SHOWN_CLASSES))
        + (", …" if len(found.classes) > SHOWN_CLASSES else ""),
    }
    if found.sizes:
        for head, side in (("width", 0), ("height", 1)):
            cells[head] = _range(spread([size[side] for size in found.sizes]))
        cells["boxes an image"] = _range(spread(found.boxes_per_image))
    if boxes:
        low, middle, high = spread(found.area_shares)
        cells["share of the image"] = f"{low:.2%} to {high:.2%}, median {middle:.2%}"
    return {head: escape(text) for head, text in cells.items()}


def _counts(counts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts) or "–"


def _range(values: tuple[float, float, float]) -> str:
    low, middle, high = values
    return f"{low:g} to {high:g}, median {middle:g}"


@data_app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A data file or folder, a hub name, or FORMAT:[TASK:]SPLIT of a format that "
            "generates samples."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new directory for the data set.")],
    to: Annotated[str, typer.Option(help="The format to write. syngrpo extensions lists them.")],
    format: DataFormat = "auto",
    images: DataImages = None,
    task: DataTask = None,
    split: DataSplit = None,
    columns: Columns = None,
    negatives: Negatives = None,
    boxes: BoxOrder = None,
    coordinates: Coordinates = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed, for formats that draw samples.")
    ] = None,
    limit: DataLimit = None,
    option: FormatOption = None,
) -> None:
    """Convert a data set to another format."""
    from rich.console import Console

    from syngrpo.formats import Problems, writable_format
    from syngrpo.formats.data_folders import TRAIN
    from syngrpo.formats.export import write_dataset
    from syngrpo.formats.source import source_from_argument
    from syngrpo.formats.source_reading import read_dataset

    writable_format(to)
    drawn = source_keys(seed=seed, limit=limit, option=option)
    of_files = source_keys(
        format=format,
        images=images,
        task=task,
        split=split,
        columns=columns,
        negatives=negatives,
        boxes=boxes,
        coordinates=coordinates,
    )
    problems, console = Problems(), Console(stderr=True, soft_wrap=True, highlight=False)
    given = source_from_argument(source, of_files | drawn, drawn)
    samples = read_dataset(given, problems, section=TRAIN)
    for note in problems.notes:
        console.print(f"note: {note}", markup=False)
    _refuse(problems.lines(), problems, console)
    with progress_bar("writing", len(samples)) as advance:
        write_dataset(samples, out, to, advance)
    print(f"{count(len(samples), 'sample')} in {out}")
