"""``pool export`` and ``data convert``, and an export that is killed."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from data_sets import read_data
from export_samples import WRITTEN, assert_round_trip, by_id, read_back
from made_up_run import fill_pool

from syngrpo.cli.main import app
from syngrpo.formats.lineage_columns import LINEAGE
from syngrpo.pool.store import Pool
from syngrpo.sample import InputError
from syngrpo.tasks import TASKS, load_task

FIXTURES = Path(__file__).parents[1] / "fixtures"

KILLED_HALFWAY = """
import sys, time
from pathlib import Path
from syngrpo.formats.export import write_dataset
from syngrpo.formats.source import Source
from syngrpo.formats.source_reading import read_dataset

source, out, format = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
written = 0

def advance():
    global written
    written += 1
    if written == 3:
        print("halfway", flush=True)
        time.sleep(60)

write_dataset(read_dataset(Source(path=(source,))), out, format, advance)
"""


@pytest.mark.parametrize("format", ["coco", "hf"])
def test_a_killed_export_is_not_there_and_can_be_repeated(tmp_path: Path, format: str) -> None:
    source, out = FIXTURES / "refcoco", tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_HALFWAY, source, out, format], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"halfway\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists() and list(tmp_path.glob(".unfinished-*-out"))
    assert_round_trip(read_data(source), out, format)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's pool: rooms seeds, and children that real synthesis made."""
    directory = tmp_path_factory.mktemp("run")
    fill_pool(directory, families=3, children=2)
    return directory


def syngrpo(*arguments: str | Path) -> None:
    """The command line, in this process. Raises InputError where it prints a line."""
    app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.parametrize("format", WRITTEN)
def test_pool_export_writes_the_admitted_samples(run: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    syngrpo("pool", "export", run, "--out", out, "--format", format)
    pool = Pool.open(run)
    expected = {stored.sample.id: stored for stored in pool.samples("synthetic")}
    found = read_back(out, format)
    assert {sample.id for sample in found} == set(expected) and len(found) >= 3
    for sample in found:
        stored = expected[sample.id]
        assert sample.image.read() == stored.sample.image.read()
        for name in ("task", "question", "answer", "objects", "parent", "description", "depth"):
            assert getattr(sample, name) == getattr(stored.sample, name)
        lineage = sample.columns[LINEAGE]
        made = stored.sample.columns["synthesis"]
        assert lineage["root"] == pool.ancestry(sample.id)[-1].id == sample.parent
        assert (lineage["job"], lineage["seed"]) == (stored.job_id, made["seed"])
        assert (lineage["generator"], lineage["prompt"]) == (made["generator"], made["prompt"])
        assert lineage["scores"] and lineage["diversity"] == stored.diversity_mean
        (visit,) = pool.observations(sample.id)
        assert (lineage["visits"], lineage["step"], lineage["policy_version"]) == (1, 1, 1)
        assert lineage["accuracy"] == visit.accuracy
        assert set(sample.columns) == {*stored.sample.columns, LINEAGE} - {"synthesis"}
    pool.close()


def test_pool_export_with_seeds_and_without_children(run: Path, tmp_path: Path) -> None:
    syngrpo("pool", "export", run, "--out", tmp_path / "all", "--seeds")
    samples = read_back(tmp_path / "all", "jsonl")
    seeds = {sample.id for sample in samples if sample.parent is None}
    assert len(seeds) == 3 and {s.parent for s in samples if s.parent} <= seeds
    with (tmp_path / "all" / "lineage.csv").open(newline="", encoding="utf-8") as file:
        roots = {row["id"]: row["root"] for row in csv.DictReader(file)}
    assert all(roots[seed] == seed for seed in seeds) and len(roots) == len(samples)


def test_pool_export_names_damaged_pictures_and_writes_the_others(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    first, second, *others = sorted((copy / "images").glob("??/*"))
    first.write_bytes(first.read_bytes()[:-9])
    second.unlink()
    syngrpo("pool", "export", copy, "--out", tmp_path / "out", "--seeds")
    samples = read_back(tmp_path / "out", "jsonl")
    written = {sample.image.digest() for sample in samples}
    assert written == {path.name for path in others}
    said = capsys.readouterr().err
    assert re.search(
        r"note: left out \d+ samples whose image is missing or damaged, such as ", said
    )
    for path in others:
        path.unlink()
    with pytest.raises(InputError, match=f"is whole; run: syngrpo pool repair {copy}$"):
        syngrpo("pool", "export", copy, "--out", tmp_path / "none", "--seeds")


def test_pool_export_loads_the_tasks_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task("user_extensions:Touching")
    fill_pool(tmp_path / "run", families=2, children=1, tasks=[task.name])
    monkeypatch.setattr(TASKS, "_loaded", {})  # a new process
    with pytest.raises(InputError, match=r"task 'touching' is unknown; .* on the command line"):
        syngrpo("pool", "export", tmp_path / "run", "--out", tmp_path / "a", "--format", "coco")
    option = ("--task", "user_extensions:Touching")
    syngrpo(
        "pool", "export", tmp_path / "run", "--out", tmp_path / "b", "--format", "coco", *option
    )
    monkeypatch.setattr(TASKS, "_loaded", {})
    source = {"format": "rooms", "split": "train", "task": "user_extensions:Touching"}
    (tmp_path / "run" / "config.yaml").write_text(json.dumps({"data": {"train": [source]}}))
    syngrpo("pool", "export", tmp_path / "run", "--out", tmp_path / "c", "--format", "coco")
    assert len(read_back(tmp_path / "c", "coco")) == len(read_back(tmp_path / "b", "coco")) > 0


def test_retired_samples_are_exported_and_quarantined_ones_are_not(tmp_path: Path) -> None:
    fill_pool(tmp_path / "run", families=2, children=2)
    pool = Pool.open(tmp_path / "run")
    first, second, *rest = (stored.sample.id for stored in pool.samples("synthetic"))
    with pool.database.write() as connection:
        connection.execute(
            "UPDATE standing SET state = 'retired' WHERE number = "
            "(SELECT number FROM samples WHERE id = ?)",
            (first,),
        )
    pool.quarantine(second, "test")
    pool.close()
    syngrpo("pool", "export", tmp_path / "run", "--out", tmp_path / "out")
    found = {s.id: s.columns[LINEAGE]["state"] for s in read_back(tmp_path / "out", "jsonl")}
    assert found == {first: "retired"} | dict.fromkeys(rest, "active")


def test_data_convert_reads_any_format_and_writes_any_other(tmp_path: Path) -> None:
    chain = [
        (FIXTURES / "refcoco", "jsonl", ("--split", "val")),
        (tmp_path / "0" / "data.jsonl", "coco", ()),
        (tmp_path / "1" / "instances.json", "vlm-r1", ()),
        (tmp_path / "2" / "data.jsonl", "hf", ()),
        (tmp_path / "3", "jsonl", ()),
    ]
    for number, (source, to, options) in enumerate(chain):
        out = tmp_path / str(number)
        syngrpo("data", "convert", source, "--out", out, "--to", to, *options)
    first = by_id(read_back(tmp_path / "0", "jsonl"))
    last = by_id(read_back(tmp_path / "4", "jsonl"))
    assert last == first and first


def test_data_convert_maps_columns(tmp_path: Path) -> None:
    source = FIXTURES / "hf" / "expressions.parquet"
    columns = ("--columns", "question=problem", "--columns", "answer=solution")
    out = tmp_path / "out"
    convert = ("data", "convert", source, "--out", out)
    syngrpo(*convert, "--task", "rec", "--to", "vlm-r1", *columns)
    assert len(read_back(out, "vlm-r1")) == 3
    with pytest.raises(InputError, match="write it as OUR_FIELD=THEIR_COLUMN"):
        syngrpo(*convert, "--to", "jsonl", "--columns", "x")


def test_the_commands_tell_the_user_in_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    for command in (("pool", "export", run), ("data", "convert", "gone.jsonl", "--to", "coco")):
        result = subprocess.run(
            [sys.executable, "-m", "syngrpo", *map(str, command), "--out", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
        assert "is not empty" in result.stderr or "gone.jsonl does not exist" in result.stderr
