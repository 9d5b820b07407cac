"""Which models judge, and how strictly: plain and picklable, nothing is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class TaskPolicy:
    """What a task forgives. Phantoms are new instances of a class that may not appear anew.

    ``min_recall`` is the share of the objects found in the parent that are still found in the
    child. ``phantom_score``: detector score from which an unexplained detection is a phantom.
    """

    max_phantoms: int = 0
    min_recall: float = 1.0
    phantom_score: float = 0.35


POLICIES: Mapping[str, TaskPolicy] = MappingProxyType(
    {
        # A second object of the kind, or a lost landmark, makes the phrase ambiguous.
        "rec": TaskPolicy(),
        # Every object, up to nine; a detector blinks now and then among dozens.
        "ovd": TaskPolicy(min_recall=0.9),
        "ovd-vlm-r1": TaskPolicy(min_recall=0.9),
        # Counts, positions and sizes are asked for.
        "isr": TaskPolicy(),
    }
)


@dataclass(frozen=True)
class JudgeThresholds:
    """When what the models saw refuses a picture.

    ``max_expansion``: area that an object gained, in areas of the object (arXiv 2404.10157 measures
    it in pixels). ``max_continuation``: the model-free estimate of the same, a share of the border;
    None only records it. An object is found in the parent from ``found_score`` and lost in the
    child below ``lost_score``: two thresholds, for an object on a harder background is no fault.
    ``same_place``: IoU from which two boxes mean the same thing. ``kept_share``: share of kept
    pixels in a box from which it shows what was kept; ``touched_share``: from which it may be the
    detector's reading of something kept, if the parent was read so too.
    """

    max_expansion: float = 0.2
    max_continuation: float | None = None
    found_score: float = 0.3
    lost_score: float = 0.15
    same_place: float = 0.5
    kept_share: float = 0.7
    touched_share: float = 0.2
    policies: Mapping[str, TaskPolicy] = field(default_factory=lambda: dict(POLICIES))

    def policy(self, task: str) -> TaskPolicy:
        """The task's policy; the strictest for a task that has none."""
        return self.policies.get(task, TaskPolicy())


@dataclass(frozen=True)
class JudgeOptions:
    """Each model is a directory or a hub id, or None for none.

    ``detector``: Grounding DINO, MM-Grounding-DINO, LLMDet, OWL-ViT or OWLv2. ``segmenter``: SAM 2.
    ``similarity``: CLIP or SigLIP. ``dtype`` is float32, bfloat16 or float16.
    """

    detector: str | None = None
    segmenter: str | None = None
    similarity: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    thresholds: JudgeThresholds = field(default_factory=JudgeThresholds)
