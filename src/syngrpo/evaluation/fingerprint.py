"""Telling whether two directories hold the same model, without reading all of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from syngrpo.policy.lora import adapter_base, is_adapter

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
SETTINGS = (".json", ".jinja", ".txt", ".model")
BLOCK = 1 << 20
BLOCKS = 64
"""Bytes and number of the samples taken from a file of weights; a shorter one is read whole."""


def model_fingerprint(model: str, adapter: Path | None = None) -> str:
    """A digest of the model that ``load_policy(model, adapter=adapter)`` has loaded.

    Of all files names and sizes, of configuration, tokenizer and processor the contents, of weights
    samples at regular distances. Where the files lie, and their dates, do not matter.
    """
    directory = Path(model)
    if is_adapter(directory):
        return model_fingerprint(adapter_base(directory), directory)
    digest = hashlib.sha256()
    for folder in (_local(model), adapter):
        for file in sorted(folder.iterdir()) if folder is not None else ():
            if file.suffix in (*WEIGHTS, *SETTINGS) and file.is_file():
                digest.update(f"{file.name} {file.stat().st_size}\n".encode())
                _add_content(digest, file)
        digest.update(b"-")
    return digest.hexdigest()


def _local(model: str) -> Path:
    """The directory itself, or where the hub's files were downloaded to."""
    if Path(model).is_dir():
        return Path(model)
    config = try_to_load_from_cache(model, "config.json")
    if not isinstance(config, str):
        raise FileNotFoundError(f"{model} is neither a directory nor in the hub's cache")
    return Path(config).parent


def _add_content(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as content:
        if file.suffix in SETTINGS or size <= BLOCK * BLOCKS:
            while block := content.read(BLOCK):
                digest.update(block)
            return
        for number in range(BLOCKS):
            content.seek((size - BLOCK) * number // (BLOCKS - 1))
            digest.update(content.read(BLOCK))
