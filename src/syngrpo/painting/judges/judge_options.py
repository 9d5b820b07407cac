"""Which judges look at a painted picture, and how strictly. Plain data: nothing is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from syngrpo.options import REQUIRED, option


@dataclass(frozen=True)
class FurtherJudge:
    """A judge beside ours: of an installed package, or the user's own."""

    use: str = option(REQUIRED, "name of a judge, or package.module:name of a class or function")
    options: Mapping[str, Any] = option(dict, "its keyword arguments")


@dataclass(frozen=True)
class JudgeOptions:
    """Which judges look at a painted picture, and how strictly; see docs/gate.md.

    Each model is a directory or an id on the Hugging Face hub. What a missing model would say is
    neither scored nor required. Without models the gate needs no torch.
    """

    detector: str | None = option(
        None,
        "model that finds objects: Grounding DINO, MM-Grounding-DINO, LLMDet, OWL-ViT or OWLv2; "
        "null: none",
    )
    segmenter: str | None = option(None, "model that outlines objects: SAM 2; null: none")
    similarity: str | None = option(
        None, "model that compares pictures with texts: CLIP or SigLIP; null: none"
    )
    device: str = option("cpu", 'device of these models: "cpu", "cuda", "cuda:1"')
    dtype: Literal["float32", "bfloat16", "float16"] = option("float32", "of their weights")
    max_expansion: float = option(
        0.2, "share of its area by which an object may grow; needs a segmenter", ge=0
    )
    max_continuation: float | None = option(
        None,
        "the same without a model, as a share of the object's border; null: only recorded",
        ge=0,
        le=1,
    )
    more: tuple[FurtherJudge, ...] = option(
        (), "further judges, asked in this order: [{use: package.module:name, options: {…}}]"
    )
