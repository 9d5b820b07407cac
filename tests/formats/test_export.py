"""Data sets written in every format: read back equal, and by the libraries that own the formats."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_sets import read_data
from export_samples import (
    CLOSED,
    CUP,
    HEIGHT,
    LINEAGES,
    SAMPLES,
    THINGS,
    WIDTH,
    WRITTEN,
    assert_round_trip,
    read_back,
    rec,
)
from pycocotools.coco import COCO

from syngrpo.boxes import decode_mask
from syngrpo.formats.export import write_dataset
from syngrpo.formats.lineage_columns import with_lineage
from syngrpo.formats.sample_rows import CARRIED
from syngrpo.sample import EncodedImage, InputError

BOXES_ONLY = ("vlm-r1", "coco")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("format", WRITTEN)
def test_what_is_written_is_read_back_exactly(tmp_path: Path, format: str) -> None:
    samples = SAMPLES if format in BOXES_ONLY else SAMPLES + CLOSED
    assert_round_trip(samples, tmp_path / "out", format)
    assert not (tmp_path / "out" / "lineage.csv").exists()


@pytest.mark.parametrize("format", WRITTEN)
def test_lineage_is_kept_and_is_a_table(tmp_path: Path, format: str) -> None:
    samples = [
        with_lineage(sample, lineage)
        for sample, lineage in zip((SAMPLES[0], SAMPLES[2]), LINEAGES, strict=True)
    ]
    assert_round_trip(samples, tmp_path / "out", format)
    with (tmp_path / "out" / "lineage.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["id"], first["parent"], first["state"]) == ("plain", "", "active")
    assert (second["parent"], second["depth"], second["root"]) == ("plain", "1", "plain")
    assert second["description"] == "brick\nwalls, “grey”" and second["policy_version"] == "16"
    assert (first["score_sharp"], second["score_sharp"]) == ("0.1", "")
    assert float(second["score_background_changed"]) == 1 / 3
    if format != "hf":
        image = (tmp_path / "out" / second["image"]).read_bytes()
        assert image == samples[1].image.read()


@pytest.mark.parametrize("format", WRITTEN)
def test_seeds_alone_have_a_lineage_without_scores(tmp_path: Path, format: str) -> None:
    lineage = replace(LINEAGES[0], scores={})
    assert_round_trip([with_lineage(SAMPLES[0], lineage)], tmp_path / "out", format)
    header, row = (tmp_path / "out" / "lineage.csv").read_text(encoding="utf-8").splitlines()
    assert "score_" not in header and row.startswith("plain,,0,rec,")


@pytest.mark.parametrize("format", BOXES_ONLY)
def test_answers_without_boxes_have_no_place_in_formats_of_boxes(
    tmp_path: Path, format: str
) -> None:
    with pytest.raises(InputError, match=r"sample count has task isr.*write jsonl or hf"):
        write_dataset([*SAMPLES, *CLOSED], tmp_path / "out", format)
    assert list(tmp_path.iterdir()) == []


def test_pycocotools_loads_the_coco_file_and_draws_the_same_masks(tmp_path: Path) -> None:
    write_dataset(SAMPLES, tmp_path / "out", "coco")
    coco = COCO(tmp_path / "out" / "instances.json")
    assert len(coco.imgs) == 3 and len(coco.anns) == 2 * len(THINGS)
    for image in coco.imgs.values():
        data = (tmp_path / "out" / image["file_name"]).read_bytes()
        found = EncodedImage.from_bytes(data)
        assert (found.width, found.height) == (image["width"], image["height"])
    for image_id in (1, 2):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        for thing, annotation in zip(THINGS, annotations, strict=True):
            assert coco.loadCats(annotation["category_id"])[0]["name"] == thing.label
            x, y, width, height = annotation["bbox"]
            assert (x, y, x + width, y + height) == pytest.approx(thing.box)
            if thing.mask is None:
                assert annotation["segmentation"] == []
                assert annotation["area"] == pytest.approx(110)
            else:
                mask = coco.annToMask(annotation)
                assert np.array_equal(mask, decode_mask(thing.mask))
                assert annotation["area"] == mask.sum()
    phrases = [annotation.get("phrases") for annotation in coco.loadAnns([1, 2, 3])]
    assert phrases == [[SAMPLES[0].question], None, [SAMPLES[1].question]]
    absent = coco.loadCats(coco.imgs[2]["neg_category_ids"])
    assert {category["name"] for category in absent} == {"lamp", "sofa"}


def test_coco_without_our_key_is_still_a_data_set(tmp_path: Path) -> None:
    write_dataset(SAMPLES, tmp_path / "out", "coco")
    path = tmp_path / "out" / "instances.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for image in content["images"]:
        del image[CARRIED]
    path.write_text(json.dumps(content), encoding="utf-8")
    samples = read_data(path, "coco", task="ovd")
    assert len(samples) == 3
    for sample in samples[:2]:
        assert np.allclose([t.box for t in sample.objects], [t.box for t in THINGS])
        assert [t.mask for t in sample.objects] == [t.mask for t in THINGS]
        assert len(sample.answer) == 3 and "lamp" in sample.question


def vlm_r1_item(row: dict[str, Any]) -> tuple[str, str]:
    """Problem and solution, by the rules of VLM-R1's own loader (grpo_jsonl.py)."""
    human, gpt = row["conversations"]
    return (
        human["value"].replace("<image>", ""),
        gpt["value"].replace("<answer>", "").replace("</answer>", "").strip(),
    )


def test_vlm_r1_rows_suit_its_loader(tmp_path: Path) -> None:
    write_dataset(SAMPLES, tmp_path / "out", "vlm-r1")
    lines = (tmp_path / "out" / "data.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(datasets.Dataset.from_list(rows)) == len(SAMPLES)  # one type a column
    for row, sample in zip(rows, SAMPLES, strict=True):
        assert (tmp_path / "out" / row["image"]).read_bytes() == sample.image.read()
        problem, solution = vlm_r1_item(row)
        if sample.task == "rec":
            assert tuple(json.loads(solution)) == sample.answer
            assert problem.endswith(f"this sentence describes: {sample.question}.")
        elif sample.answer:
            fenced = re.search(r"```json(.*?)```", solution, re.DOTALL)
            assert fenced is not None
            found = [(thing["label"], tuple(thing["bbox_2d"])) for thing in json.loads(fenced[1])]
            assert found == [(thing["label"], thing["box"]) for thing in sample.answer]
        else:
            assert solution == "None"


def test_vlm_r1_without_our_key_asks_and_answers_the_same(tmp_path: Path) -> None:
    write_dataset(SAMPLES, tmp_path / "out", "vlm-r1")
    path = tmp_path / "out" / "data.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps({k: row[k] for k in row if k != CARRIED}) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    found = read_data(path, "vlm-r1", on_bad_row="error")
    for sample, original in zip(found, SAMPLES, strict=True):
        assert (sample.id, sample.answer) == (original.id, original.answer)
        assert sample.task == original.task.removesuffix("-vlm-r1")
        if sample.task == "ovd":
            assert sample.question == original.question
        else:
            assert sample.question == original.question


def test_datasets_loads_the_hugging_face_output(tmp_path: Path) -> None:
    samples = [with_lineage(SAMPLES[0], LINEAGES[0]), with_lineage(SAMPLES[2], LINEAGES[1])]
    write_dataset([*samples, *CLOSED], tmp_path / "out", "hf")
    dataset = datasets.load_from_disk(str(tmp_path / "out"))
    assert isinstance(dataset.features["image"], datasets.Image)
    for row, sample in zip(dataset, [*samples, *CLOSED], strict=True):
        assert np.array_equal(np.asarray(row["image"]), sample.image.decode())
        assert (row["id"], row["task"], row["question"]) == (
            sample.id,
            sample.task,
            sample.question,
        )
        assert (row["parent"], row["description"]) == (sample.parent, sample.description)
        assert tuple(row["objects"][0]["box"]) == CUP.box
        assert row["objects"][0]["mask"] == CUP.mask and row["objects"][1]["mask"] is None
    scores = {"background_changed": 1 / 3, "sharp": None}
    assert dataset[1]["lineage"] == asdict(LINEAGES[1]) | {"scores": scores}
    assert dataset[2]["lineage"] is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("data-00000-of-00001.arrow", "dataset_info.json", "state.json"),
    ]


@pytest.mark.parametrize("format", WRITTEN)
def test_an_image_that_is_gone_leaves_nothing_behind(tmp_path: Path, format: str) -> None:
    gone = EncodedImage(WIDTH, HEIGHT, path=tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png of sample lost cannot be read"):
        write_dataset([*SAMPLES, replace(rec("lost"), image=gone)], tmp_path / "out", format)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; name a new directory"):
        write_dataset(SAMPLES, tmp_path / "full", "jsonl")
    with pytest.raises(InputError, match="is a file; name a new directory"):
        write_dataset(SAMPLES, tmp_path / "full" / "note.txt", "jsonl")
    with pytest.raises(InputError, match=r"note.txt cannot be created \(File exists\)"):
        write_dataset(SAMPLES, tmp_path / "full" / "note.txt" / "out", "jsonl")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]
    (tmp_path / "empty").mkdir()
    write_dataset(SAMPLES, tmp_path / "empty", "jsonl")
    assert len(read_back(tmp_path / "empty", "jsonl")) == len(SAMPLES)


def test_wrong_requests_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format 'xml' is unknown; use one of jsonl, vlm-r1"):
        write_dataset(SAMPLES, tmp_path / "out", "xml")
    with pytest.raises(InputError, match="there are no samples to write"):
        write_dataset([], tmp_path / "out", "jsonl")
