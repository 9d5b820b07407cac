"""The sections about painting new images: ``synthesis`` and ``server``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from syngrpo.config.section import Section, ServerUrl
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.painting.judges.judge_options import JudgeOptions


class GateConfig(Section):
    """When a painted image is refused. The keys are those of ``GateThresholds``."""

    min_background: float = Field(
        default=GateThresholds.min_background,
        ge=0,
        lt=1,
        description="share of the image that is not kept, at least",
    )
    min_change: float = Field(
        default=GateThresholds.min_change,
        ge=0,
        description="mean grey levels by which the background differs, at least",
    )
    min_distance: float = Field(
        default=GateThresholds.min_distance,
        ge=0,
        description="perceptual distance to parent and siblings, at least",
    )
    max_kept_difference: float = Field(
        default=GateThresholds.max_kept_difference,
        ge=0,
        le=255,
        description="grey levels by which a kept pixel may differ; above 0 only with round_trip",
    )
    min_object_fit: float = Field(
        default=GateThresholds.min_object_fit,
        ge=0,
        le=1,
        description="IoU of a label with the box of its kept pixels, at least",
    )


class JudgesConfig(Section):
    """Models that look at a painted image, see docs/gate.md. Without any the gate needs no torch.

    The keys are those of ``JudgeOptions``."""

    detector: str | None = Field(
        default=None, description="directory or hub name: Grounding DINO, OWL-ViT, …; null: none"
    )
    segmenter: str | None = Field(default=None, description="SAM 2; null: none")
    similarity: str | None = Field(default=None, description="CLIP or SigLIP; null: none")
    device: str = Field(default=JudgeOptions.device, description='"cpu", "cuda", "cuda:1"')
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="of their weights"
    )
    max_expansion: float = Field(
        default=JudgeOptions.max_expansion,
        ge=0,
        description="share of its area by which an object may grow",
    )
    max_continuation: float | None = Field(
        default=JudgeOptions.max_continuation,
        ge=0,
        le=1,
        description="the same without a model, as a share of its border; null: not checked",
    )

    def options(self) -> JudgeOptions:
        """What the workers are told."""
        return JudgeOptions(**self.model_dump())


class SynthesisConfig(Section):
    """The data server that paints new images."""

    mode: Literal["async", "inline", "off"] = Field(
        default="async", description="async: beside training; inline: in the step, deterministic"
    )
    generator: str = Field(
        default="rooms",
        description="what paints: rooms (embedded), diffusers or one of its presets, http, or "
        "package.module:callable",
    )
    options: dict[str, Any] = Field(
        default={}, description="of the generator, see docs/generators.md: {preset: …, steps: …}"
    )
    workers: int = Field(default=SynthesisSettings.workers, ge=1, description="worker processes")
    devices: tuple[str, ...] = Field(
        default=SynthesisSettings.devices,
        description='accelerators for the workers in turn, ["1", "2"]; []: all see all',
    )
    niceness: int = Field(
        default=SynthesisSettings.niceness,
        ge=0,
        le=19,
        description="lowers their priority on the CPU",
    )
    queue_limit: int = Field(
        default=SynthesisSettings.queue_limit, ge=1, description="open jobs; more are dropped"
    )
    lease_s: float = Field(
        default=SynthesisSettings.lease_s,
        gt=0,
        description="seconds after which a silent worker's job goes to another",
    )
    job_timeout_s: float = Field(
        default=SynthesisSettings.job_timeout_s,
        gt=0,
        description="seconds after which a job counts as hanging",
    )
    max_attempts: int = Field(
        default=SynthesisSettings.max_attempts, ge=1, description="failures until a job is given up"
    )
    prefetch: int = Field(default=1, ge=1, description="batches drawn ahead of training")
    max_side: int = Field(
        default=SynthesisSettings.max_side,
        ge=16,
        description="longer side of what is painted, at most",
    )
    feather: int | None = Field(
        default=SynthesisSettings.feather,
        ge=0,
        description="blended pixels around kept objects; null: by image size",
    )
    round_trip: float = Field(
        default=SynthesisSettings.round_trip,
        ge=0,
        le=1,
        description="share of the kept pixels that goes through the generator's autoencoder",
    )
    displacement: float = Field(
        default=SynthesisSettings.displacement,
        ge=0,
        lt=1,
        description="share of the width by which labelled objects may move sideways together, "
        "their labels with them; not for questions about places in the picture",
    )
    gate: GateConfig = GateConfig()
    judges: JudgesConfig = JudgesConfig()

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return "off" if value is False else value


class ServerConfig(Section):
    """A data server of its own (``syngrpo serve``), for several runs or on another host."""

    url: ServerUrl | None = Field(
        default=None, description="http://host:port; null: the data server runs beside this run"
    )
    token_file: Path | None = Field(
        default=None, description="file with the token that the server asks for"
    )
    namespace: str | None = Field(
        default=None,
        pattern="^[a-z0-9_-]{1,64}$",
        description="of this run on the server; null: by the run directory's name, and random",
    )
