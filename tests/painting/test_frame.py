"""The kept part of a picture on its new canvas: labels, pixels and answers go through one
transform."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from service_client import RUN, SEEDS, jobs, lease, open_run, painted, seed_of, service

from syngrpo.boxes import Similarity, decode_mask, encode_mask, iou, mask_box
from syngrpo.data_server.pool_client import InlineClient
from syngrpo.data_server.pool_jobs import SYNTHESIS
from syngrpo.data_server.sample_wire import sample_from
from syngrpo.data_server.synthesis_options import SynthesisSettings
from syngrpo.painting.compositing import keep_mask
from syngrpo.painting.frame import (
    Frame,
    FrameOptions,
    choose_frame,
    framed_pixels,
    framed_sample,
    unmoved,
)
from syngrpo.painting.light import LightOptions
from syngrpo.pool.jobs import JobRequest
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.pool.store import Pool
from syngrpo.sample import EncodedImage, InputError, LabelledObject, Sample
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples

FAR = FrameOptions(scale=(0.4, 1.0), shift=1.0)
LIGHT = LightOptions(brightness=0.3, haze=0.3, glare=0.4, cast=0.8, blur=0.01, grain=8)


def frame_of(sample, options, distance=0.5, place=0.5, **changed):
    constraints = replace(get_task(sample.task).constraints(sample), **changed)
    return choose_frame(sample, constraints, {"distance": distance, "place": place}, options)


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_the_inverse_transform_gives_the_labels_back(task):
    for sample in rooms_samples("train", 20, seed=3, task=task):
        for distance in (0.0, 0.3, 1.0):
            frame = frame_of(sample, FAR, distance, place=0.8)
            there = framed_sample(sample, frame)
            back = frame.transform.inverse()
            for before, thing in zip(sample.objects, there.objects, strict=True):
                assert back.box(thing.box) == pytest.approx(before.box, abs=1e-9)
                x1, y1, x2, y2 = thing.box
                assert 0 <= x1 < x2 <= frame.size[0] and 0 <= y1 < y2 <= frame.size[1]
                assert iou(mask_box(decode_mask(thing.mask)), thing.box) > 0.7
            answer = get_task(task).map_boxes(there.answer, back.box)
            if task == "rec":
                assert answer == pytest.approx(sample.answer, abs=1e-9)
            elif task == "ovd":
                for one, two in zip(answer, sample.answer, strict=True):
                    assert one["box"] == pytest.approx(two["box"], abs=1e-9)
            else:
                assert answer == sample.answer


def test_far_away_is_small_and_places_are_reached():
    sample = rooms_samples("train", 1, seed=3)[0]
    near, far = frame_of(sample, FAR, 0.0), frame_of(sample, FAR, 1.0)
    assert near.transform.scale == 1 and far.transform.scale == pytest.approx(0.4)
    left = frame_of(sample, FAR, 1.0, place=0.0).transform
    right = frame_of(sample, FAR, 1.0, place=1.0).transform
    boxes = [thing.box for thing in sample.objects]
    assert min(left.box(box)[0] for box in boxes) == pytest.approx(1)
    assert max(right.box(box)[2] for box in boxes) == pytest.approx(127)


def test_the_horizon_stays_where_it_is():
    sample = rooms_samples("train", 1, seed=3)[0]
    frame = frame_of(sample, replace(FAR, horizon=0.57), 1.0)
    assert frame.transform.box((0, 0.57 * 128, 1, 1))[1] == pytest.approx(frame.horizon)


def test_what_may_be_cut_off_by_an_edge_goes_on_touching_it():
    sample = rooms_samples("train", 1, seed=3)[0]
    inside = replace(sample.objects[0], box=(40.0, 40.0, 60.0, 60.0), mask=None)
    cases = {
        (0.0, 40.0, 30.0, 60.0): lambda box, scale: box[0] == 0,
        (100.0, 40.0, 128.0, 60.0): lambda box, scale: box[2] == pytest.approx(128),
        (50.0, 90.0, 80.0, 128.0): lambda box, scale: box[3] == pytest.approx(128),
        (50.0, 0.0, 80.0, 30.0): lambda box, scale: box[1] == 0,
        (0.0, 40.0, 128.0, 60.0): lambda box, scale: scale == 1,
    }
    for box, holds in cases.items():
        cut = replace(sample, objects=(replace(inside, box=box), inside), answer=box)
        for place in (0.0, 1.0):
            frame = frame_of(cut, FAR, 1.0, place)
            assert holds(frame.transform.box(box), frame.transform.scale), box


def test_a_box_that_ends_nearly_at_the_edge_of_a_large_picture_may_be_cut_off():
    sample = rooms_samples("train", 1, seed=3, size=512)[0]
    for begins, cut in ((2.0, True), (3.0, False)):  # 0.4 % of 512 pixels are 2.05
        box = (begins, 200.0, 120.0, 260.0)
        thing = replace(sample.objects[0], box=box, mask=None)
        one = replace(sample, objects=(thing,), answer=box)
        there = frame_of(one, FAR, 1.0, place=1.0).transform
        assert (there.box(box)[0] == pytest.approx(begins * there.scale)) == cut


def test_moved_without_scaling_every_pixel_stays_exact():
    sample = rooms_samples("train", 1, seed=3)[0]
    frame = frame_of(sample, FrameOptions(shift=1.0), place=1.0)
    right = int(frame.transform.right)
    assert frame.transform == Similarity(1.0, right, 0) and right > 0
    before, after = sample.image.decode(), framed_pixels(sample.image.decode(), frame)
    there = framed_sample(sample, frame)
    for old, new in zip(sample.objects, there.objects, strict=True):
        assert (after[decode_mask(new.mask)] == before[decode_mask(old.mask)]).all()
    assert (after[:, :right] == before[:, [0]]).all()


def test_scaled_pixels_are_means_over_areas():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    half = framed_pixels(pixels, Frame(Similarity(0.5, 0, 0), (96, 64), 32))
    expected = pixels.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(half[:32, :48].astype(float) - expected).max() <= 1
    moved = framed_pixels(pixels, Frame(Similarity(0.5, 24, 16), (96, 64), 32))
    assert (moved[16:48, 24:72] == half[:32, :48]).all()
    assert np.abs(moved[16:48, 0].astype(int) - moved[16:48, 23]).max() == 0  # the edge, repeated


def test_a_mask_lies_where_a_picture_of_it_would() -> None:
    """Also one that leaves the canvas, in part or as a whole."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        mask = np.zeros(rng.integers(3, 40, 2), dtype=bool)
        mask[1:-1, 1:-1] = rng.random(mask[1:-1, 1:-1].shape) < rng.choice([0.02, 0.5, 1.0])
        width, height = mask.shape[::-1]
        scale = float(rng.choice([1.0, rng.uniform(0.2, 1.0)]))
        right, down = rng.integers(-25, 35, 2).tolist() if scale == 1 else rng.uniform(-25, 35, 2)
        frame = Frame(Similarity(scale, right, down), tuple(rng.integers(1, 50, 2).tolist()), 0.0)
        thing = LabelledObject("cup", (1.0, 1.0, 2.0, 2.0), encode_mask(mask))
        blank = EncodedImage(width, height, data=b"never decoded")
        sample = Sample("s", "isr", blank, "q", "cup", (thing,))
        shown = framed_pixels(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), frame)
        (moved,) = framed_sample(sample, frame).objects
        np.testing.assert_array_equal(decode_mask(moved.mask), shown[..., 0] >= 128)


def test_a_large_plane_is_not_needed_to_place_a_small_source():
    """The same pixels as with the whole plane, but for rounding; and in little memory."""
    pixels = rooms_samples("train", 1, seed=3)[0].image.decode()
    small = Frame(Similarity(0.04, 61.3, 70.9), (128, 128), 64)
    beside = Frame(Similarity(0.04, -19.6, 131.2), (128, 128), 64)
    for frame in (small, beside):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("syngrpo.painting.frame.LARGE_PLANE", 1)
            part = framed_pixels(pixels, frame).astype(int)
        assert np.abs(part - framed_pixels(pixels, frame)).max() <= 1
    tiny = framed_pixels(pixels, Frame(Similarity(0.001, 64, 64), (128, 128), 64))
    assert tiny.shape == (128, 128, 3)  # the whole plane would have 49 GB


def test_a_grown_canvas_keeps_the_pixels():
    sample = rooms_samples("train", 1, seed=3)[0]
    frame = frame_of(sample, replace(FAR, canvas="grown"), 1.0, place=0.2)
    assert frame.size == (320, 320) and frame.transform.scale == 1
    after, there = framed_pixels(sample.image.decode(), frame), framed_sample(sample, frame)
    assert after.shape == (320, 320, 3)
    for old, new in zip(sample.objects, there.objects, strict=True):
        kept = sample.image.decode()[decode_mask(old.mask)]
        assert (after[decode_mask(new.mask)] == kept).all()


def test_a_canvas_may_grow_beside_an_object_that_stays_in_its_corner():
    """The source begins at the corner of the canvas, at its own scale: only the size differs."""
    sample = rooms_samples("train", 1, seed=3)[0]
    mask = np.zeros((128, 128), dtype=bool)
    mask[:80, :60] = True
    cut = replace(sample.objects[0], box=(0.0, 0.0, 60.0, 80.0), mask=encode_mask(mask))
    sample = replace(sample, objects=(cut,), answer=cut.box)
    frame = frame_of(sample, replace(FAR, canvas="grown"), 1.0)
    assert frame.transform == Similarity() and frame.size == (320, 320)
    there = framed_sample(sample, frame)
    assert keep_mask(there, [0], frame.size).sum() == mask.sum()
    assert there.answer == sample.answer


def test_a_task_may_fix_the_view_and_choose_the_canvas():
    sample = rooms_samples("train", 1, seed=3)[0]
    assert frame_of(sample, FAR, 1.0, view="fixed") == unmoved(128, 128)
    wide = frame_of(sample, FAR, 0.0, canvas=(256, 96))
    assert wide.size == (256, 96) and wide.transform.scale == pytest.approx(0.75)
    assert framed_pixels(sample.image.decode(), wide).shape == (96, 256, 3)
    for thing in framed_sample(sample, wide).objects:
        assert decode_mask(thing.mask).shape == (96, 256)


@pytest.mark.parametrize(
    "question",
    [
        *("which half of the picture?", "how far is the chair?", "is the chair left or right?"),
        *("is the red chair on the left or on the right?", "where is the chair?"),
        *("is the lamp on the left of the room?", "is the vase near or far?", "is the box small?"),
        *("what is at the bottom?", "which side is the chair on?", "what size is the box?"),
        *("is the chair right of the sofa, or at the top?", "how many pixels has the cup?"),
        *("how many chairs on the left are made of wood?", "what is the length of the table?"),
        *("on the left, how many of the chairs are red?", "is the chair near the edge?"),
        *("what is the size of the sofa?", "is the sofa long?", "is the chair tiny?"),
        *("is the chair on the left of the pic?", "is the cup left of the screen?"),
    ],
)
def test_questions_about_the_view_fix_it(question):
    sample = rooms_samples("train", 1, task="isr")[0]
    assert get_task("isr").constraints(sample).view == "free"
    assert get_task("isr").constraints(replace(sample, question=question)).view == "fixed"


@pytest.mark.parametrize(
    "question",
    [
        *("is the chair left or right of the sofa?", "is the lamp above or below the table?"),
        *("which is larger, the cup or the box?", "how many chairs are left of the sofa?"),
        *("what stands on top of the table?", "is the cup smaller than the box?"),
        *("how many chairs are in the room?", "what colour is the sofa?"),
        *("is the bag to the left or to the right of the man?",),
        "standing by the stove and facing the table, is the sofa to my left, right, or back?",
    ],
)
def test_comparisons_of_objects_stay_true_in_every_view(question):
    sample = rooms_samples("train", 1, task="isr")[0]
    assert get_task("isr").constraints(replace(sample, question=question)).view == "free"


@pytest.mark.parametrize(
    ("task", "question", "view"),
    [
        ("rec", "the chair in the middle of the picture", "fixed"),
        ("rec", "the chair in the left half", "fixed"),
        ("rec", "the cup in the lower right corner of the photo", "fixed"),
        ("rec", "person at edge of pic", "fixed"),
        ("rec", "hand at the bottom of the screen", "fixed"),
        ("rec", "the left chair", "free"),
        ("rec", "the man with the camera", "free"),
        ("ovd", "chair on the left, lamp", "fixed"),
        ("ovd", "picture frame, camera, small vase", "free"),
    ],
)
def test_a_phrase_about_the_picture_fixes_the_view(task, question, view):
    sample = rooms_samples("train", 1, task=task)[0]
    assert get_task(task).constraints(sample).view == "free"
    assert get_task(task).constraints(replace(sample, question=question)).view == view


def test_a_canvas_of_its_own_needs_no_kept_objects():
    sample = rooms_samples("train", 1, seed=3)[0]
    frame = frame_of(sample, FAR, 1.0, keep=(), canvas=(200, 100))
    assert frame.size == (200, 100) and frame.transform.scale == pytest.approx(100 / 128)


@pytest.mark.parametrize("scale", [(0.9, 0.4), (0.0, 1.0), (1e-6, 1.0), (0.5, 1.5)])
def test_bounds_that_leave_no_place_are_told(scale):
    with pytest.raises(InputError, match="leaves no place"):
        FrameOptions(scale=scale)


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_painted_samples_carry_the_labels_of_their_frame(tmp_path: Path, task):
    """A child of a child is painted from the seed: its frame and light are its own alone."""
    samples = rooms_samples("train", 6, seed=5, task=task)
    settings = SynthesisSettings(directory=tmp_path, frame=FAR, light=LIGHT, generator="rooms")
    pool = Pool.open(tmp_path)
    pool.add_seeds(samples)
    pool.close()
    client = InlineClient(settings, SamplingPolicy(max_depth=3))
    parents = {sample.id: sample for sample in samples}

    def paint(descriptions):
        client.submit(
            [
                JobRequest(parent.id, text, seed, client.fingerprint)
                for seed, (parent, text) in enumerate(descriptions)
            ]
        )
        ended = client.outcomes()
        return [client.get(one.sample_id) for one in ended if one.sample_id]

    walls = "a green brick wall, stone floor, midway, half dark, in clear air"
    children = paint([(sample, walls) for sample in samples])
    assert len(children) >= 4
    below = paint([(child, "red tiled walls, wood floor, close up") for child in children])
    assert below
    for child in children + below:
        seed = parents.get(child.parent)
        seed = seed or parents[next(one.parent for one in children if one.id == child.parent)]
        frame = Frame.of(child.columns[SYNTHESIS]["frame"])
        assert child.answer == framed_sample(seed, frame).answer
        assert child.objects == framed_sample(seed, frame).objects
        assert (child.image.width, child.image.height) == frame.size
        assert child.question == seed.question
    assert all(
        0.5 < Frame.of(c.columns[SYNTHESIS]["frame"]).transform.scale < 0.8 for c in children
    )
    assert all(Frame.of(c.columns[SYNTHESIS]["frame"]).transform.scale > 0.8 for c in below)
    light = children[0].columns[SYNTHESIS]["light"]
    assert 0.4 < light["brightness"] < 0.7 and light["haze"] < 0.05


def test_a_picture_may_grow_beyond_what_seeds_may_have(tmp_path: Path) -> None:
    """The server takes seeds of this size and no larger ones; the canvas of a picture grows."""
    seed = SEEDS[0].image
    with service(tmp_path) as client:
        open_run(client, max_image_pixels=seed.width * seed.height)
        client.post(f"{RUN}/jobs", json=jobs(1))
        (leased,) = lease(client)
        grown = np.pad(seed_of(leased).image.decode(), ((0, 40), (0, 40), (0, 0)))
        result = painted(leased, EncodedImage.from_pixels(grown).read())
        frame = Frame(Similarity(1.0, 0, 0), (seed.width + 40, seed.height + 40), 1.0)
        result["painted"]["frame"] = frame.lineage()
        answer = client.post("/v1/complete", json={"worker": "w", "results": [result]})
    assert answer.json() == {"jobs": [leased["job"]["id"]]}, answer.text


def test_labels_go_where_the_worker_says_it_placed_the_objects(tmp_path: Path):
    """Also when the run has been opened anew, with other bounds, while it painted."""
    with service(tmp_path) as client:
        open_run(client, painting={"frame": {"shift": 0.5}})
        client.post(f"{RUN}/jobs", json=jobs(1))
        (leased,) = lease(client)
        client.put(RUN, json={"painting": {"frame": {"shift": 0.0}}})
        parent = seed_of(leased)
        result = painted(leased, parent.image.read())
        width, height = parent.image.width, parent.image.height
        frames = {
            "moved out": (Frame(Similarity(1.0, width, 0), (width, height), 1.0), 422),
            "another size": (Frame(Similarity(1.0, 3, 0), (width, height + 1), 1.0), 422),
            "fitting": (Frame(Similarity(1.0, 3, 0), (width, height), 1.0), 200),
        }
        for name, (frame, status) in frames.items():
            result["painted"]["frame"] = frame.lineage()
            answer = client.post("/v1/complete", json={"worker": "w", "results": [result]})
            assert answer.status_code == status, (name, answer.text)
        (ended,) = client.get(f"{RUN}/outcomes").json()["jobs"]
    child = sample_from(ended["sample"], parent.image)
    assert child.answer == framed_sample(parent, frames["fitting"][0]).answer
    assert child.objects == framed_sample(parent, frames["fitting"][0]).objects
