"""Each extension of ``examples/plugin`` is found by ``package.module:name`` and works by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from syngrpo.boxes import CoordinateFrame, Similarity
from syngrpo.config import options_from
from syngrpo.extensions import every_registry
from syngrpo.formats import FORMATS, Problems, ReadRequest
from syngrpo.formats.base import WritableFormat
from syngrpo.formats.source import source_from_keys
from syngrpo.formats.source_reading import read_dataset
from syngrpo.method import METHODS
from syngrpo.method.response import parse_response
from syngrpo.painting.describers import DESCRIBERS
from syngrpo.painting.frame import unmoved
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.judges import JUDGES
from syngrpo.painting.judges.base import Candidate
from syngrpo.policy.families import find_family
from syngrpo.sample import InputError, Sample
from syngrpo.tasks import Constraints, Task, load_task
from syngrpo.tasks.rewards import RewardOptions, load_reward
from syngrpo_rooms.dataset import rooms_samples

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
PACKAGE = "syngrpo_pointing"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the package importable, without its entry points; forget afterwards what was loaded."""
    monkeypatch.syspath_prepend(PLUGIN / "src")
    registries = every_registry()
    before = [dict(registry._loaded) for registry in registries]
    yield
    for registry, loaded in zip(registries, before, strict=True):
        registry._loaded = loaded


@pytest.fixture
def task() -> Task:
    return load_task(f"{PACKAGE}.pointing_task:Pointing")


@pytest.fixture
def sample(task: Task) -> Sample:
    return rooms_samples("train", 1, task=task.name)[0]


def test_the_source_of_syngrpo_does_not_know_the_package() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert PACKAGE not in path.read_text(encoding="utf-8"), path


def test_a_point_is_right_inside_the_object(task: Task, sample: Sample) -> None:
    x1, y1, x2, y2 = sample.answer
    frame = CoordinateFrame(1000, 1000, sample.image.width, sample.image.height)
    text = task.answer_text(sample, frame)
    assert re.fullmatch(r"\[\d+, \d+\]", text)
    point = task.to_original(task.read(text), frame)
    assert task.score(point, sample) == 1.0
    assert task.score((x2 + 1, y1), sample) == task.score(None, sample) == 0.0
    assert task.read('{"bbox_2d": [10, 20, 30, 40]}') == (20.0, 30.0)
    assert task.read("nothing") is None
    assert task.score(((x1 + x2) / 2 + 9, y1), sample) == task.score(
        ((x1 + x2) / 2 + 9, y1), sample
    )
    (box,), (mark,) = task.marks(sample.answer), task.marks(point)
    assert box.box == sample.answer and mark.point == point
    there = Similarity(0.5, 5, 0)
    assert task.map_boxes(sample.answer, there.box) == (x1 / 2 + 5, y1 / 2, x2 / 2 + 5, y2 / 2)


def test_the_task_explains_the_response_with_the_prompt_of_the_project(
    task: Task, sample: Sample
) -> None:
    prompt = task.prompt(sample, "full")
    response = parse_response(prompt[prompt.index("<think>") : prompt.index("</scene>") + 8])
    assert response.well_formed and response.answer == "[x, y]"
    assert sample.question in prompt and "far away" in prompt and "what else stands" in prompt


def test_the_reward_prefers_short_responses(sample: Sample) -> None:
    reward = load_reward(RewardOptions(f"{PACKAGE}.brevity_reward:brevity", weight=0.2))
    values = reward.function(prompts=["", ""], completions=["short", "long " * 60])
    assert 1 > values[0] > values[1] > 0


def test_the_generator_paints_the_colours_of_the_description() -> None:
    name = f"{PACKAGE}.gradient_generator:Gradients"
    generator = make_generator(name, {"grain": 0.0})
    requests = [request("from red to blue", 1), request("anything", 2), request("anything", 2)]
    red_to_blue, one, again = generator.generate(requests)
    assert red_to_blue[0, :, 0].mean() > red_to_blue[-1, :, 0].mean()
    assert np.array_equal(one, again) and one.shape == (48, 64, 3)
    with pytest.raises(InputError, match="grain"):
        make_generator(name, {"grain": -1.0})


def request(prompt: str, seed: int) -> GenerationRequest:
    image, keep = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), bool)
    return GenerationRequest(image, keep, prompt, seed, (64, 48))


def test_a_configuration_knows_the_options_of_a_method_and_a_generator() -> None:
    values: dict[str, Any] = {
        "model": {"path": "starter"},
        "data": {"train": [{"format": "rooms", "split": "train"}]},
        "method": {"name": f"{PACKAGE}.mixed_scenes:MixedScenes"},
        "synthesis": {
            "generator": f"{PACKAGE}.gradient_generator:Gradients",
            "describer": f"{PACKAGE}.gradient_describer:GradientDescriber",
        },
    }
    assert options_from(values).method.random_scenes == 1  # type: ignore[attr-defined]
    method, synthesis = values["method"], values["synthesis"]
    with pytest.raises(
        InputError, match=r"method\.random_scene; did you mean method\.random_scenes"
    ):
        options_from(values | {"method": {**method, "random_scene": 2}})
    with pytest.raises(InputError, match=r"synthesis\.options: option grain of .* greater"):
        options_from(values | {"synthesis": {**synthesis, "options": {"grain": -1}}})
    with pytest.raises(InputError, match=r"synthesis\.options: .* no option gain; it has grain"):
        options_from(values | {"synthesis": {**synthesis, "options": {"gain": 1}}})


def test_the_describer_names_two_colours(sample: Sample) -> None:
    describer = DESCRIBERS.load(f"{PACKAGE}.gradient_describer:GradientDescriber")
    texts = [describer.describe(sample, np.random.default_rng(seed)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_the_judge_rejects_dark_surroundings(sample: Sample) -> None:
    judge = JUDGES.load(f"{PACKAGE}.brightness_judge:BrightnessJudge")(lowest=0.2)
    for value, reason in ((200, None), (20, "too_dark")):
        child = np.full((48, 64, 3), value, np.uint8)
        keep = np.zeros((48, 64), bool)
        candidate = Candidate(
            sample=sample,
            constraints=Constraints((), ()),
            original=child,
            painted=child,
            even=child,
            child=child,
            keep=keep,
            description="",
            frame=unmoved(sample.image.width, sample.image.height),
        )
        verdict = judge.judge(candidate)
        assert verdict.reason == reason
        assert verdict.scores["brightness"] == pytest.approx(value / 255)


def test_the_format_reads_what_it_writes_and_reports_bad_rows(task: Task, tmp_path: Path) -> None:
    known = FORMATS.load(f"{PACKAGE}.phrases_csv:PhrasesCsv")
    assert isinstance(known, WritableFormat)
    samples = rooms_samples("train", 3, task=task.name)
    assert set(known.write(samples, tmp_path)) == {sample.id for sample in samples}
    table = tmp_path / "phrases.csv"
    assert known.recognises(table)
    read, problems = read_table(known, table)
    assert [(s.question, s.answer) for s in read] == [(s.question, s.answer) for s in samples]
    assert not problems.lines()
    with table.open("a") as file:
        file.write("images/missing.png,the chair,0,0,4,4\n")
    read, problems = read_table(known, table)
    assert len(read) == 3
    assert problems.found[0][0] == f"{table}:5"


def test_the_format_reads_images_as_the_source_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers turn it by a quarter
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "photos" / "a.jpg", exif=exif)
    table = tmp_path / "phrases.csv"
    table.write_text("image,phrase,x1,y1,x2,y2\na.jpg,the cup,25,2,38,18\n")
    keys = {
        "path": table,
        "format": f"{PACKAGE}.phrases_csv:PhrasesCsv",
        "task": f"{PACKAGE}.pointing_task:Pointing",
        "images": tmp_path / "photos",
    }
    (sample,) = read_dataset(source_from_keys({**keys, "exif": "stored"}))
    assert (sample.image.width, sample.image.height) == (40, 20)
    with pytest.raises(InputError, match="leaves the 20x40 image"):
        read_dataset(source_from_keys(keys))


def read_table(known: Any, table: Path) -> tuple[list[Sample], Problems]:
    problems = Problems()
    task = load_task(f"{PACKAGE}.pointing_task:Pointing")
    options = known.options()
    return known.read(table, ReadRequest(task=task, options=options), problems), problems


def test_the_method_paints_its_own_and_random_descriptions() -> None:
    method = METHODS.load(f"{PACKAGE}.mixed_scenes:MixedScenes")
    made = method(method.Options(random_scenes=3), steps=10)
    assert (made.random_descriptions, made.written_descriptions) == (3, 2)


def test_the_family_differs_in_its_coordinates() -> None:
    family = find_family("qwen2_5_vl", f"{PACKAGE}.thousandths_family:ThousandthsFamily")
    assert family.known_coordinates("qwen2_5_vl") == "0-1000"
    assert find_family("qwen2_5_vl").known_coordinates("qwen2_5_vl") == "resized"
