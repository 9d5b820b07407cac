"""The generator ``diffusers`` and its presets: an inpainting pipeline of diffusers paints the
surroundings. See docs/generators.md.

The generator finds the model, names it in its fingerprint and hands requests to the pipeline, one
at a time. ``diffusers_pipeline``, which imports torch and diffusers, is imported only when the
model is loaded, because the trainer needs the fingerprint alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from syngrpo.painting.generators.base import GenerationRequest, Generator
from syngrpo.painting.generators.diffusers_options import DiffusersOptions, Plan, plan
from syngrpo.painting.generators.sizes import shrunk, working_size
from syngrpo.sample import InputError
from syngrpo.serving.wording import first_line

if TYPE_CHECKING:
    from syngrpo.painting.generators.diffusers_pipeline import LoadedPipeline

MODEL_INDEX = "model_index.json"
"""The file that every directory with a diffusers model has."""
REVISION = 1
"""Part of the fingerprint. Raise it when the pipeline is called in a way that changes pictures."""
_SAMPLED = 1 << 16
"""Bytes that are read at each of three places of a weights file to identify it."""
_WEIGHTS = {".safetensors", ".bin", ".pt", ".ckpt", ".gguf"}


@dataclass(frozen=True)
class Weights:
    """Weights that were found but not loaded. ``source`` and ``revision`` are what
    ``from_pretrained`` takes. ``identity`` changes with the weights, not with the directory they
    are in."""

    source: str
    revision: str | None
    identity: str


class DiffusersGenerator(Generator):
    """Paints with a pipeline of diffusers. A picture has the size nearest to the requested one that
    the model can paint.

    The noise of a picture is drawn on the CPU from its request's seed alone, so that it is the same
    on every device.
    """

    Options = DiffusersOptions
    preset: ClassVar[str | None] = None
    """The preset that is used if the options name none."""

    def __init__(self, **options: Any) -> None:
        """Find the model without loading it. ``options`` are those of DiffusersOptions.

        Raises InputError when diffusers is not installed, options contradict each other or the
        model does not exist.
        """
        try:
            version = importlib.metadata.version("diffusers")
        except importlib.metadata.PackageNotFoundError:
            raise InputError(
                'generator diffusers is not installed; run pip install "syngrpo[diffusers]"'
            ) from None
        self._plan = plan(DiffusersOptions(**{"preset": self.preset, **options}))
        lora = self._plan.options.lora
        self._lora = find_lora(lora) if lora is not None else None
        self._weights = find_model(self._plan.preset.model)
        self._longest: int | None = None
        self._loaded: LoadedPipeline | None = None
        self.fingerprint = _fingerprint(self._plan, self._weights, self._lora, version)

    def load(self) -> None:
        """Load the pipeline. Raises InputError when that is not possible."""
        self.loaded()

    def loaded(self) -> LoadedPipeline:
        """Return the pipeline; load it at the first call. Raises InputError as ``load`` does."""
        if self._loaded is None:
            from syngrpo.painting.generators.diffusers_pipeline import LoadedPipeline

            self._loaded = LoadedPipeline(
                self._plan,
                self._weights.source,
                self._weights.revision,
                self._lora.source if self._lora is not None else None,
            )
        return self._loaded

    def limit_side(self, side: int) -> bool:
        """Paint no picture with a side of more than ``side`` pixels from now on, or than the
        smallest side that the model can paint, if that is longer. Returns False for a pipeline
        that chooses the size itself."""
        if self.loaded().chooses_size:
            return False
        self._longest = side
        return True

    def size_for(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) that is painted when the request wants ``wanted``."""
        rule = self._plan.preset.size
        step = math.lcm(rule.multiple, self.loaded().cell)
        return working_size(wanted, replace(rule, multiple=step), self._longest)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Paint the requests one after the other; return one uint8 (H', W', 3) for each.

        Raises OutOfMemory, and ValueError for pixels that are NaN or infinite and for a picture
        that a safety checker blackened.
        """
        return [
            self._to_bytes(self.loaded().paint(request, self.size_for(request.size)))
            for request in requests
        ]

    def round_trip(self, image: np.ndarray) -> np.ndarray:
        """Encode and decode uint8 (H, W, 3) with the model's autoencoder: in the same size, or
        shrunk if ``limit_side`` was called with less.

        Painted pixels have statistics that come from the decoder; so have kept pixels that went
        through it, which are then no longer exact. Raises OutOfMemory and ValueError as
        ``generate`` does.
        """
        if self._longest is not None:
            image = shrunk(image, self._longest)
        return self._to_bytes(self.loaded().round_trip(image))

    def _to_bytes(self, picture: np.ndarray) -> np.ndarray:
        if not np.isfinite(picture).all():
            raise ValueError(
                f"generator {self.fingerprint} painted pixels that are NaN or infinite, because "
                f"{self._plan.preset.dtype} overflowed; set dtype to bfloat16 or float32"
            )
        return np.rint(picture * 255).astype(np.uint8)


class Flux2Klein(DiffusersGenerator):
    preset = "flux2-klein"


class ZImageTurbo(DiffusersGenerator):
    preset = "z-image-turbo"


class QwenImageInpaint(DiffusersGenerator):
    preset = "qwen-image-inpaint"


class SdxlInpaint(DiffusersGenerator):
    preset = "sdxl-inpaint"


def _fingerprint(chosen: Plan, weights: Weights, lora: Weights | None, version: str) -> str:
    """Return a text that changes with everything that changes a picture, except for the rounding of
    a device."""
    preset = chosen.preset
    few = preset.lora if lora is not None else None
    parts = {
        "revision": REVISION,
        "diffusers": version,
        "pipeline": preset.pipeline,
        "weights": weights.identity,
        "lora": lora.identity if lora is not None else None,
        "scheduler": dict(few.scheduler) if few is not None else None,
        "load": dict(preset.load),
        "steps": preset.steps,
        "guidance": preset.guidance,
        "strength": preset.strength,
        "negative_prompt": preset.negative_prompt,
        "size": asdict(preset.size),
        "dtype": preset.dtype,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"diffusers/{chosen.name}/{weights.identity}/{digest}"


def find_model(model: str) -> Weights:
    """Return the weights in a directory with a model_index.json, or of an id on the Hugging Face
    hub with its commit.

    The hub is asked only if its cache on this machine has no copy, and only the model's index is
    downloaded. Raises InputError when there is no such model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / MODEL_INDEX).is_file():
            raise InputError(
                f"{folder} has no {MODEL_INDEX}; give the directory of a model in diffusers' format"
            )
        return Weights(str(folder), None, f"{folder.resolve().name}@{identify(folder)}")
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(f"image model {model} does not exist; give a directory or a hub id")
    commit = _commit_on_hub(model)
    return Weights(model, commit, f"{model}@{commit[:12]}")


def find_lora(lora: str) -> Weights:
    """Return the weights in a file, or in a directory with one file. Raises InputError when there
    is no such file."""
    path = Path(lora).expanduser()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise InputError(
            f"LoRA {lora} is neither a file nor a directory with one .safetensors file; correct it"
        )
    return Weights(str(files[0]), None, f"{files[0].name}@{identify(files[0])}")


def identify(path: Path) -> str:
    """Return 12 hexadecimal digits that identify the content of a file or a folder.

    A weights file is identified by its size and by samples from the start, the middle and the end,
    any other file by its whole content, so that a model of 20 GB is identified in milliseconds.
    Hidden files and ``.md`` files do not count.
    """
    digest = hashlib.sha256()
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        if any(part.startswith(".") for part in name.split("/")) or name.endswith(".md"):
            continue
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if file.suffix not in _WEIGHTS:
                digest.update(stream.read())
                continue
            for offset in (0, size // 2, max(0, size - _SAMPLED)):
                stream.seek(offset)
                digest.update(stream.read(_SAMPLED))
    return digest.hexdigest()[:12]


def _commit_on_hub(model: str) -> str:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        cached = try_to_load_from_cache(model, MODEL_INDEX)
        file = cached if isinstance(cached, str) else hf_hub_download(model, MODEL_INDEX)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise InputError(
            f"image model {model} is neither a directory nor on the hub ({reason}); download it "
            "and give its directory"
        ) from None
    return Path(file).parent.name  # …/snapshots/COMMIT/model_index.json
