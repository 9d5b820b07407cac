"""Writes RESULTS.md. Every number in it is computed from the files in ``results/``.

``write_report`` puts the sections together. Each function that yields texts makes one section;
``claims``, ``tables`` and ``plots`` make what is inside. Without data a section is left out.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.rooms.claims import BASE, OURS, RANDOM, claims, claims_of_part
from experiments.rooms.compare import Finished
from experiments.rooms.finding import DEPENDENCE, LABELS, read_finding
from experiments.rooms.matrix import SETS, Cell, Folders, Matrix
from experiments.rooms.plots import write_plots
from experiments.rooms.result import Result, outdated, read_results
from experiments.rooms.settings import CREDITS, STARTER, Settings
from experiments.rooms.tables import (
    accuracy_table,
    claims_table,
    dependence_table,
    format_table,
    gains_table,
    images_table,
    movement_table,
    reliability_table,
    set_metrics_table,
    surroundings_table,
    table,
    time_table,
    training_table,
    words_table,
)
from syngrpo.evaluation.prediction_metrics import headlines
from syngrpo.pages.run_headlines import duration
from syngrpo.sample import InputError

FILE = "RESULTS.md"
PLOTS = "plots"
ALT = {
    "accuracy": "accuracy of every method at the end, with 95 % intervals",
    "gains": "sampled gain of every method over plain GRPO, with 95 % intervals",
    "collapse": "response diversity, token entropy and groups without variance over the steps",
    "scaling": "sampled accuracy against steps, mean over the sets, with 95 % intervals",
    "descriptions": "where the pictures lie on the axes of the view, the light and the decoys",
}
"""Name of a plot → its alternative text."""
SAID = {
    STARTER: "the model before training",
    "grpo": "plain GRPO on the seed images",
    "grpo-clip-higher": "GRPO with a higher upper clip and two updates for each rollout",
    "noisy-rollout": "half of each group answers the picture with noise",
    "executable-transforms": "crops, rotations and colours instead of new pictures",
    "random-scene": "pictures painted from random descriptions of the whole range",
    "random-scene-tuned": "from random ones of a range tuned by hand",
    "random-scene-neutral": "from random ones that change neither view nor light",
    "syn-grpo": "from descriptions that the model writes and that are rewarded, ρ from a moving "
    "baseline",
    "syn-grpo-no-smoothing": "ρ is D itself",
    "syn-grpo-parent": "ρ from the D of the parent",
    "syn-grpo-siblings": "ρ from the D of the other children of the group",
}
"""Method → what it does."""


def write_report(matrix: Matrix, folders: Folders) -> Path:
    """Write ``RESULTS.md`` and its plots from the finished cells, and return its path.

    The report names the cells whose result is missing or outdated, and uses only the others. Raises
    InputError if no valid result exists.
    """
    results, old = _valid_and_outdated(matrix, folders)
    if not results:
        raise InputError(
            f"{folders.results} holds no result of this matrix; run python -m experiments.rooms run"
        )
    settings = matrix.settings
    finished = Finished(results, settings.tasks, list(settings.methods), _sets(matrix))
    plots = write_plots(finished, folders.root / PLOTS)
    labels = read_finding(folders, LABELS)
    parts = [
        *_head(matrix, results, old),
        *_claims(finished, _finished_part(matrix, folders, "longer"), labels),
        *_accuracy(finished, plots),
        *_credit(finished),
        *_training(finished, plots),
        *_growth(plots),
        *_part(matrix, folders, "longer", "Trained for longer"),
        *_part(matrix, folders, "images", "With more seed images"),
        *_images(finished, folders, plots),
        *_dependence(read_finding(folders, DEPENDENCE)),
        *_labels(labels),
        "## Time\n",
        time_table(finished),
        *_circumstances(matrix, results),
    ]
    path = folders.root / FILE
    path.write_text("\n".join(part.rstrip("\n") + "\n" for part in parts), encoding="utf-8")
    return path


def _valid_and_outdated(
    matrix: Matrix, folders: Folders
) -> tuple[dict[Cell, Result], dict[Cell, list[str]]]:
    """Return the valid results, and cell → reasons for the outdated ones."""
    found = read_results(matrix, folders)
    why: dict[Cell, list[str]] = {}
    for cell, result in found.items():
        try:
            reasons = outdated(result, matrix)
        except InputError as error:
            reasons = [str(error)]
        if reasons:
            why[cell] = reasons
    return {cell: result for cell, result in found.items() if cell not in why}, why


def _head(
    matrix: Matrix, results: Mapping[Cell, Result], old: Mapping[Cell, list[str]]
) -> Iterator[str]:
    """Yield the title, what the experiment consists of, and which cells are missing."""
    settings, cells = matrix.settings, matrix.cells()
    yield "# Does the data evolve, and does the model get better for it?\n"
    yield (
        "Written by `python -m experiments.rooms report` from the files in `results/`; no number "
        f"is typed. {len(results)} of {len(cells)} cells: {len(settings.tasks)} tasks, "
        f"{len(settings.methods)} methods, seeds {', '.join(map(str, settings.seeds))}"
        f"{_further(settings)}. A training seed decides the {settings.seed_images} seed images, "
        "too. A row's mean is over all seeds that it has, a difference over those that both have. "
        "Intervals are 95 % bootstrap intervals over seeds and held-out samples, paired between "
        "methods on both; they are somewhat narrow with few seeds, and with one there is none "
        "(`statistics.py`).\n"
    )
    yield _terms(settings)
    yield from _left_out(matrix, results, old)


def _terms(settings: Settings) -> str:
    """Return a text that explains the tasks, sets, methods and numbers."""
    methods = "; ".join(
        f"`{name}`: {said}" for name, said in SAID.items() if name in settings.methods
    )
    return (
        "- Tasks: `rec`, the box of the thing that a phrase names, accuracy is the share of boxes "
        "with IoU ≥ 0.5; `ovd`, the boxes of all things of the named classes; `isr`, questions "
        "about a room. The accuracy of `ovd` and `isr` is the mean accuracy reward. All are in per "
        "cent, greedy or sampled at temperature 1.\n"
        "- Sets: `test` has plain rooms as in training, `ood` has surroundings and words that no "
        "other set has, `hard` and `ood-hard` are the same seen from afar or in bad light, with "
        "further things.\n"
        f"- Methods: {methods}.\n"
        "- *D* is the response diversity of a group, ρ the reward of a description, which depends "
        "on the D of its image. A group *without variance* teaches nothing "
        "([docs/method.md](../../docs/method.md)).\n"
    )


def _further(settings: Settings) -> str:
    """Return a text that names the methods with more seeds than the others. It is empty if there
    are none."""
    if not settings.further_seeds:
        return ""
    more = "; ".join(f"{m} {', '.join(map(str, s))}" for m, s in settings.further_seeds.items())
    return f", and where intervals overlap more ({more})"


def _sets(matrix: Matrix) -> list[str]:
    """Return the names of the held-out sets."""
    return list(matrix.options(matrix.cells()[0]).evaluation.sets)


def _left_out(
    matrix: Matrix, results: Mapping[Cell, Result], old: Mapping[Cell, list[str]]
) -> Iterator[str]:
    """Yield the names of the missing cells, and of the outdated ones with their reasons."""
    cells = matrix.cells()
    missing = [cell for cell in cells if cell not in results and cell not in old]
    if missing:
        begun = {cell.method for cell in (*results, *old)}
        names = dict.fromkeys(
            cell.name if cell.method in begun else f"all of {cell.method}" for cell in missing
        )
        yield f"**Not finished**: {', '.join(names)}.\n"
    if old:
        listed = "; ".join(f"{cell.name} ({', '.join(why)})" for cell, why in old.items())
        yield f"**Outdated, left out**: {listed}.\n"


def _finished_part(matrix: Matrix, folders: Folders, name: str) -> Finished | None:
    """Return the valid results of a further part of the experiment, None if there are none."""
    part = matrix.part(name)
    results, _ = _valid_and_outdated(part, folders.part(name))
    return _finished(part, results)


def _finished(part: Matrix, results: Mapping[Cell, Result]) -> Finished | None:
    if not results:
        return None
    return Finished(results, part.settings.tasks, list(part.settings.methods), _sets(part))


def _claims(
    finished: Finished, longer: Finished | None, labels: Mapping[str, Any] | None
) -> Iterator[str]:
    yield "## The claims\n"
    for heading, found in claims(finished, longer, labels).items():
        if found:
            yield f"### {heading}\n"
            yield claims_table(found)
    yield (
        "Means are over the tasks for which both methods are finished, pairwise over the seeds "
        "that both have. “The interval reaches beyond”: the value is enough, but its interval "
        "holds values that are not. How far descriptions move: over the axes of the view, the "
        "light and the decoys in three bins each, the change of the share of the pictures times "
        "how far the D there, or the accuracy that random-scene with the same seed has there, is "
        "from that of all pictures of the same sixth of the run (`axes.py`). The drift is the mean "
        "of ρ in the last third of a run minus that in the first, in standard deviations within a "
        "third. “In the same time” compares median step times. Why a number is short, what the KL "
        "term of the descriptions costs, and the measurements that show it: "
        "[docs/experiments.md](../../docs/experiments.md).\n"
    )


def _accuracy(finished: Finished, plots: list[Path]) -> Iterator[str]:
    yield "## Held-out accuracy\n"
    yield from _plot("gains", plots)
    yield from _plot("accuracy", plots)
    yield from _by_set(finished, "### {}")
    for task in finished.tasks:
        titles = {metric: title for metric, title in headlines(task).items() if "greedy" in metric}
        if len(titles) > 1 and any(c.task == task for c in finished.results):
            yield f"### {task}, further greedy metrics, mean over seeds, %\n"
            yield set_metrics_table(finished, task, titles)


def _by_set(finished: Finished, heading: str) -> Iterator[str]:
    """Yield tables of the accuracy and the format at the end of the training, for each set.
    ``heading`` is the format of a heading, with {} in place of its text."""
    for how in ("sampled", "greedy"):
        yield heading.format(f"Mean over the tasks, {how}: {BASE}, and the others − {BASE}") + "\n"
        yield gains_table(finished, how)
        for set_name in finished.sets:
            yield heading.format(f"{set_name}, {how}") + "\n"
            yield accuracy_table(finished, set_name, how)
    yield heading.format("Full format, sampled, mean over seeds (the lowest), %") + "\n"
    yield format_table(finished)


def _credit(finished: Finished) -> Iterator[str]:
    """Yield the comparison of what a description is compared with, on the sets for tuning."""
    results = {c: one for c, one in finished.results.items() if c.method in CREDITS}
    if not {c.method for c in results}.issuperset(CREDITS):
        return
    tuned = Finished(results, finished.tasks, CREDITS, SETS["dev"])
    yield "## Credit for descriptions\n"
    yield (
        f"What D of a description's image is compared with (`method.credit`): with {OURS} the "
        "moving baseline, then the parent and the siblings. On the sets for tuning, which no other "
        "number here is from.\n"
    )
    for set_name in tuned.sets:
        yield f"### {set_name}, sampled\n"
        yield accuracy_table(tuned, set_name, "sampled", base=OURS)


def _training(finished: Finished, plots: list[Path]) -> Iterator[str]:
    yield "## Diversity, entropy, groups without variance\n"
    yield from _plot("collapse", plots)
    yield (
        "“Late” is the last tenth of the run; intervals are over seeds. The entropy is that of all "
        "tokens of a response. Descriptions have more of it than answers, and the methods differ "
        "in how many responses describe, so compare a method's entropy only with its own start.\n"
    )
    for task in finished.tasks:
        if any(c.task == task and c.method != STARTER for c in finished.results):
            yield f"### {task}\n"
            yield training_table(finished, task)


def _growth(plots: list[Path]) -> Iterator[str]:
    if any(path.stem == "scaling" for path in plots):
        yield "## Accuracy against steps\n"
        yield from _plot("scaling", plots)


def _part(matrix: Matrix, folders: Folders, name: str, title: str) -> Iterator[str]:
    """Yield the section about the cells of a further part."""
    part, place = matrix.part(name), folders.part(name)
    results, old = _valid_and_outdated(part, place)
    settings, whole = part.settings, matrix.settings
    changed = [
        f"{now} {what} instead of {before}"
        for what, now, before in (
            ("steps", settings.steps, whole.steps),
            ("seed images", settings.seed_images, whole.seed_images),
        )
        if now != before
    ]
    yield f"## {title}\n"
    yield (
        f"The same with {' and '.join(changed)}, for {', '.join(settings.methods)}, seeds "
        f"{', '.join(map(str, settings.seeds))}. {len(results)} of {len(part.cells())} cells.\n"
    )
    yield from _left_out(part, results, old)
    finished = _finished(part, results)
    if finished is None:
        return
    yield claims_table(claims_of_part(finished))
    yield from _by_set(finished, "{}:")
    for path in write_plots(finished, place.root / PLOTS):
        yield f"{ALT[path.stem].capitalize()}:\n"
        yield f"![{ALT[path.stem]}]({path.relative_to(folders.root)})\n"
    yield _provenance(results)


def _images(finished: Finished, folders: Folders, plots: list[Path]) -> Iterator[str]:
    yield "## What was painted\n"
    yield from _plot("descriptions", plots)
    if any(path.stem == "descriptions" for path in plots):
        yield (
            f"Each picture counts at its first visit. On the left of each task: the mean third of "
            f"the axis in which the pictures of {OURS} (blue) and {RANDOM} (green) lie, 0 if all "
            "are in the lowest third (unchanged), 1 if all are in the highest, with a band from "
            f"the lowest to the highest seed. On the right: the accuracy of {OURS} on its pictures "
            "of the highest third (solid) and of the lowest (dotted).\n"
        )
    if finished.compared(OURS, RANDOM):
        yield "How far the descriptions move, last third minus first:\n"
        yield movement_table(finished)
    for task in finished.tasks:
        counts = images_table(finished, task)
        if not counts:
            continue
        yield f"### {task}\n"
        yield counts
        for cell, result in finished.results.items():
            sheet = folders.sheet(cell)
            if cell.task == task and sheet.exists():
                yield f"`{cell.name}`, early (above) and late (below):\n"
                yield f"![{cell.name}, early and late]({sheet.relative_to(folders.root)})\n"
                if cell.method == OURS:
                    yield from _words(cell, result)


def _words(cell: Cell, result: Result) -> Iterator[str]:
    """Yield which words the descriptions of a run used early and late, with examples."""
    shares = words_table(result)
    if shares:
        yield f"Share of the descriptions of `{cell.name}` that use a word, first and last third:\n"
        yield shares
    for end in ("early", "late"):
        if examples := result.synthesis["examples"][end]:
            yield f"{end.capitalize()}, for example: {'; '.join(f'“{e}”' for e in examples)}.\n"


def _dependence(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    yield "## What D depends on\n"
    yield (
        "Only what a description decides can be learned from the diversity reward. Share of the "
        "variance of a synthetic sample's D at its first visit that samples left out of the "
        "prediction are told by: the time of the visit; of what is left, its family; of what is "
        "then left, the words of its description (ridge regression, `dependence.py`; 0 or less is "
        "nothing).\n"
    )
    yield dependence_table(found["runs"])
    if "words" in found:
        yield (
            "Children of other seed images, painted from random descriptions and answered by the "
            "starter. Reliability: the correlation of D of eight responses with D of eight others. "
            "Words: the share of the variance that the words of a description tell, on families "
            "that the regression has not seen (`words.py`):\n"
        )
        yield reliability_table(found["words"])
    yield (
        "The starter's D and sampled accuracy on the same plain scenes rendered anew in other "
        "surroundings, so that the light falls on the things, too (95 % interval):\n"
    )
    yield surroundings_table(found["surroundings"])


def _labels(labels: Mapping[str, Any] | None) -> Iterator[str]:
    if labels is None:
        return
    yield "## Labels\n"
    rows = [
        [
            task,
            f"{one['true']} of {one['checked']}",
            " … ".join(f"{100 * bound:.1f}" for bound in one["interval"]),
            ", ".join(f"{what} {n}" for what, n in one["faults"].items()) or "none",
            one["source"],
        ]
        for task, one in labels["tasks"].items()
    ]
    yield table(["task", "true", "95 % interval, %", "faults", "samples"], rows)
    yield (
        "Against the renderer's own knowledge of every scene (`truth.py`): things, boxes, masks "
        "and pixels in the stored view and light; the answer worked out anew; nothing but the "
        "described room around the things, and no decoy of a class that the labels or the question "
        "name; a room type that is asked for can be seen. Commit "
        f"{labels['circumstances']['commit']}.\n"
    )


def _plot(name: str, plots: list[Path]) -> Iterator[str]:
    """Yield the image of the plot with this name, if it was drawn."""
    for path in plots:
        if path.stem == name:
            yield f"![{ALT[name]}]({PLOTS}/{path.name})\n"


def _circumstances(matrix: Matrix, results: Mapping[Cell, Result]) -> Iterator[str]:
    yield "## How it was made\n"
    yield _provenance(results)
    yield "A commit with `+` had changes that were not in it. The cells of the first seed:\n"
    first = min(matrix.settings.seeds)
    commands = [r.command for c, r in results.items() if c.seed == first]
    yield "```bash\n" + "\n".join(shell_commands(commands)) + "\n```\n"


def shell_commands(commands: Sequence[str]) -> Iterator[str]:
    """Yield the commands as lines for bash. The ``--set`` options that all training commands have
    are in the first line, as the array ``shared``."""
    split = [shlex.split(command) for command in commands]
    values = [[b for a, b in pairwise(words) if a == "--set"] for words in split]
    of_trainings = [found for found in values if found]
    shared = [v for v in next(iter(of_trainings), []) if all(v in found for found in of_trainings)]
    yield f"shared=({' '.join(f'--set {shlex.quote(value)}' for value in shared)})"
    for words, found in zip(split, values, strict=True):
        if not found:  # an evaluation
            yield shlex.join(words)
            continue
        before = shlex.join(words[: words.index("--set")])
        own = [f"--set {shlex.quote(value)}" for value in found if value not in shared]
        yield " ".join([before, '"${shared[@]}"', *own])


def _provenance(results: Mapping[Cell, Result]) -> str:
    """Return a list of the commits, machines and versions, and the time that the cells took."""
    facts = []
    for title, key in (("commits", "commit"), ("machines", "machine"), ("versions", "versions")):
        found = Counter(result.circumstances[key] for result in results.values())
        listed = "; ".join(f"{text} ({n} cells)" for text, n in found.most_common())
        facts.append(f"- {title}: {listed}")
    total = sum(result.circumstances["seconds"] for result in results.values())
    resumed = sum(result.circumstances["attempts"] > 1 for result in results.values())
    facts.append(f"- {duration(total)}, one cell after the other; {resumed} cells were interrupted")
    return "\n".join(facts) + "\n"
