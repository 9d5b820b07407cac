"""Judges beside ours: named in the configuration, asked last, stored with their scores."""

import numpy as np
import pytest
from rooms_oracle import candidate, raw_generation

from syngrpo.options import read_options
from syngrpo.painting.gate import Gate
from syngrpo.painting.judges import JUDGES
from syngrpo.painting.judges.base import Candidate, Verdict
from syngrpo.painting.judges.panel import FurtherJudge, JudgeOptions, load_judges
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples

SAMPLE = rooms_samples("train", 1, size=96)[0]
CASE = candidate(SAMPLE, raw_generation(SAMPLE, "purple brick walls", 1))


class NotTooBright:
    """Rejects a picture whose mean grey level is above ``most``."""

    def __init__(self, most: float = 255.0) -> None:
        self.most = most

    def judge(self, candidate: Candidate) -> Verdict:
        bright = float(np.mean(candidate.child))
        return Verdict("too_bright" if bright > self.most else None, {"brightness": bright})


def with_more(*judges: dict) -> JudgeOptions:
    """As a configuration file gives it."""
    return read_options(JudgeOptions, {"more": list(judges)}, "synthesis.judges")


def test_a_judge_of_the_user_rejects_and_is_recorded() -> None:
    mine = f"{__name__}:NotTooBright"
    lenient = Gate(judges=load_judges(with_more({"use": mine})))
    strict = Gate(judges=load_judges(with_more({"use": mine, "options": {"most": 1.0}})))
    admitted, rejected = lenient.judge(CASE), strict.judge(CASE)
    assert admitted.admitted and admitted.scores["brightness"] > 1
    assert rejected.reason == "too_bright"
    assert list(rejected.scores)[-1] == "brightness", "asked after ours"
    assert Gate().judge(CASE).scores == {
        name: score for name, score in admitted.scores.items() if name != "brightness"
    }


def test_built_in_judges_have_names() -> None:
    assert "continuation" in JUDGES.names()
    twice = JudgeOptions(more=(FurtherJudge("continuation", {"max_continuation": 0.0}),))
    assert Gate(judges=load_judges(twice)).judge(CASE).reason in ("object_expansion", None)


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"use": "no_such"}, "judge 'no_such' is unknown; use one of continuation"),
        ({"use": "no_such_package:Judge"}, "cannot be imported"),
        ({"use": f"{__name__}:NotTooBright", "options": {"least": 1}}, "does not take these"),
        ({"options": {}}, "option more.0.use of synthesis.judges: is missing"),
    ],
)
def test_what_is_wrong_with_a_judge_is_one_line(judge: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_judges(with_more(judge))
    assert message in str(raised.value) and "\n" not in str(raised.value)
