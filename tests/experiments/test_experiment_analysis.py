"""The experiment on the rooms world: statistics, cells, report, labels, and what diversity depends
on."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from experiments.rooms import labels, truth
from experiments.rooms.axes import AXES, BINS, PARTS, levels_of, movement
from experiments.rooms.claims import Claim, claims
from experiments.rooms.compare import Finished
from experiments.rooms.dependence import (
    CHANGES,
    SCENES_SEED,
    FirstVisits,
    changed_samples,
    explained,
)
from experiments.rooms.matrix import Cell, Folders, Matrix, chosen, differences
from experiments.rooms.persistence import persistence
from experiments.rooms.report import shell_commands, write_report
from experiments.rooms.result import read_result, read_results, write_result
from experiments.rooms.settings import CREDITS, SETTINGS
from experiments.rooms.standing import Standing, seconds_left, standing
from experiments.rooms.statistics import Estimate, Resampling
from experiments.rooms.tables import claims_table, gains_table
from experiments.rooms.wear import early_and_late, painted_descriptions
from PIL import Image
from planted_matrix import DIVERSITY, MORE_DIVERSITY, plant, planted
from scipy.stats import bootstrap

from syngrpo.boxes import decode_mask
from syngrpo.method import METHODS
from syngrpo.painting.compositing import composite, default_feather
from syngrpo.painting.frame import Frame, framed_pixels
from syngrpo.painting.light import Light, lit
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.sample import EncodedImage, InputError
from syngrpo_rooms.dataset import rooms_samples, rooms_scene
from syngrpo_rooms.descriptions import random_description

# --- statistics


def test_over_samples_the_interval_is_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 5, (1, 300)) / 4
    ours = np.clip(base + rng.choice((0, 0, 0.25), (1, 300)), 0, 1)
    resampling = Resampling(number=20000)
    twice = [resampling.over_both(np.repeat(one, 2, axis=0), "s", "n") for one in (ours, base)]
    found = twice[0] - twice[1]
    expected = bootstrap(
        ((ours - base)[0],), np.mean, method="percentile", n_resamples=20000, rng=rng
    ).confidence_interval
    assert found.value == pytest.approx((ours - base).mean())
    assert found.interval == pytest.approx((expected.low, expected.high), abs=2e-3)
    alone = resampling.over_both(ours, "s", "n")
    assert alone.interval is None and (alone - twice[1]).interval is None
    assert Claim("a", 5.0, None, "points", seeds=alone.seeds).verdict == "one seed alone"


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_spread_over_seeds_is_the_standard_error_of_their_mean(seeds: int) -> None:
    values = np.random.default_rng(1).normal(size=seeds)
    draws = Resampling(number=20000).over_seeds(values, "s").draws
    assert draws.mean() == pytest.approx(values.mean(), abs=0.02)
    assert draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(seeds), rel=0.03)


def test_a_planted_difference_is_covered_as_often_as_promised() -> None:
    """Seeds and samples each have an effect of their own on the difference. Leaving out either
    would miss the true difference far more often."""
    rng = np.random.default_rng(2)
    covered = covered_without_seeds = 0
    for trial in range(200):
        of_seed, of_sample = rng.normal(0, 0.03, (8, 1)), rng.normal(0, 0.3, (1, 150))
        difference = 0.05 + of_seed + of_sample + rng.normal(0, 0.3, (8, 150))
        resampling = Resampling(number=400, seed=trial)
        covered += _holds(resampling.over_both(difference, "s", "n"), 0.05)
        pooled = np.repeat(difference.mean(axis=0, keepdims=True), 2, axis=0)
        covered_without_seeds += _holds(resampling.over_both(pooled, "s", "n"), 0.05)
    assert 178 <= covered <= 200
    assert covered > covered_without_seeds


def _holds(estimate: Estimate, value: float) -> bool:
    assert estimate.interval is not None
    low, high = estimate.interval
    return low <= value <= high


def test_paired_estimates_stay_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.uniform(0, 1, (1, 200)) + rng.normal(0, 0.2, (3, 1))
    resampling = Resampling(number=500)
    better, base = (resampling.over_both(v, "rec/0,1,2", "rec/test") for v in (hard + 0.1, hard))
    assert (better - base).interval == pytest.approx((0.1, 0.1))
    elsewhere = resampling.over_both(hard, "ovd/0,1,2", "ovd/test")
    far = (better - elsewhere).interval
    assert far is not None and far[1] - far[0] > 0.1


# --- the matrix


def test_cells_are_chosen_by_task_method_and_seed() -> None:
    cells = Matrix(SMALL).cells()
    assert len(cells) == len(set(cells)) == 3 * (len(SMALL.methods) * 3 + 3)
    assert [c.method for c in chosen(cells, ["task=rec,seed=3"])] == list(SMALL.further_seeds)
    assert {c.task for c in chosen(cells, ["task=rec", "task=isr"])} == {"rec", "isr"}
    assert chosen(cells, ["task=ovd,method=grpo,seed=2"]) == [Cell("ovd", "grpo", 2)]
    with pytest.raises(InputError, match="no such cell"):
        chosen(cells, ["method=ppo"])
    with pytest.raises(InputError, match="write it as"):
        chosen(cells, ["rec"])


def test_bash_reads_the_printed_commands_as_those_that_ran() -> None:
    matrix = Matrix(SETTINGS, "held-out")
    ran = [["syngrpo", *matrix.command(c, Path("RUN"), False)] for c in matrix.cells()[:36]]
    shared, *lines = shell_commands([shlex.join(words) for words in ran])
    print_words = "syngrpo() { printf '%s\\0' syngrpo \"$@\"; printf '\\n'; }"
    script = "\n".join([print_words, shared, *lines])
    printed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    read = [line.rstrip("\0").split("\0") for line in printed.stdout.splitlines()]
    assert [sorted(words) for words in read] == [sorted(words) for words in ran]


def test_methods_differ_in_the_method_alone_and_tuning_sees_dev_alone() -> None:
    matrix = Matrix()
    ours = matrix.options(Cell("rec", "syn-grpo", 1))
    for method in SETTINGS.methods:
        options = matrix.options(Cell("rec", method, 1))
        for section in ("data", "rollout", "evaluation", "model", "pool", "synthesis"):
            if section != "synthesis" or METHODS.get(options.method.name).paints:
                found = getattr(options, section)
                if section == "synthesis":  # random scenes of another range
                    found = replace(found, describer=ours.synthesis.describer)
                expected = getattr(ours, section)
                if section == "evaluation":  # credit is also measured on the sets for tuning
                    tuning = list(found.sets)[4:]
                    assert tuning == (["dev", "dev-hard"] if method in CREDITS else [])
                    found, expected = replace(found, sets={}), replace(expected, sets={})
                assert found == expected, method
        if method != "grpo-clip-higher":  # of one update a rollout it would be plain GRPO
            assert options.trainer == ours.trainer, method
    held_out, tuning = matrix.options(Cell("isr", "grpo", 0)), Matrix(split="dev")
    splits = {source.options["split"] for source in held_out.evaluation.sets.values()}
    assert splits == {"test", "ood", "hard", "ood-hard"}
    sets = tuning.options(Cell("isr", "grpo", 0)).evaluation.sets
    assert [source.options["split"] for source in sets.values()] == ["dev", "dev-hard"]
    assert held_out.data.train[0].options["split"] == "train"
    assert Folders.of("dev").results != Folders.of("held-out").results


def test_a_changed_value_is_a_difference() -> None:
    before = {"method.beta": 0.0, "trainer.steps": 300, "pool.gone": 1}
    now = {"method.beta": 0.1, "trainer.steps": 300, "method.new": 5}
    assert differences(before, now) == ["method.beta 0.0, now 0.1", "pool.gone 1, now None"]


def test_the_time_left_is_estimated_from_similar_cells() -> None:
    cells = {
        Cell("rec", "grpo", 0): Standing("done", share=1.0, seconds=100.0),
        Cell("rec", "starter", 0): Standing("done", share=1.0, seconds=10.0),
        Cell("rec", "grpo", 1): Standing("running", share=0.5),
        Cell("rec", "syn-grpo", 0): Standing("to come"),
    }
    assert seconds_left(cells, {}, jobs=1) == pytest.approx(50 + 100)
    assert seconds_left(cells, {}, jobs=2) == pytest.approx(75)
    assert seconds_left({Cell("rec", "grpo", 0): Standing("to come")}, {}, 1) is None


# --- the report

SMALL = replace(
    SETTINGS,
    held_out=60,
    steps=40,
    evaluations=1,
    seeds=(0, 1, 2),
    further_seeds={"grpo": (3,), "random-scene": (3,), "syn-grpo": (3,)},
)


def test_the_report_finds_the_planted_effects(tmp_path: Path) -> None:
    matrix, folders = Matrix(SMALL), Folders(tmp_path)
    plant(matrix, folders)
    finished = Finished(
        read_results(matrix, folders), SMALL.tasks, list(SMALL.methods), ("test", "ood")
    )
    longer = matrix.part("longer")
    plant(longer, folders.part("longer"))
    more = Finished(
        read_results(longer, folders.part("longer")),
        SMALL.tasks,
        list(longer.settings.methods),
        ("test", "ood"),
    )
    groups = claims(finished, more, None)
    found = {claim.text: claim for group in groups.values() for claim in group}
    seeds = SMALL.all_seeds
    assert seeds == SMALL.seeds_of("grpo") > SMALL.seeds_of("noisy-rollout") == SMALL.seeds
    better = "better than {}, sampled, mean over all sets"
    assert f"rec: {len(seeds)} seeds" in found[better.format("random-scene")].note
    assert "rec: 3 seeds" in found[better.format("noisy-rollout")].note
    diversity = found["response diversity in training, all groups: syn-grpo over grpo"]
    assert diversity.value == pytest.approx(100 * MORE_DIVERSITY)
    assert diversity.verdict == "met"
    for set_name, gain in (("test", 8.0), ("ood", 12.0)):
        claim = found[f"sampled accuracy on {set_name}: syn-grpo − grpo"]
        assert claim.interval is not None and claim.value is not None
        assert claim.interval[0] - 1 < gain < claim.interval[1] + 1
        per_task = [
            np.mean([_last(finished, t, "syn-grpo", s, set_name) for s in seeds])
            - np.mean([_last(finished, t, "grpo", s, set_name) for s in seeds])
            for t in SMALL.tasks
        ]
        assert claim.value == pytest.approx(100 * np.mean(per_task))
        gains = {
            line.split(" | ")[0]: line for line in gains_table(finished, "sampled").split("\n")
        }
        assert f"{claim.value:+.1f} (" in gains["| syn-grpo"]
    assert found[better.format("starter")].verdict == "met"
    reward = found["sampled accuracy, mean over test, ood: syn-grpo − random-scene"]
    assert reward.interval is not None and reward.interval[0] - 1 < 6.25 < reward.interval[1] + 1
    _assert_the_same_time(
        found[better.format("executable-transforms in the same time")], finished, more
    )
    # The shares of the outer bins of the distance change by ∓ (4.5 − 0.5) · 2 / 60. Their D is
    # compared with that of all pictures of the same part, which rises as the pictures move.
    away = 2 * np.arange(PARTS)
    of_part = 0.2 + 0.2 * away / 60
    far, near = (np.average(d - of_part, weights=20 + a) for d, a in ((0.3, away), (0.1, -away)))
    moved = {
        unit: claim.value
        for claim in found.values()
        if "descriptions move" in claim.text
        for unit in [claim.unit]
    }
    assert moved == pytest.approx({"D": 8 / 60 * (far - near), "points": 100 * 8 / 60 * 0.4})
    lowest = found["full format in every run, the lowest share of sampled responses"]
    assert (lowest.value, lowest.verdict) == (pytest.approx(97), "met")
    drift = found["size of the drift of the description reward: syn-grpo-no-smoothing − syn-grpo"]
    assert drift.verdict == "met"
    assert found["synthetic samples of rec whose label is true"].verdict == "not measured"
    text = write_report(matrix, folders).read_text()
    assert f"{DIVERSITY:.3f}" in text and "97.0 (97.0)" in text
    assert f"{len(matrix.cells())} of {len(matrix.cells())} cells" in text
    head = text[: text.index("## The claims")]
    assert "where intervals overlap more (grpo 3;" in head and "Not finished" not in head
    for picture in re.findall(r"\]\(([^)]+\.png)\)", text):
        with Image.open(tmp_path / picture) as image:
            assert image.width > 600
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") > 2


def _assert_the_same_time(claim: Claim, finished: Finished, longer: Finished) -> None:
    """Steps of Syn-GRPO take 1.3 times as long, so that it has the time of 1.3 times as many steps
    of the transforms: 30 % of the way from the evaluation half-way to that at the end."""
    gains = []
    for task, seed, name in product(SMALL.tasks, (0, 1, 2), ("test", "ood")):
        theirs = longer.of(task, "executable-transforms", seed).held_out[name].evaluations
        half, end = (float(one.values("sampled").mean()) for one in theirs)
        gains.append(_last(finished, task, "syn-grpo", seed, name) - (0.7 * half + 0.3 * end))
    assert claim.value == pytest.approx(100 * np.mean(gains))


def _last(finished: Finished, task: str, method: str, seed: int, set_name: str) -> float:
    return float(finished.of(task, method, seed).last(set_name).values("sampled").mean())


def test_a_value_just_below_its_target_is_written_with_a_digit_more() -> None:
    text = claims_table([Claim("a", 5.789, (3.4, 8.2), "points", 5.8), Claim("b", 5.84, None, "%")])
    assert "| a | +5.79 points | +3.4 … +8.2 | ≥ 5.8 | **not met** |" in text
    assert "| b | +5.8 % |" in text


def test_a_report_of_some_cells_names_the_missing_ones(tmp_path: Path) -> None:
    part = replace(SMALL, tasks=("rec",), seeds=(0, 1), further_seeds={})
    matrix, folders = Matrix(part), Folders(tmp_path)
    with pytest.raises(InputError, match="holds no result"):
        write_report(matrix, folders)
    missing = [Cell("rec", "grpo", 1), Cell("rec", "noisy-rollout", 0)]
    plant(matrix, folders, left_out=lambda cell: cell in missing)
    text = write_report(matrix, folders).read_text()
    assert "22 of 24 cells" in text
    assert "**Not finished**: rec-noisy-rollout-0, rec-grpo-1." in text
    assert "rec: 1 seeds" in text  # pairs are of the seeds that both have
    other = planted(matrix, Cell("rec", "grpo", 1))
    sets = {name: replace(one, samples="others") for name, one in other.held_out.items()}
    write_result(replace(other, held_out=sets), folders.result(other.cell))
    with pytest.raises(InputError, match="measured on different samples of test"):
        write_report(matrix, folders)


@pytest.mark.slow
def test_further_parts_have_sections_of_their_own(tmp_path: Path) -> None:
    matrix, folders = Matrix(SMALL), Folders(tmp_path)
    plant(matrix, folders)
    assert "instead of 40, for starter" in (before := write_report(matrix, folders).read_text())
    assert "0 of 45 cells" in before
    more, images = matrix.part("longer"), matrix.part("images")
    assert more.settings.steps == 2 * SMALL.steps
    assert more.options(Cell("rec", "grpo", 0)).trainer.steps == more.settings.steps
    assert images.options(Cell("rec", "grpo", 0)).data.train[0].options["count"] == 200
    plant(more, folders.part("longer"), left_out=lambda cell: cell == Cell("ovd", "grpo", 2))
    plant(images, folders.part("images"))
    text = write_report(matrix, folders).read_text()
    section = text[text.index("## Trained for longer") : text.index("## With more seed")]
    assert f"{more.settings.steps} steps instead of {SMALL.steps}" in section
    assert "200 seed images instead of 20" in text[text.index("## With more seed") :]
    assert "44 of 45 cells" in section and "**Not finished**: ovd-grpo-2." in section
    assert "clip-higher" not in section and "syn-grpo over grpo | +30.0 %" in section
    pictures = re.findall(r"\]\((longer/[^)]+\.png)\)", section)
    assert len(pictures) == 5 and all((tmp_path / picture).exists() for picture in pictures)


def test_results_of_another_configuration_are_outdated(tmp_path: Path) -> None:
    matrix, folders = Matrix(SMALL), Folders(tmp_path)
    cell = Cell("isr", "syn-grpo", 0)
    write_result(planted(matrix, cell), folders.result(cell))
    assert folders.result(cell).stat().st_size < 60_000
    assert standing(matrix, cell, folders).state == "done"
    tuned = Matrix(SMALL, extra=("method.diversity_weight=0.9",))
    assert standing(tuned, cell, folders).state == "outdated"
    assert "method.diversity_weight 2.0, now 0.9" in standing(tuned, cell, folders).why
    result = read_result(folders.result(cell))
    write_result(replace(result, world={**result.world, "model": "another"}), folders.result(cell))
    assert "model" in standing(matrix, cell, folders).why
    with pytest.raises(InputError, match="holds no result"):
        write_report(matrix, folders)
    folders.result(cell).write_text("{}")
    with pytest.raises(InputError, match="is no result"):
        read_result(folders.result(cell))
    assert standing(Matrix(SMALL, extra=("method.x=1",)), cell, folders).state == "impossible"


# --- labels


def test_painted_labels_are_true_and_planted_faults_are_found(tmp_path: Path) -> None:
    for task in SETTINGS.tasks:
        samples = labels.painted_here(tmp_path / task, task, 12)
        assert [truth.fault(sample) for sample in samples] == [None] * 12
        sample = samples[0]
        first, picture = sample.objects[0], sample.image.decode().copy()
        x1, y1, x2, y2 = first.box
        moved = replace(first, box=(x1 + 1, y1, x2 + 1, y2))
        assert first.mask is not None
        rows, columns = np.nonzero(decode_mask(first.mask))
        within, around = picture.copy(), picture.copy()
        within[rows[0], columns[0]] ^= 1
        around[:6, :6] ^= 255
        columns_of = {**sample.columns, "scene_seed": sample.columns["scene_seed"] + 1}
        faulty = {
            "objects": replace(sample, objects=(moved, *sample.objects[1:])),
            "pixels": replace(sample, image=EncodedImage.from_pixels(within)),
            "answer": replace(sample, answer="nothing"),
            "surroundings": replace(sample, image=EncodedImage.from_pixels(around)),
        }
        assert {what: truth.fault(one) for what, one in faulty.items()} == {w: w for w in faulty}
        assert truth.fault(replace(sample, columns=columns_of)) is not None


def test_a_room_type_that_is_asked_for_must_be_visible(tmp_path: Path) -> None:
    samples = labels.painted_here(tmp_path, "isr", 24)
    asked = [s for s in samples if s.columns["kind"] == "room_type"]
    assert asked
    made = asked[0].columns["synthesis"]
    other = next(room for room in truth.ROOM_WORDS if room != asked[0].answer)
    prompt = made["prompt"].replace(asked[0].answer, other, 1)
    lied = {**asked[0].columns, "synthesis": {**made, "prompt": prompt}}
    keep = truth.kept_pixels(asked[0])
    size = (asked[0].image.width, asked[0].image.height)
    _, drawn = rooms_scene(asked[0].columns["split"], asked[0].columns["scene_seed"], size)
    things = framed_pixels(drawn.image, Frame.of(made["frame"]))
    room = truth._repainted(asked[0], keep, prompt)
    even = composite(things, room, keep, default_feather(*size))
    picture = lit(even, Light.of(made["light"]), made["seed"])
    child = replace(asked[0], columns=lied, image=EncodedImage.from_pixels(picture))
    assert truth.fault(child) == "room"


# --- what D says


def test_descriptions_do_not_move_because_d_falls() -> None:
    """D is the same in all bins and falls over the run, while pictures move to the highest bin."""
    falling = np.linspace(0.7, 0.35, PARTS)
    shares = [[40 - 4 * part, 40, 20 + 4 * part] for part in range(PARTS)]
    table = {
        axis: [[[n, 0.5, d] for n in counts] for counts, d in zip(shares, falling, strict=True)]
        for axis in AXES
    }
    found = movement(table, table)
    assert found is not None
    assert (found.towards_diversity, found.harder) == pytest.approx((0, 0), abs=1e-12)
    for part in range(PARTS):
        table[AXES[0]][part][BINS - 1][2] += 0.1
    assert (found := movement(table, table)) is not None and found.towards_diversity > 0


@pytest.mark.parametrize("lasting", [True, False])
def test_persistent_diversity_is_told_from_chance(tmp_path: Path, lasting: bool) -> None:
    seeds = rooms_samples("train", 30)
    pool = Pool.open(tmp_path)
    pool.add_seeds(seeds)
    rng = np.random.default_rng(4)
    own = dict(zip((seed.id for seed in seeds), rng.random(len(seeds)), strict=True))
    assert persistence(pool) is None
    for step in range(1, 41):
        for name, value in own.items():
            luck = rng.random()
            measured = 0.8 * value + 0.2 * luck if lasting else luck
            pool.observe([Observation(name, step, step, measured, 0.5)])
    found = persistence(pool)
    pool.close()
    assert found is not None and (found > 0.8 if lasting else abs(found) < 0.15)


def test_levels_are_those_of_the_stored_view_and_light(tmp_path: Path) -> None:
    options = Matrix().options(Cell("rec", "syn-grpo", 0))
    light, frame = options.synthesis.light, options.synthesis.frame
    sample = labels.painted_here(tmp_path, "rec", 1)[0]
    made = sample.columns["synthesis"]
    unchanged = {"frame": {"scale": 1.0}, "light": Light().lineage()}
    bounds = {**unchanged["light"], "brightness": light.brightness, "haze": light.haze / 2}
    changed = {"frame": {"scale": frame.scale[0] ** 0.5}, "light": {**bounds, "cast": -light.cast}}

    def levels(stored: dict[str, object], said: str) -> dict[str, float]:
        columns = {**sample.columns, "synthesis": {**made, **stored}}
        found = levels_of(replace(sample, columns=columns, description=said), options)
        return dict(zip(AXES, found, strict=True))

    assert set(levels(unchanged, "a red room").values()) == {0.0}
    found = levels(changed, "a red room, three cups stand around")
    assert found == pytest.approx(
        dict.fromkeys(AXES, 0.0)
        | {"distance": 0.5, "darkness": 1, "haze": 0.5, "cast": 1, "decoys": 0.5}
    )


@pytest.mark.parametrize("cause", ["words", "family", "luck"])
def test_the_planted_cause_of_diversity_is_found(cause: str) -> None:
    rng = np.random.default_rng(7)
    steps = np.repeat(np.arange(100), 6)
    families = rng.integers(20, size=len(steps))
    descriptions = tuple(random_description(rng) for _ in steps)
    told = {
        "words": np.array(["glare" in text or "window" in text for text in descriptions]),
        "family": (families % 3 == 0),
        "luck": rng.random(len(steps)) < 0.3,
    }[cause]
    diversity = 0.3 * np.exp(-steps / 40) + 0.2 * told + rng.normal(0, 0.05, len(steps))
    found = explained(FirstVisits(steps, diversity, families, descriptions))
    assert found["time"] > 0.2
    assert found["words"] > 0.4 if cause == "words" else found["words"] < 0.1
    assert (found["family"] > 0.4) == (cause == "family")


def test_descriptions_that_get_worse_are_noticed(tmp_path: Path) -> None:
    painted = labels.painted_here(tmp_path, "rec", 24)
    texts = painted_descriptions(tmp_path)
    assert texts == [sample.description for sample in painted]
    full = "a kitchen, red brick wall, blue wood floor, a pink striped rug, a sunny window, glare"
    early, late = early_and_late(
        [full] * 10 + texts[:20] * 4 + ["light light light, a a wall"] * 10
    )
    # A room; colour and pattern of wall, floor and rug; window; light.
    assert (early.properties, early.words) == (9, 16)
    assert (late.properties, late.words) == (0, 6)
    with pytest.raises(InputError, match="9 descriptions"):
        early_and_late(texts[:9])
    with pytest.raises(InputError, match="no pool"):
        painted_descriptions(tmp_path / "nothing")


@pytest.mark.parametrize("task", ["rec", "isr"])
def test_scenes_in_other_surroundings_keep_their_things(task: str) -> None:
    plain = rooms_samples("train", 6, SCENES_SEED, task)
    for change in CHANGES.values():
        for before, after in zip(plain, changed_samples(task, change, 6), strict=True):
            _, drawn = rooms_scene("train", before.columns["scene_seed"])
            assert (after.question, after.answer) == (before.question, before.answer)
            assert [o.box for o in after.objects] == list(drawn.boxes)
            assert after.image.decode().shape == before.image.decode().shape
    same = changed_samples(task, CHANGES["plain, as they are"], 6)
    assert [one.image.read() for one in same] == [one.image.read() for one in plain]
    lit = changed_samples(task, CHANGES["dim"], 6)
    for dim, bright in zip(lit, plain, strict=True):
        things = np.logical_or.reduce([decode_mask(o.mask) for o in bright.objects])
        assert dim.image.decode()[things].mean() < 0.7 * bright.image.decode()[things].mean()
