"""The answers of detection and reasoning samples are true, as a reading of their own words shows.

The check looks at the sample alone: its question, its labelled objects, and the pixels under their
masks. Only the room type cannot be told from labels; it is taken from the scene's surroundings.
"""

import colorsys
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from syngrpo.boxes import decode_mask, intersection
from syngrpo.painting.light import NAMED_COLOUR_CAST, Light, lit
from syngrpo.sample import InputError, Sample
from syngrpo.tasks.asking import chance_of
from syngrpo_rooms.closed_questions import REASONING_KINDS
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.palette import THING_COLOURS
from syngrpo_rooms.room_renderer import render
from syngrpo_rooms.scenes import LABELS, sample_scene
from syngrpo_rooms.starter.architecture import vocabulary
from syngrpo_rooms.surroundings import HARD, SPLITS
from syngrpo_rooms.views import FARTHEST, HARDEST, LEAST_SIDE, seen


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def colour_of(sample: Sample, index: int) -> str:
    """Return the named colour that is nearest to the hue of most saturated pixels of an object;
    black if it has hardly any."""
    inside = in_even_light(sample)[decode_mask(sample.objects[index].mask)]
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in inside / 255]
    vivid = [hue for hue, saturation, value in hsv if saturation > 0.35 and value > 0.2]
    if len(vivid) < 0.2 * len(hsv):
        return "black"
    hues = {
        name: colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
        for name, rgb in THING_COLOURS.items()
        if name != "black"
    }
    votes = Counter(
        min(hues, key=lambda name: min(abs(hue - hues[name][0]), 1 - abs(hue - hues[name][0])))
        for hue in vivid
    )
    return votes.most_common(1)[0][0]


def in_even_light(sample: Sample) -> np.ndarray:
    """Return the picture; of a hard scene without the light that falls on the whole of it."""
    split, seed = sample.columns["split"], sample.columns["scene_seed"]
    if split not in HARD:
        return sample.image.decode()
    scene = seen(sample_scene(split, seed), seed, sample.columns["about"])
    return render(replace(scene, light=Light())).image


def margin_of(sample: Sample) -> float:
    """Return by how much two positions differ at least, as a share of the picture: less where it is
    seen from farther away, and by a pixel less because boxes end at whole pixels."""
    if "seen" not in sample.columns:
        return 0.14
    return 0.14 * sample.columns["seen"]["scale"] - 1 / sample.image.width


def one(sample: Sample, words: str):
    """Return the box of the only object that fits "the [colour] label"."""
    *colour, label = words.split()
    fitting = [k for k, thing in enumerate(sample.objects) if thing.label == label]
    if colour:
        scene = sample_scene(sample.columns["split"], sample.columns["scene_seed"])
        fitting = [k for k in fitting if scene.things[k].colour == colour[0]]
    (index,) = fitting
    return sample.objects[index].box


def answer_of(sample: Sample):
    """Work out the answer from the question and the objects; assert that it is beyond doubt."""
    text = sample.question
    labels = Counter(thing.label for thing in sample.objects)
    if match := re.fullmatch(r"how many (\w+) are there\?", text):
        plural = match[1]
        singular = {"boxes": "box"}.get(plural, plural.removesuffix("s"))
        assert singular in LABELS
        return labels[singular]
    if match := re.fullmatch(r"is the (.+) left or right of the (.+)\?", text):
        (a, _), (b, _) = centre(one(sample, match[1])), centre(one(sample, match[2]))
        assert abs(a - b) >= margin_of(sample) * sample.image.width
        return "left" if a < b else "right"
    if match := re.fullmatch(r"is the (.+) above or below the (.+)\?", text):
        (_, a), (_, b) = centre(one(sample, match[1])), centre(one(sample, match[2]))
        assert abs(a - b) >= margin_of(sample) * sample.image.height
        return "above" if a < b else "below"
    if match := re.fullmatch(r"which is (larger|smaller), the (\w+) or the (\w+)\?", text):
        sizes = {name: area(one(sample, name)) for name in match.groups()[1:]}
        least = 1.1 if "seen" in sample.columns else 1.25
        assert max(sizes.values()) >= least * min(sizes.values())
        return (max if match[1] == "larger" else min)(sizes, key=sizes.get)
    if match := re.fullmatch(r"what colour is the (\w+)\?", text):
        (index,) = [k for k, thing in enumerate(sample.objects) if thing.label == match[1]]
        return colour_of(sample, index)
    assert text == "what kind of room is this?"
    split, seed = sample.columns["split"], sample.columns["scene_seed"]
    return sample_scene(split, seed).surroundings.room


@pytest.mark.parametrize("split", SPLITS)
def test_reasoning_answers_are_true(split):
    samples = rooms_samples(split, 150, seed=11, task="isr")
    kinds = Counter(sample.columns["kind"] for sample in samples)
    assert min(kinds[kind] for kind in REASONING_KINDS) >= 12
    wrong = [s for s in samples if answer_of(s) != s.answer]
    if split in ("ood", "ood-hard"):  # neon light changes hues, which is what makes it hard
        wrong = [s for s in wrong if s.columns["kind"] != "attribute"]
    assert not wrong


def test_reasoning_answers_vary():
    samples = rooms_samples("train", 600, seed=2, task="isr")
    for kind in REASONING_KINDS:
        answers = Counter(s.answer for s in samples if s.columns["kind"] == kind)
        most = answers.most_common(1)[0][1] / answers.total()
        assert len(answers) >= 4 and most <= 0.6, (kind, answers)


def test_a_guess_at_a_closed_question_is_as_good_as_its_number_of_answers():
    """For a number also near misses count."""
    chances = {}
    for sample in rooms_samples("train", 200, seed=2, task="isr"):
        assert sample.answer in sample.columns["choices"]
        chances.setdefault(sample.columns["kind"], set()).add(chance_of(sample))
    counts = chances.pop("count")
    assert min(counts) > 1 / 6 and max(counts) < 0.6
    assert chances == {
        "relative_position": {1 / 2},
        "attribute": {1 / len(THING_COLOURS)},
        "relative_size": {1 / 2},
        "room_type": {1 / 5},
    }


@pytest.mark.parametrize("split", SPLITS)
def test_detection_answers_are_all_objects_of_the_asked_classes(split):
    absent = total = 0
    for sample in rooms_samples(split, 100, seed=4, task="ovd"):
        classes = sample.question.split(", ")
        assert 2 <= len(classes) <= 3 and len(set(classes)) == len(classes)
        wanted = sorted((t.label, t.box) for t in sample.objects if t.label in classes)
        assert sorted((item["label"], item["box"]) for item in sample.answer) == wanted
        assert len(sample.answer) <= 4
        total += len(classes)
        absent += sum(all(t.label != label for t in sample.objects) for label in classes)
    assert 0.15 <= absent / total <= 0.6


def test_some_detection_questions_have_nothing_to_find():
    samples = rooms_samples("train", 200, task="ovd")
    assert 8 <= sum(not sample.answer for sample in samples) <= 40


@pytest.mark.parametrize("task", ["rec", "ovd", "isr"])
def test_samples_are_the_same_every_time_and_differ_by_seed_and_split(task):
    assert rooms_samples("test", 3, 1, task) == rooms_samples("test", 3, 1, task)
    questions = {
        (sample.question, sample.columns["scene_seed"])
        for split in SPLITS
        for seed in (0, 1)
        for sample in rooms_samples(split, 3, seed, task)
    }
    assert len(questions) == 3 * 2 * len(SPLITS)


def test_every_word_is_in_the_vocabulary():
    known = set(vocabulary())
    for task in ("rec", "ovd", "isr"):
        for sample in rooms_samples("ood", 60, task=task):
            assert set(re.findall(r"[a-z]+", sample.question)) <= known
            if isinstance(sample.answer, str):
                assert sample.answer in known


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="use one of rec, ovd, ovd-vlm-r1, isr"):
        rooms_samples("test", 1, task="seg")


@pytest.mark.parametrize("split", HARD)
def test_hard_scenes_are_seen_from_anywhere_in_any_light(split):
    samples = [s for task in ("rec", "ovd", "isr") for s in rooms_samples(split, 60, 3, task)]
    seen_as = [sample.columns["seen"] for sample in samples]
    scales = sorted(one["scale"] for one in seen_as)
    assert scales[0] >= FARTHEST and scales[10] < 0.55 and scales[-10] > 0.9
    for name, worst in (("brightness", HARDEST.brightness), ("haze", HARDEST.haze)):
        values = [one["light"][name] for one in seen_as]
        assert min(values) >= 0 and max(values) <= 1
        assert min(abs(value - worst) for value in values) < 0.05
    for name in ("glare", "cast", "blur", "grain"):
        assert 0.1 < np.mean([one["light"][name] != 0 for one in seen_as]) < 0.3
    assert {len(one["decoys"]) for one in seen_as} >= {0, 1, 2, 3, 4}
    for sample in samples:
        sides = [min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (t.box for t in sample.objects)]
        assert min(sides) >= LEAST_SIDE


@pytest.mark.parametrize("split", HARD)
def test_decoys_of_hard_scenes_cannot_fit_the_question(split):
    for task in ("rec", "ovd", "isr"):
        for sample in rooms_samples(split, 60, 4, task):
            asked = {*re.findall(r"[a-z]+", sample.question), *sample.columns.get("about", ())}
            asked |= {thing.label for thing in sample.objects}
            assert not asked & set(sample.columns["seen"]["decoys"])
            if "colour" in sample.question:
                assert abs(sample.columns["seen"]["light"]["cast"]) <= NAMED_COLOUR_CAST


def test_hard_scenes_are_drawn_where_their_boxes_are():
    """The light moves nothing, decoys cover nothing, and the things are the ones of the scene."""
    for seed in range(40):
        scene = sample_scene("hard", seed)
        there = seen(scene, seed)
        bare = render(replace(there, light=Light(), decoys=()))
        with_decoys = render(replace(there, light=Light()))
        whole = render(there)
        assert whole.boxes == bare.boxes
        assert (whole.image == lit(with_decoys.image, there.light, there.detail_seed)).all()
        for mask in bare.masks:
            assert (bare.image[mask] == with_decoys.image[mask]).all()
        for thing, was, box in zip(there.things, scene.things, bare.boxes, strict=True):
            width = was.box[2] - was.box[0]
            assert thing.box[2] - thing.box[0] == pytest.approx(there.view.scale * width)
            assert all(abs(a - b) <= 2.5 for a, b in zip(thing.box, box, strict=True))
            assert not any(intersection(thing.box, decoy.box) for decoy in there.decoys)
        assert seen(scene, seed) == there
