"""Where samples come from, as a config file writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from syngrpo.config.section import Section
from syngrpo.tasks import TASKS
from syngrpo_rooms.surroundings import Split

Format = Literal["auto", "jsonl", "vlm-r1", "coco", "refcoco", "hf"]

ROOMS_KEYS = ("rooms", "count", "size")
FILE_KEYS = ("path", "images", "format", "split", "columns", "negatives", "limit")
ONLY_WITH = {"negatives": ("coco", "hf"), "split": ("refcoco", "hf"), "columns": ("hf",)}
"""Keys that only some formats know."""


class Source(Section):
    """Where samples come from: files (``path``), or the embedded world (``rooms``)."""

    path: Path | list[Path] | None = Field(
        default=None, description="a data file or folder, or several (a list, or a:b), see data.md"
    )
    images: Path | list[Path] | None = Field(
        default=None, description="image folder, or one a file; null: beside the file"
    )
    format: Format = Field(default="auto", description="of the files; auto: by name and content")
    task: str | None = Field(
        default=None, description="where a format can give several: rec, ovd, isr, ovd-vlm-r1"
    )
    split: str | None = Field(default=None, description="refcoco, hf only: val, testA, …")
    columns: dict[str, str] = Field(
        default={}, description="hf only: our field → the column that holds it"
    )
    negatives: int = Field(
        default=2, ge=0, description="coco only: absent classes asked for in an image"
    )
    limit: int | None = Field(default=None, ge=1, description="the first samples only; null: all")
    rooms: Split | None = Field(default=None, description="a split of the rooms world")
    count: int = Field(default=500, ge=1, description="rooms only: number of samples")
    seed: int = Field(
        default=0, ge=0, description="rooms: other seeds, other scenes; coco: of absent classes"
    )
    size: int = Field(
        default=128, ge=64, le=512, description="rooms only: side of the image in pixels"
    )
    name: str | None = Field(
        default=None, min_length=1, description="what metrics call it; null: by file or split"
    )
    weight: float | None = Field(
        default=None,
        gt=0,
        description="share of the draws relative to other sources; null everywhere: by their sizes",
    )

    @field_validator("path", "images", mode="before")
    @classmethod
    def _joined_by_colons(cls, value: Any) -> Any:
        return split_paths(value) if isinstance(value, str) else value

    @field_validator("path", "images")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value == []:
            raise ValueError("is an empty list; name at least one")
        return value

    @field_validator("task")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in TASKS:
            raise ValueError(f"should be one of {', '.join(TASKS.names())}")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.path is None) == (self.rooms is None):
            raise ValueError("needs either path (files) or rooms (a split), not both")
        misplaced = sorted(self._foreign_keys() & self.model_fields_set)
        if misplaced:
            kind = "rooms" if self.rooms is not None else "path"
            raise ValueError(f"{', '.join(misplaced)} does not go with {kind}; remove it")
        for key, formats in ONLY_WITH.items():
            if key in self.model_fields_set and self.format not in ("auto", *formats):
                raise ValueError(f"{key} does not go with format {self.format}; remove it")
        return self

    @model_serializer(mode="wrap")
    def _own_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        foreign = self._foreign_keys() | {key for key in ONLY_WITH if not self._knows(key)}
        return {key: value for key, value in serialize(self).items() if key not in foreign}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders; empty for rooms."""
        return _as_tuple(self.path)

    @property
    def image_folders(self) -> tuple[Path, ...]:
        """The image folders; empty for those the formats look in by themselves."""
        return _as_tuple(self.images)

    def default_name(self) -> str:
        """The name by split or file: rooms-rec-train, refcoco-val, my-file."""
        if self.rooms is not None:
            return f"rooms-{self.task or 'rec'}-{self.rooms}"
        return "-".join([self.paths[0].stem, *([self.split] if self.split else [])])

    def _foreign_keys(self) -> set[str]:
        return set(FILE_KEYS) if self.rooms is not None else set(ROOMS_KEYS)

    def _knows(self, key: str) -> bool:
        return self.format in ("auto", *ONLY_WITH[key])


def split_paths(text: str, base: Path = Path()) -> str | list[str]:
    """``a.jsonl:b.jsonl`` as VLM-R1 writes several; one path, also one with a colon, as it is.

    ``base``: the folder that relative paths start from.
    """
    parts = text.split(":")
    return text if len(parts) == 1 or (base / text).exists() or not all(parts) else parts


def named(sources: Sequence[Source]) -> dict[str, Source]:
    """The sources by name; default names that several would have are numbered from the second.

    Raises ValueError when two sources are given the same name.
    """
    names: dict[str, Source] = {}
    given = [source.name for source in sources if source.name is not None]
    for name in given:
        if given.count(name) > 1:
            raise ValueError(f"two sources are named {name!r}; names must be unique")
    for source in sources:
        name, number = source.name or source.default_name(), 1
        while source.name is None and (name in names or name in given):
            number += 1
            name = f"{source.default_name()}-{number}"
        names[name] = source
    return names


def _as_tuple(value: Path | list[Path] | None) -> tuple[Path, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
