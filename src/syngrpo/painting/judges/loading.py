"""Loading the models that judge. Torch and transformers are imported only when one is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syngrpo.painting.judges.options import JudgeOptions
from syngrpo.painting.judges.panel import Judges
from syngrpo.sample import InputError
from syngrpo.serving.devices import parse_device

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


def load_judges(options: JudgeOptions) -> Judges:
    """The configured models, in evaluation mode on their device.

    Raises InputError, one line that names the option, for a model that is missing, cannot be read
    or is of another kind, an unknown dtype, and a device that is not there.
    """
    judges = Judges(thresholds=options.thresholds)
    if options.detector is not None:
        from syngrpo.painting.judges.grounding import GROUNDING, OWL, OpenVocabularyDetector

        kinds = GROUNDING | OWL
        parts = _load("detector", options.detector, kinds, options)
        judges.detector = OpenVocabularyDetector(*parts)
    if options.segmenter is not None:
        from syngrpo.painting.judges.outlining import BoxSegmenter

        # Published checkpoints are those of the video model; the image model reads them.
        parts = _load("segmenter", options.segmenter, {"sam2", "sam2_video"}, options)
        judges.segmenter = BoxSegmenter(*parts)
    if options.similarity is not None:
        from syngrpo.painting.judges.describing import ImageTextSimilarity

        parts = _load("similarity", options.similarity, {"clip", "siglip", "siglip2"}, options)
        judges.similarity = ImageTextSimilarity(*parts)
    return judges


def _load(
    name: str, source: str, kinds: set[str] | frozenset[str], options: JudgeOptions
) -> tuple[Any, Any]:
    """Model and processor of a directory or hub id, when it is of one of the ``kinds``."""
    import transformers as hf
    from transformers.utils import logging

    logging.disable_progress_bar()  # a worker shares its terminal with others
    _check_source(name, source)
    device = parse_device(options.device, "synthesis.judges.device")
    dtype = _dtype(options.dtype)
    auto: Any = {
        "detector": hf.AutoModelForZeroShotObjectDetection,
        "segmenter": hf.Sam2Model,
        "similarity": hf.AutoModel,
    }[name]
    read_processor: Any = hf.Sam2Processor if name == "segmenter" else hf.AutoProcessor
    try:
        written, _ = hf.PreTrainedConfig.get_config_dict(source)
        kind = str(written.get("model_type"))
        if kind not in kinds:
            known = ", ".join(sorted(kinds))
            raise InputError(f"{name} {source} is of type '{kind}'; use one of type {known}")
        processor = read_processor.from_pretrained(source)
        model = auto.from_pretrained(source, dtype=dtype)
    except (OSError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name} {source} cannot be loaded ({reason}); check its name") from None
    return model.to(device).eval().requires_grad_(False), processor


def _check_source(name: str, source: str) -> None:
    if (Path(source) / "config.json").is_file():
        return
    if Path(source).is_dir():
        raise InputError(f"{name}: directory {source} holds no model (no config.json)")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise InputError(f"{name}: directory {source} does not exist; give a model or none")


def _dtype(dtype: str) -> torch.dtype:
    import torch

    if dtype not in DTYPES:
        raise InputError(f"judges' dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    kind: torch.dtype = getattr(torch, dtype)
    return kind
