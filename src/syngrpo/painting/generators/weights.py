"""Which weights a model name stands for: found without loading them, named without reading all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from syngrpo.sample import InputError

INDEX = "model_index.json"
"""The file that makes a directory a diffusers model."""
_SAMPLED = 1 << 16
_WEIGHTS = {".safetensors", ".bin", ".pt", ".ckpt", ".gguf"}


@dataclass(frozen=True)
class Weights:
    """``source`` and ``revision`` are what ``from_pretrained`` takes. ``identity`` changes with the
    weights, not with where they lie."""

    source: str
    revision: str | None
    identity: str


def find_model(model: str) -> Weights:
    """A directory with a model_index.json, or the commit of an id on the Hugging Face hub.

    The hub is asked only for what this machine has not yet; of the model just the index is
    fetched. Raises InputError when there is no such model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / INDEX).is_file():
            raise InputError(
                f"{folder} has no {INDEX}; give the directory of a model in diffusers' format"
            )
        return Weights(str(folder), None, f"{folder.resolve().name}@{identify(folder)}")
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(f"image model {model} does not exist; give a directory or a hub id")
    commit = _commit_on_hub(model)
    return Weights(model, commit, f"{model}@{commit[:12]}")


def find_lora(lora: str) -> Weights:
    """A file, or a directory that holds one. Raises InputError when there is none."""
    path = Path(lora).expanduser()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise InputError(
            f"LoRA {lora} is neither a file nor a directory with one .safetensors file; correct it"
        )
    return Weights(str(files[0]), None, f"{files[0].name}@{identify(files[0])}")


def identify(path: Path) -> str:
    """12 hexadecimal digits for a file or a folder.

    Weights count by their size and by samples from the start, the middle and the end, other files
    by their content: a model of 20 GB takes milliseconds.
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
        cached = try_to_load_from_cache(model, INDEX)
        file = cached if isinstance(cached, str) else hf_hub_download(model, INDEX)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"image model {model} is neither a directory nor on the hub ({reason}); download it "
            "and give its directory"
        ) from None
    return Path(file).parent.name  # …/snapshots/COMMIT/model_index.json
