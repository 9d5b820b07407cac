"""Where samples come from, as a config file writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from syngrpo.config.section import Section
from syngrpo.rooms.surroundings import Split


class Source(Section):
    """Where samples come from: a JSONL file (``path``), or the embedded world (``rooms``)."""

    path: Path | None = Field(default=None, description="a JSONL file, see docs/data.md")
    images: Path | None = Field(
        default=None, description="its image folder; null: the file's own folder"
    )
    rooms: Split | None = Field(default=None, description="a split of the rooms world")
    count: int = Field(default=500, ge=1, description="rooms only: number of samples")
    seed: int = Field(default=0, ge=0, description="rooms only: other seeds, other scenes")
    size: int = Field(
        default=128, ge=64, le=512, description="rooms only: side of the image in pixels"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.path is None) == (self.rooms is None):
            raise ValueError("needs either path (a JSONL file) or rooms (a split), not both")
        misplaced = sorted(self._foreign_keys() & self.model_fields_set)
        if misplaced:
            kind = "rooms" if self.rooms is not None else "path"
            raise ValueError(f"{', '.join(misplaced)} does not go with {kind}; remove it")
        return self

    @model_serializer(mode="wrap")
    def _own_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        foreign = self._foreign_keys()
        return {key: value for key, value in serialize(self).items() if key not in foreign}

    def _foreign_keys(self) -> set[str]:
        return {"path", "images"} if self.rooms is not None else {"rooms", "count", "seed", "size"}
