"""The short way to read a list of objects, against the way that reads any text."""

import random
from collections.abc import Iterator

import pytest

from syngrpo.sample import EncodedImage, Sample
from syngrpo.tasks import get_task
from syngrpo.tasks.answer_reading import find_objects, objects_in_any_form
from syngrpo.tasks.asked_form import objects_as_asked
from syngrpo.tasks.ovd import Instance

OVD = get_task("ovd")
USUAL = ["chair", "desk lamp", "café", "犬", "t-shirt", "woman's bag", "tv/monitor", "man, old"]
# Words and signs that mean something outside a label.
USUAL += ["none", "label", "bbox_2d", "x1", "10 px", "from 1 to 2", "top left", "1. dog", "json"]
USUAL += ["a // b", "９", "Ｗide", "ſ", "3 - 4", "x - y", "1, 2, 3, 4", "0.5", "nan"]
ODD = ["", " ", " lamp", "-", "5%", "a|b", "[1, 2, 3, 4]", "from (1, 2) to (3, 4)", 'a "b"']
ODD += ["a: b", "b, # c", r"\u00e9", r"a\nb", "{}", "a=1", "“chair”", "a\nb", "/* a", "*", "#"]
ODD += ["（1，2）", "😀", "\ud800"]
NUMBERS = ["0", "7", "40", "1000", "-3", "12.5", "-1.5", "999999999", "0.25", "640", "80", "300"]
ODD_NUMBERS = ["1e3", "NaN", "-Infinity", "+5", "5.", ".5", '"5"', "9" * 400, "1000000001", "５"]
ODD_NUMBERS += ["007", "-0", "-0.5", "00", "9" * 16, "0." + "1" * 16]
BEGINS = ["", "[", "```json\n[", "```json\n[\n\t", "```json\n", " [\n  "]
ODD_BEGINS = ["dog: [", '{"dog": [', "Here they are:\n[", "```\n[", "[[", "None. [", "- [", "}"]
ENDS = ["", "]", "]\n```", "\n]\n```", "\n```", " ]\n"]
ODD_ENDS = ["}", "]}", "] That is all.", ', {"bbox_2d": [1, 2', ",]", ", None]", "] // two", "\x00"]
GAPS = [", ", ",", ",\n", ",\n\t", " ,\n  "]
ODD_GAPS = ["", " ", "\n", "; ", ",, ", ", // next\n", ", dog: ", "], ["]
ROWS = ['{"bbox_2d": [%s, %s, %s, %s], "label": "%s"}', '{"bbox_2d":[%s,%s,%s,%s],"label":"%s"}']
ODD_ROWS = [
    '{"label": "a", "bbox_2d": [%s, %s, %s, %s], "label": "%s"}',
    '{"bbox_2d": [%s, %s, %s, %s], "label": "%s", "bbox_2d": [1, 2, 3, 4]}',
    '{"bbox": [%s, %s, %s, %s], "label": "%s"}',
    '{"box": [[%s, %s], [%s, %s]], "name": "%s"}',
    '{"bbox_2d": [[%s, %s, %s, %s]], "label": "%s"}',
    "{'bbox_2d': [%s, %s, %s, %s], 'label': '%s'}",
    '{"bbox_2d": [%s, %s, %s, %s, 5], "label": "%s"}',
    '{"BBOX_2D": [%s, %s, %s, %s], "Label": "%s"}',
    '{"a": {"bbox_2d": [%s, %s, %s, %s], "label": "%s"}}',
    '{"bbox_2d": [%s %s %s %s], "label": "%s"}',
]


def answers(seed: int, oddness: float) -> Iterator[str]:
    """Yield texts without end, whose parts are each odd with this probability."""
    rng = random.Random(seed)

    def one(usual: list[str], odd: list[str]) -> str:
        return rng.choice(odd if rng.random() < oddness else usual)

    while True:
        numbers = [[one(NUMBERS, ODD_NUMBERS) for _ in range(4)] for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.7:  # most boxes have an area
            numbers = [sorted(row[:2], key=len) + sorted(row[2:], key=len) for row in numbers]
        rows = [one(ROWS, ODD_ROWS) % (*row, one(USUAL, ODD)) for row in numbers]
        text = rows[0] + "".join(one(GAPS, ODD_GAPS) + row for row in rows[1:])
        text = one(BEGINS, ODD_BEGINS) + text + one(ENDS, ODD_ENDS)
        while rng.random() < oddness:
            place, gone = rng.randrange(len(text)), rng.randint(0, 4)
            piece = rng.choice(
                ["", *'[]{},:"-.%|\\\n 1', "```", "label", '"label": "a"', text[:40]]
            )
            text = text[:place] + piece + text[place + gone :]
        yield text


@pytest.mark.parametrize("oddness", [0.0, 0.02, 0.2])
def test_the_short_way_reads_what_the_long_way_reads(oddness: float) -> None:
    texts = [text for text, _ in zip(answers(7, oddness), range(1500), strict=False)]
    short = [objects_as_asked(text) for text in texts]
    for text, found in zip(texts, short, strict=True):
        assert found is None or found == objects_in_any_form(text), text
        assert find_objects(text) == objects_in_any_form(text), text
    taken = sum(found is not None for found in short)
    assert taken == len(texts) if not oddness else 0 < taken < len(texts)


def test_the_score_is_the_same_either_way() -> None:
    """A comment in an answer says nothing, but it makes the answer one for the long way."""
    truth = (
        Instance(label="chair", box=(7.0, 0.0, 80.0, 300.0)),
        Instance(label="desk lamp", box=(0.25, 7.0, 40.0, 80.0)),
    )
    image = EncodedImage(640, 480, data=b"never decoded")
    sample = Sample("s", "ovd", image, "chair, desk lamp", truth, ())
    rng, scores = random.Random(3), set()
    for _ in range(500):
        moved = [
            ([round(number + rng.gauss(0, 4)) for number in one["box"]], one["label"].title())
            for one in rng.choices(truth, k=rng.randint(1, 5))
        ]
        text = "[" + ", ".join(ROWS[0] % (*box, label) for box, label in moved) + "]"
        longer = text.replace("[{", "[ // all\n{")
        assert objects_as_asked(text) and objects_as_asked(longer) is None
        scores.add(OVD.score(OVD.read(text), sample))
        assert OVD.score(OVD.read(text), sample) == OVD.score(OVD.read(longer), sample)
    assert len(scores) > 50


def test_a_text_that_is_too_long_is_cut_off_first() -> None:
    rows = [ROWS[0] % (n, 0, n + 1, 5, "chair") for n in range(1200)]
    assert find_objects(", ".join(rows)) == objects_in_any_form(", ".join(rows))
    assert 300 < len(find_objects(", ".join(rows))) < 1200
