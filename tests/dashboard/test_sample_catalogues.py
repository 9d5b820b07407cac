"""Pages of samples of a pool and of a list, compared with a plain look at all of them."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_run import fill_pool

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.reading.gate_limits import score_title
from syngrpo.dashboard.samples.pool_catalogue import PoolCatalogue
from syngrpo.dashboard.samples.sample_catalogue import (
    PAGE,
    Catalogue,
    CatalogueEntry,
    ListedSamples,
    SampleFilter,
    fields_of,
)
from syngrpo.dashboard.samples.sample_detail import large_picture
from syngrpo.pool.pool_reading import open_to_read
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation, PoolSample
from syngrpo.sample import InputError, LabelledObject, Sample
from syngrpo_rooms.dataset import rooms_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with rec and isr samples in two datasets, children, visits and a quarantined seed."""
    folder = tmp_path_factory.mktemp("pool")
    fill_pool(folder, families=16, tasks=("rec", "isr"))
    with closing(Pool.open(folder)) as pool:
        odd = next(iter(pool.samples("seed"))).sample
        pool.add_seeds([replace(odd, id="odd", question='100 % "sure"_\\ Größe', dataset="odd")])
        pool.quarantine("odd", "no_image")
    return folder


@pytest.fixture
def pool(folder: Path) -> Iterator[Pool]:
    with closing(open_to_read(folder)) as pool:
        yield pool


def every(pool: Pool) -> list[PoolSample]:
    """All samples, oldest first."""
    found = [
        one
        for kind in ("seed", "synthetic")
        for state in ("active", "quarantined", "retired")
        for one in pool.samples(kind, state)  # type: ignore[arg-type]
    ]
    order = {name: place for place, name in enumerate(admitted(pool))}
    return sorted(found, key=lambda one: order[one.sample.id])


def admitted(pool: Pool) -> list[str]:
    with pool.database.read() as connection:
        return [name for (name,) in connection.execute("SELECT id FROM samples ORDER BY number")]


def ids(catalogue: Catalogue, **wanted: str) -> list[str]:
    """The ids of all pages, one after the other."""
    found: list[str] = []
    for number in range(100):
        page = catalogue.page(SampleFilter(**wanted), number)
        assert len(page.entries) == PAGE or not page.more
        found += [entry.sample.id for entry in page.entries]
        if not page.more:
            assert page.total in (None, len(found))
            return found
    raise AssertionError


def test_filters_take_what_they_say(pool: Pool) -> None:
    catalogue, all_of_them = PoolCatalogue(lambda: pool), every(pool)
    assert len(all_of_them) > 3 * PAGE and catalogue.size() == len(all_of_them)

    def expected(take: object) -> list[str]:
        return [one.sample.id for one in all_of_them if take(one.sample)][::-1]  # type: ignore[operator]

    assert ids(catalogue) == expected(lambda one: True)
    assert ids(catalogue, order="oldest") == expected(lambda one: True)[::-1]
    assert ids(catalogue, kind="seed") == expected(lambda one: one.parent is None)
    assert ids(catalogue, kind="synthetic", dataset="isr") == expected(
        lambda one: one.parent is not None and one.dataset == "isr"
    )
    assert ids(catalogue, task="rec") == expected(lambda one: one.task == "rec")
    assert ids(catalogue, task="re") == ids(catalogue, task="re%") == []
    assert ids(catalogue, state="quarantined") == ["odd"]
    choices = catalogue.choices()
    assert choices.datasets == ["isr", "odd", "rec"] and choices.tasks == ["isr", "rec"]


def test_a_search_looks_at_questions_and_answers_only(pool: Pool) -> None:
    catalogue, all_of_them = PoolCatalogue(lambda: pool), every(pool)
    for text in ("THE", "left", "red", "mask", "train", "how many"):
        found = [
            one.sample.id
            for one in all_of_them
            if text.lower() in f"{one.sample.question}\0{one.sample.answer}".lower()
        ]
        assert ids(catalogue, search=text, order="oldest") == found, text
    for text in ('100 % "sure"_\\', "größe".capitalize(), '"', "%", "_", "\\"):
        assert ids(catalogue, search=text) == ["odd"], text


def test_orders_by_what_was_measured(folder: Path, tmp_path: Path) -> None:
    fill_pool(tmp_path, families=3)
    rng = random.Random(1)
    with closing(Pool.open(tmp_path)) as pool:
        names = admitted(pool)
        pool.observe(
            Observation(name, step, 1, rng.random(), 0.5)
            for step in range(2, 5)
            for name in rng.sample(names, 4)
        )
        measured = {one.sample.id: one for one in every(pool)}
        catalogue = PoolCatalogue(lambda: pool)

        def numbers(order: str, what: str) -> list[float]:
            return [getattr(measured[name], what) for name in ids(catalogue, order=order)]

        known = [one.diversity_mean for one in measured.values() if one.diversity_mean is not None]
        for order, in_order in (("D", sorted(known, reverse=True)), ("-D", sorted(known))):
            assert [d for d in numbers(order, "diversity_mean") if d is not None] == in_order
        visits = numbers("visits", "visits")
        assert visits == sorted(visits, reverse=True) and visits[0] > 1


def test_a_sample_has_all_its_fields(pool: Pool) -> None:
    catalogue = PoolCatalogue(lambda: pool)
    child = next(one.sample for one in every(pool) if one.sample.parent is not None)
    entry = catalogue.entry(child.id)
    assert entry is not None and entry.sample == child and catalogue.entry("no such") is None
    fields = dict(fields_of(entry))
    assert fields["question"] == child.question and fields["painted from"] == child.parent
    assert fields["description"] == child.description and fields["state"] == "active"
    lineage = pool.lineage(child.id)
    assert fields["descends from"] == lineage.root and fields["painted by"] == lineage.generator
    assert {f"gate: {score_title(name)}" for name in lineage.scores} <= fields.keys()
    assert fields["gate: share of background"] == f"{lineage.scores['background']:.4g}"
    assert fields["in the pool since"] == lineage.admitted[:19].replace("T", " ") + " UTC"
    odd = catalogue.entry("odd")
    assert odd is not None and dict(odd.facts)["state"] == "quarantined: no image"


def test_a_list_in_the_order_of_the_data(tmp_path: Path) -> None:
    samples = rooms_samples("test", 60, task="rec")
    catalogue = ListedSamples({one.id: one for one in samples})
    assert ids(catalogue) == [one.id for one in samples] and catalogue.size() == 60

    def sizes(one: Sample) -> list[float]:
        boxes = [thing.box for thing in one.objects]
        return sorted((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)

    by_id = {one.id: one for one in samples}
    small = [sizes(by_id[name])[0] for name in ids(catalogue, order="small")]
    large = [sizes(by_id[name])[-1] for name in ids(catalogue, order="large")]
    many = [len(by_id[name].objects) for name in ids(catalogue, order="many")]
    assert small == sorted(small) and large == sorted(large)[::-1] and many == sorted(many)[::-1]
    word = samples[7].question.split()[-1].upper()
    found = [one.id for one in samples if word.lower() in one.question.lower()]
    assert ids(catalogue, search=word) == found
    assert catalogue.entry(samples[0].id) == CatalogueEntry(samples[0])
    assert ids(catalogue, task="isr") == [] and catalogue.entry("no such") is None


def test_a_pool_with_damaged_rows_is_a_line(folder: Path, tmp_path: Path) -> None:
    with closing(Pool.open(folder)) as pool:
        pool.backup(tmp_path / "pool.db")
    with closing(sqlite3.connect(tmp_path / "pool.db")) as connection:
        connection.execute('UPDATE samples SET body = \'{"task":"rec",\' WHERE number > 20')
        connection.commit()
    with closing(open_to_read(tmp_path)) as pool:
        catalogue = PoolCatalogue(lambda: pool)
        for wanted in ({}, {"task": "rec"}, {"order": "D"}):
            with pytest.raises(InputError, match="cannot be read"):
                catalogue.page(SampleFilter(**wanted), 0)
        with pytest.raises(InputError, match="cannot be read"):
            catalogue.entry(admitted(pool)[-1])
        assert catalogue.size() == len(admitted(pool))


def test_another_pool_in_the_place_of_the_first_is_read(tmp_path: Path) -> None:
    """As after a run was started anew while its page was open."""
    fill_pool(tmp_path / "run", families=3)
    run = FollowedRun("run", tmp_path / "run")
    catalogue = PoolCatalogue(run.pool)
    before = ids(catalogue)
    shutil.rmtree(tmp_path / "run")
    fill_pool(tmp_path / "run", families=5)
    after = ids(catalogue)
    assert len(after) == catalogue.size() > len(before)
    entry = catalogue.entry(after[0])
    assert entry is not None and entry.sample.image.digest()
    with pytest.raises(InputError, match="cannot be read"):
        PoolCatalogue(lambda: None).size()
    run.close()


def test_a_sample_that_cannot_be_drawn_says_why() -> None:
    sample = rooms_samples("test", 1, task="rec")[0]
    whole = large_picture(sample, "/picture?x")
    assert whole.masks and not whole.problem and 'href="/picture?x"' in whole.svg
    thing = sample.objects[0]
    mask = {"size": [9, 9], "counts": "x"}
    broken_mask = replace(sample, objects=(replace(thing, mask=mask),))
    assert "counts" in large_picture(broken_mask, "").problem
    no_box = replace(sample, objects=(LabelledObject("cup", (1, 2, 3)),))  # type: ignore[arg-type]
    for broken in (no_box, replace(sample, answer=(1, 2))):
        drawn = large_picture(broken, "")
        assert drawn.svg == "" and drawn.problem


def test_an_unknown_task_is_written_and_not_drawn() -> None:
    sample = rooms_samples("test", 1, task="rec")[0]
    odd = replace(sample, task="no-such", objects=(LabelledObject("a", (0, 0, 1, 1)),))
    assert dict(fields_of(CatalogueEntry(odd)))["answer"] == str(odd.answer)
