"""The real generators paint on the canvas that the frame chose: tiny diffusers pipelines, and a
server with the image edit API."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from image_edit_server import ImageEditServer

from syngrpo.boxes import Similarity, decode_mask
from syngrpo.painting.frame import FrameOptions, framed_pixels, framed_sample
from syngrpo.painting.gate import Gate, GateThresholds
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import Generator
from syngrpo.painting.generators.http_generator import HttpGenerator
from syngrpo.painting.light import Light, LightOptions
from syngrpo.painting.painter import synthesize
from syngrpo.painting.painting_request import Painted, PaintingOptions, PaintingRequest
from syngrpo.pool.jobs import Job, Rejected
from syngrpo.sample import Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples

SAMPLE = rooms_samples("train", 1, seed=3)[0]
DARK_HALL = "a stone hall with red walls, midway, on the left, half dark, in haze"
FRAMES = {
    "same": FrameOptions(scale=(0.4, 1.0), shift=1.0),
    "grown": FrameOptions(scale=(0.4, 1.0), shift=1.0, canvas="grown"),
}
LIGHT = LightOptions(brightness=0.3, haze=0.4)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageEditServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    running = ImageEditServer()
    yield running
    running.stop()


def paint(
    generator: Generator, options: PaintingOptions, text: str = DARK_HALL, sample: Sample = SAMPLE
) -> Painted | Rejected:
    constraints = get_task(sample.task).constraints(sample)
    job = Job("a" * 64, sample.id, text, 5, generator.fingerprint, 1)
    gate = GateThresholds(min_change=0, min_distance=0)
    request = PaintingRequest(job, sample, constraints, (), gate, options)
    return synthesize(request, generator, Gate(gate))


@pytest.mark.parametrize("canvas", FRAMES)
@pytest.mark.parametrize("preset", ["sdxl-inpaint", "flux2-klein"])
def test_a_pipeline_of_diffusers(tmp_path, preset: str, canvas: str) -> None:
    pytest.importorskip("diffusers", reason='needs pip install "syngrpo[diffusers]"')
    from tiny_diffusers import TinyModels

    generator = TinyModels(tmp_path).generator(preset)
    check(paint(generator, PaintingOptions(frame=FRAMES[canvas])), canvas)


@pytest.mark.parametrize("canvas", FRAMES)
def test_a_server_with_the_image_edit_api(server: ImageEditServer, canvas: str) -> None:
    generator = HttpGenerator(url=server.url)
    result = paint(generator, PaintingOptions(frame=FRAMES[canvas], light=LIGHT))
    assert isinstance(result, Painted)
    assert result.prompt.startswith("a stone hall with red walls. Keep unchanged")
    assert result.light.brightness < 0.7 and result.light.haze > 0.1
    check(paint(generator, PaintingOptions(frame=FRAMES[canvas])), canvas)


def check(result: Painted | Rejected, canvas: str) -> None:
    """Kept pixels are those of the source, exactly or exactly resampled, where the frame says."""
    assert isinstance(result, Painted), result
    picture = result.image.decode()
    original = framed_pixels(SAMPLE.image.decode(), result.frame)
    assert picture.shape == original.shape
    if canvas == "grown":
        assert result.frame.transform.scale == 1 and result.frame.size[0] > 150
    else:
        assert 0.5 < result.frame.transform.scale < 0.8 and result.frame.size == (128, 128)
    for thing in framed_sample(SAMPLE, result.frame).objects:
        kept = decode_mask(thing.mask)
        assert kept.any() and (picture[kept] == original[kept]).all()
    assert result.scores["kept_difference"] == 0


def test_no_further_things_are_painted_where_they_are_switched_off(server: ImageEditServer) -> None:
    alone = PaintingOptions(decoys=False)
    text = "white walls, two red balls and a plant stand around"
    rooms = make_generator("rooms")
    for generator in (rooms, HttpGenerator(url=server.url)):
        result = paint(generator, alone, text)
        assert isinstance(result, Painted)
        assert result.prompt.startswith("white walls, nothing else stands around. Keep")
        as_before = paint(generator, PaintingOptions(), text)
        assert isinstance(as_before, Painted) and "two red balls" in as_before.prompt
    anything = replace(SAMPLE, question="the leftmost thing")
    result = paint(rooms, PaintingOptions(), text, anything)
    assert isinstance(result, Painted) and "balls" not in result.prompt
    refused = paint(rooms, alone, "qwerty")
    assert isinstance(refused, Rejected) and refused.reason == "nothing_known"


def test_nothing_is_painted_where_the_task_keeps_nothing() -> None:
    asked = replace(rooms_samples("train", 1, task="isr")[0], question="Is it day or night?")
    refused = paint(make_generator("rooms"), PaintingOptions(), "a hall at night", asked)
    assert isinstance(refused, Rejected) and refused.reason == "nothing_kept"


SAID = "far away, on the left, half dark, in haze, in glaring light, in warm light, out of focus"


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        (PaintingOptions(frame=FrameOptions(scale=(0.4, 1.0))), "far away"),
        (PaintingOptions(frame=FrameOptions(shift=1.0)), "on the left"),
        (PaintingOptions(light=LightOptions(brightness=0.3)), "half dark"),
        (PaintingOptions(light=LightOptions(haze=0.3)), "in haze"),
        (PaintingOptions(light=LightOptions(glare=0.3)), "in glaring light"),
        (PaintingOptions(light=LightOptions(cast=1.0)), "in warm light"),
        (PaintingOptions(light=LightOptions(blur=0.01)), "out of focus"),
        (PaintingOptions(light=LightOptions(grain=4.0)), "grainy"),
        (PaintingOptions(), "nothing"),
    ],
)
def test_each_axis_that_is_off_is_left_to_the_generator(
    server: ImageEditServer, options: PaintingOptions, left_out: str
) -> None:
    generator = HttpGenerator(url=server.url)
    result = paint(generator, options, f"red walls, {SAID}, grainy")
    assert isinstance(result, Painted)
    prompt = result.prompt.split(". Keep")[0]
    assert prompt.split(", ") == [
        "red walls",
        *(phrase for phrase in [*SAID.split(", "), "grainy"] if phrase != left_out),
    ]
    changed = {name for name, x in result.light.lineage().items() if x != Light().lineage()[name]}
    assert len(changed) == (options.light != LightOptions())
    assert (result.frame.transform == Similarity()) == (options.frame == FrameOptions())


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        (PaintingOptions(frame=FrameOptions(scale=(0.05, 1.0))), "a hall, far away", "too_small"),
        (PaintingOptions(light=LightOptions(brightness=0.01)), "a hall, almost dark", "unseen"),
        (
            PaintingOptions(light=LightOptions(brightness=0.01, grain=12)),
            "a hall, almost dark, grainy",
            "unseen",
        ),
        (
            PaintingOptions(light=LightOptions(brightness=0.01, glare=0.6)),
            "a hall, almost dark, in glaring light",
            "unseen",
        ),
        (
            PaintingOptions(frame=FrameOptions(scale=(0.01, 1.0), canvas="grown")),
            "a hall, far away",
            "canvas_too_large",
        ),
    ],
)
def test_what_cannot_be_seen_is_refused_by_name(
    server: ImageEditServer, options: PaintingOptions, text: str, reason: str
) -> None:
    generator = HttpGenerator(url=server.url)
    result = paint(generator, options, text)
    assert isinstance(result, Rejected) and result.reason == reason
    small = replace(options, frame=FrameOptions(), light=LightOptions())
    assert isinstance(paint(generator, small, text), Painted)
