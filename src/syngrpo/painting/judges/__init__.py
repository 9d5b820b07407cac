"""Judges: they look at a painted picture after the gate's checks of pixels, and may reject it.

``base`` says what a judge is and what it sees. ``panel`` puts the judges of a worker together, as
``judge_options`` say, and asks them one after the other. Built in are

- ``object_extent``: has an object grown? With a segmenter, or by an estimate without a model;
- ``instances``: did the painting add an object, or hide one? With a detector;
- a similarity of picture and description, which is only recorded.

``judging_models`` holds the models, and alone imports torch. Further judges, of installed packages
or the user's own, come from ``synthesis.judges.more``. Start reading at ``base``.
"""

from __future__ import annotations

from collections.abc import Callable

from syngrpo.extensions import Registry
from syngrpo.painting.judges.base import Judge

JUDGES: Registry[Callable[..., Judge]] = Registry(
    "judge",
    "syngrpo.judges",
    {"continuation": "syngrpo.painting.judges.object_extent:ContinuationJudge"},
)
