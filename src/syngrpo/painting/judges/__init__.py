"""Judges look at a painted picture after the gate's checks of pixels, and may reject it.

``base`` says what a judge is and what it is given. ``panel`` makes the judges of a worker from its
options and asks them one after the other; ``painting.gate`` calls it. The built-in judges are

- ``object_extent``: measures whether an object has grown, with a segmenter, or estimates it without
  a model;
- ``instances``: finds objects that the painting added or hid, with a detector;
- ``panel.SimilarityJudge``: records how well picture and description agree, and rejects nothing.

``judging_models`` holds the detectors, the segmenter and the similarity model; it alone imports
torch. ``synthesis.judges.more`` adds judges of installed packages or the user's own. Start reading
at ``base``.
"""

from __future__ import annotations

from collections.abc import Callable

from syngrpo.extensions import Registry, no_callable
from syngrpo.painting.judges.base import Judge

JUDGES: Registry[Callable[..., Judge]] = Registry(
    "judge",
    "syngrpo.judges",
    {"continuation": "syngrpo.painting.judges.object_extent:ContinuationJudge"},
    problem=no_callable,
)
